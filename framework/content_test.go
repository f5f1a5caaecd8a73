package framework

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/compress"
)

type (
	page   struct{ Text string }
	secret struct {
		Text  string
		Token string `cbor:",secret"`
	}
)

// logText is n bytes that compress well.
func logText(n int) string {
	const line = "2026-11-24T20:00:00Z level=info component=gate msg=\"request served\" method=greeter.v1/Hello took=1.25ms\n"
	return strings.Repeat(line, n/len(line)+1)[:n]
}

// overLoopback returns a client of a server at the other end of a QUIC connection that shares no memory.
func overLoopback(t *testing.T, srv ServerConfig, cli ClientConfig, serve func(Registrar)) *Client {
	t.Helper()
	store, err := largeobj.New(largeobj.Config{StreamsOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	serverTLS, clientTLS := DevTLS()
	srv.TLS, srv.Objects, cli.TLS, cli.Objects = serverTLS, store, clientTLS, store
	s, err := NewServer(srv)
	if err != nil {
		t.Fatal(err)
	}
	serve(s)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), socket) }() // ends when s is closed; Cleanup waits
	c, err := NewClient(socket.LocalAddr().String(), cli)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		store.Close()
	})
	return c
}

// sentBytes returns what the client has sent while f ran.
func sentBytes(t *testing.T, c *Client, f func()) uint64 {
	t.Helper()
	conn, err := c.conn(t.Context(), &CallInfo{Class: ClassRPC}, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := conn.Stats().BytesSent
	f()
	return conn.Stats().BytesSent - before
}

// fewestBytes is [sentBytes] of the first of a few times in which there are no more than enough, else the least: what is sent again
// on a busy machine counts as well.
func fewestBytes(t *testing.T, c *Client, enough uint64, f func()) uint64 {
	t.Helper()
	least := sentBytes(t, c, f)
	for tries := 0; least > enough && tries < 5; tries++ {
		least = min(least, sentBytes(t, c, f))
	}
	return least
}

// TestMessagesAreCompressed: with every codec, in every kind of message, and less is sent.
func TestMessagesAreCompressed(t *testing.T) {
	for _, codec := range []compress.Codec{compress.S2, compress.Zstd} {
		once := NewUnary[page, page]("compress.v1/Once", NoDedup())
		many := NewBidi[page, page]("compress.v1/Many", NoDedup())
		for _, m := range []Messages{once.Requests(), once.Responses(), many.Requests(), many.Responses()} {
			m.Pin(codec)
		}
		c := overLoopback(t, ServerConfig{}, ClientConfig{}, func(r Registrar) {
			once.Handle(r, func(_ context.Context, q *page) (*page, error) { return q, nil })
			many.Handle(r, func(_ context.Context, in iter.Seq2[*page, error], out Sender[page]) error {
				for q, err := range in {
					if err != nil {
						return err
					}
					if err := out.Send(q); err != nil {
						return err
					}
				}
				return nil
			})
		})
		text := logText(60_000)
		call := func() {
			p, err := once.Call(t.Context(), c, &page{text})
			if err != nil || p.Text != text {
				t.Fatalf("%v: %v", codec, err)
			}
		}
		call() // the size is not known before
		if n := fewestBytes(t, c, 20_000, call); n > 20_000 {
			t.Errorf("%v: %d bytes were sent for %d", codec, n, len(text))
		}
		s, err := many.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if err := s.Send(&page{text}); err != nil {
				t.Fatal(err)
			}
			if p, err := s.Recv(); err != nil || p.Text != text {
				t.Fatalf("%v: %v", codec, err)
			}
		}
		s.Close()
		for _, m := range []Messages{once.Requests(), once.Responses(), many.Requests(), many.Responses()} {
			if st := m.Stats(); st.Compressed == 0 || st.SentBytes > st.PlainBytes/3 || st.Codec != codec.String() || !st.Pinned {
				t.Errorf("%v: %+v", codec, st)
			}
		}
	}
}

// TestWhatIsNotCompressed: small messages, those with secrets, of methods that say so, and where it is switched off.
func TestWhatIsNotCompressed(t *testing.T) {
	open := NewUnary[page, page]("compress.v1/Open", NoDedup())
	hidden := NewUnary[secret, secret]("compress.v1/Hidden")
	never := NewUnary[page, page]("compress.v1/Never", Uncompressed())
	open.Requests().Pin(compress.S2)
	for _, m := range []Messages{hidden.Requests(), never.Requests(), never.Responses()} {
		m.SetCompression(true)
		if m.Stats().Compresses {
			t.Error("messages that must not be compressed may be")
		}
	}
	if open.Requests().SetCompression(false); open.Requests().Stats().Compresses {
		t.Error("switching compression off does nothing")
	}
	open.Requests().SetCompression(true)
	serve := func(r Registrar) {
		open.Handle(r, func(_ context.Context, q *page) (*page, error) { return q, nil })
	}
	for _, mode := range []Compression{CompressAdaptive, CompressOff} {
		c := overLoopback(t, ServerConfig{}, ClientConfig{Compression: mode}, serve)
		for _, size := range []int{500, 60_000} {
			q := &page{logText(size)}
			for range 2 {
				if _, err := open.Call(t.Context(), c, q); err != nil {
					t.Fatal(err)
				}
			}
			n := sentBytes(t, c, func() {
				if _, err := open.Call(t.Context(), c, q); err != nil {
					t.Fatal(err)
				}
			})
			if compressed := n < uint64(size)/2; compressed != (mode == CompressAdaptive && size > compress.MinBytes) {
				t.Errorf("mode %d: %d bytes were sent for %d", mode, n, size)
			}
			if c.SetCompression(CompressOff); size > compress.MinBytes && sentBytes(t, c, func() {
				if _, err := open.Call(t.Context(), c, q); err != nil {
					t.Fatal(err)
				}
			}) < uint64(size) {
				t.Errorf("mode %d: a message was compressed on a client where that was switched off", mode)
			}
			c.SetCompression(mode)
		}
	}
	if _, err := NewServer(ServerConfig{Compression: 7}); err == nil {
		t.Error("an unknown mode was accepted")
	}
}

// TestCompressionGivesUp: on what does not get smaller, after a few attempts.
func TestCompressionGivesUp(t *testing.T) {
	type blob struct{ Data []byte }
	store := NewUnary[blob, page]("compress.v1/Store", NoDedup())
	c := overLoopback(t, ServerConfig{}, ClientConfig{}, func(r Registrar) {
		store.Handle(r, func(context.Context, *blob) (*page, error) { return &page{}, nil })
	})
	q := &blob{make([]byte, 20_000)}
	rand.Read(q.Data)
	for range 60 {
		if _, err := store.Call(t.Context(), c, q); err != nil {
			t.Fatal(err)
		}
	}
	tried := uint64(0)
	for _, f := range store.Requests().Stats().Codecs {
		tried += f.Samples
	}
	if tried > 10 {
		t.Errorf("%d of 60 messages of random bytes were tried", tried)
	}
}

// TestBombsAreRefused: the limit holds for what a message is after it has been decompressed.
func TestBombsAreRefused(t *testing.T) {
	swallow := NewUnary[page, page]("compress.v1/Swallow")
	swallow.Requests().Pin(compress.Zstd)
	var calls atomic.Int64
	serve := func(r Registrar) {
		swallow.Handle(r, func(context.Context, *page) (*page, error) { calls.Add(1); return &page{}, nil })
	}
	c := overLoopback(t, ServerConfig{}, ClientConfig{}, serve)
	if _, err := swallow.Call(t.Context(), c, &page{logText(60_000)}); err != nil { // the size is known now
		t.Fatal(err)
	}
	calls.Store(0)
	c = overLoopback(t, ServerConfig{MaxMessageBytes: 50_000}, ClientConfig{}, serve)
	// Before the hello of the server has arrived the client does not know its limit: the server has to see to it.
	_, err := swallow.Call(t.Context(), c, &page{logText(60_000)})
	if CodeOf(err) != ResourceExhausted || !strings.Contains(err.Error(), "MaxMessageBytes") || calls.Load() != 0 {
		t.Errorf("got %v after %d calls", err, calls.Load())
	}
}

type dashboard struct {
	Name   string
	Values []float64
	Labels []string
}

// TestStreamsSendDifferences: messages of a stream that resemble each other cost what has changed, in both directions; those
// that do not are compressed or sent as they are.
func TestStreamsSendDifferences(t *testing.T) {
	feed := NewBidi[dashboard, dashboard]("delta.v1/Feed")
	c := overLoopback(t, ServerConfig{}, ClientConfig{}, func(r Registrar) {
		feed.Handle(r, func(_ context.Context, in iter.Seq2[*dashboard, error], out Sender[dashboard]) error {
			for q, err := range in {
				if err != nil {
					return err
				}
				if err := out.Send(q); err != nil {
					return err
				}
			}
			return nil
		})
	})
	for _, m := range []Messages{feed.Requests(), feed.Responses()} { // packed, there would be little left to save
		for _, field := range []string{"Values", "Labels"} {
			if err := m.PinField(field, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := feed.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := &dashboard{Name: "room", Values: make([]float64, 200), Labels: strings.Fields(logText(300))}
	exchange := func() {
		if err := s.Send(d); err != nil {
			t.Fatal(err)
		}
		got, err := s.Recv()
		if err != nil || len(got.Values) != len(d.Values) || got.Values[7] != d.Values[7] || got.Labels[3] != d.Labels[3] {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	exchange()
	exchange() // the size is known now: this is a base
	const messages = 50
	n := fewestBytes(t, c, messages*250, func() {
		for i := range messages {
			d.Values[i*7%200] += 0.5
			exchange()
		}
	})
	// A packet with a small message has about 40 bytes besides, and as many acknowledgements.
	if n > messages*250 {
		t.Errorf("%d messages of about 2 KB took %d bytes each", messages, n/messages)
	}
	for range 30 { // nothing like the ones before
		raw := make([]byte, 8*200)
		rand.Read(raw)
		for i := range d.Values {
			d.Values[i] = float64(raw[8*i]) + float64(raw[8*i+1])/256
		}
		exchange()
	}
}

// object is what is often sent again.
type object struct {
	ID      int
	Config  string
	Options []string
}

// TestUnaryCallsSendWhatRepeatsOnce: the second time as a reference, in both directions and in both kinds of calls that have one
// message; what changes a little as a difference.
func TestUnaryCallsSendWhatRepeatsOnce(t *testing.T) {
	apply := NewUnary[object, object]("table.v1/Apply")
	c := overLoopback(t, ServerConfig{}, ClientConfig{}, func(r Registrar) {
		apply.Handle(r, func(_ context.Context, q *object) (*object, error) { return q, nil })
	})
	random := make([]byte, 6000)
	rand.Read(random)
	q := &object{Config: hex.EncodeToString(random)}
	call := func() {
		q.ID++
		got, err := apply.Call(t.Context(), c, q)
		if err != nil || got.ID != q.ID || got.Config != q.Config {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	for range 10 { // the size becomes known, then the body, then it is acknowledged
		call()
	}
	const calls = 50
	if n := fewestBytes(t, c, calls*800, func() {
		for range calls {
			call()
		}
	}); n > calls*800 { // one of 32 is sent whole, for comparison
		t.Errorf("%d messages of 12 KB took %d bytes each", calls, n/calls)
	}
	for _, m := range []Messages{apply.Requests(), apply.Responses()} {
		if st := m.Stats(); st.References < calls || !st.Dedup {
			t.Errorf("%+v", st)
		}
	}
	apply.Requests().SetDedup(false)
	apply.Requests().SetCompression(false)
	if n := sentBytes(t, c, call); n < 12_000 {
		t.Errorf("%d bytes were sent where nothing may be remembered or compressed", n)
	}
}

// TestPrincipalsShareNothing: what was sent for one is sent again for another.
func TestPrincipalsShareNothing(t *testing.T) {
	apply := NewUnary[object, object]("table.v1/Principals")
	apply.Requests().SetCompression(false)
	c := overLoopback(t, ServerConfig{}, ClientConfig{}, func(r Registrar) {
		apply.Handle(r, func(_ context.Context, q *object) (*object, error) { return &object{ID: q.ID}, nil })
	})
	random := make([]byte, 6000)
	rand.Read(random)
	q := &object{Config: hex.EncodeToString(random)}
	cost := func(principal string) uint64 {
		return sentBytes(t, c, func() {
			if _, err := apply.Call(WithPrincipal(t.Context(), principal), c, q); err != nil {
				t.Fatal(err)
			}
		})
	}
	// An answer may take a while, and now and then a message is sent whole, for comparison.
	becomesCheap := func(principal string, calls int) bool {
		for range calls {
			if cost(principal) < 1000 {
				return true
			}
		}
		return false
	}
	if !becomesCheap("", 1000) {
		t.Fatal("a message that was sent often is sent whole")
	}
	for i := range 70 { // more than there are tables for
		if n := cost(fmt.Sprint("tenant ", i)); n < 12_000 {
			t.Errorf("principal %d: %d bytes were sent for what only others have sent", i, n)
		}
	}
	if !becomesCheap("tenant 3", 1000) {
		t.Error("a message that a principal has sent often is sent whole")
	}
	if becomesCheap("tenant 69", 100) {
		t.Error("a message was remembered for a principal that there is no table for")
	}
}

// TestNoTables: a side that keeps nothing is sent everything.
func TestNoTables(t *testing.T) {
	apply := NewUnary[object, object]("table.v1/None")
	apply.Requests().SetCompression(false)
	c := overLoopback(t, ServerConfig{Limits: ConnLimits{MaxTableBytes: -1}}, ClientConfig{}, func(r Registrar) {
		apply.Handle(r, func(_ context.Context, q *object) (*object, error) { return &object{}, nil })
	})
	q := &object{Config: logText(9000)}
	for range 10 {
		if n := sentBytes(t, c, func() {
			if _, err := apply.Call(t.Context(), c, q); err != nil {
				t.Fatal(err)
			}
		}); n < 9000 {
			t.Fatalf("%d bytes were sent", n)
		}
	}
	for _, bytes := range []int{1, 2 << 30} {
		if _, err := NewServer(ServerConfig{Limits: ConnLimits{MaxTableBytes: bytes}}); err == nil || !strings.Contains(err.Error(), "MaxTableBytes") {
			t.Errorf("a table of %d bytes: %v", bytes, err)
		}
	}
}

// TestFieldsArePinned: a list is packed, or not, as somebody says.
func TestFieldsArePinned(t *testing.T) {
	type levels struct {
		Name   string
		Values []int64
	}
	report := NewUnary[levels, page]("pack.v1/Report", NoDedup())
	c := overLoopback(t, ServerConfig{}, ClientConfig{}, func(r Registrar) {
		report.Handle(r, func(_ context.Context, q *levels) (*page, error) {
			return &page{fmt.Sprint(len(q.Values), q.Values[99])}, nil
		})
	})
	q := &levels{Name: "tank", Values: make([]int64, 1000)}
	for i := range q.Values {
		q.Values[i] = int64(1000 + i*i%7)
	}
	call := func() {
		if got, err := report.Call(t.Context(), c, q); err != nil || got.Text != fmt.Sprint(1000, q.Values[99]) {
			t.Fatal(got, err)
		}
	}
	m := report.Requests()
	m.Pin(compress.None)
	for _, packed := range []bool{false, true} {
		if err := m.PinField("Values", packed); err != nil {
			t.Fatal(err)
		}
		call()
		if n := sentBytes(t, c, call); (n < 4000) != packed {
			t.Errorf("packed %v: %d bytes were sent for %d numbers", packed, n, len(q.Values))
		}
		if st := m.Stats(); len(st.Fields) != 1 || !st.Fields[0].Pinned || st.Fields[0].Packed != packed {
			t.Errorf("packed %v: %+v", packed, st.Fields)
		}
	}
	if err := m.UnpinField("Values"); err != nil || m.Stats().Fields[0].Pinned {
		t.Errorf("unpinned: %v, %+v", err, m.Stats().Fields)
	}
	if m.PinField("Name", true) == nil || report.Responses().PinField("Text", true) == nil || m.UnpinField("Name") == nil {
		t.Error("fields that cannot be packed were pinned")
	}
}

// TestWhatMayWaitHoldsUpNobody: a large message of class bulk whose decoding may have to wait for its peer does not take the turn
// of others meanwhile.
func TestWhatMayWaitHoldsUpNobody(t *testing.T) {
	keep := NewUnary[page, page]("table.v1/Keep", WithClass(ClassBulk))
	c := overLoopback(t, ServerConfig{}, ClientConfig{}, func(r Registrar) {
		keep.Handle(r, func(_ context.Context, q *page) (*page, error) { return &page{q.Text[:10]}, nil })
	})
	body, err := keep.sp.req.AppendGeneric(nil, &page{logText(backgroundBytes)})
	if err != nil {
		t.Fatal(err)
	}
	table, err := dedup.NewEncoder(dedup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	halves := []dedup.Field{{End: len(body) / 2}, {End: len(body)}}
	table.Append(nil, body, halves)
	frame := table.Append(nil, body, halves) // at the second sight they go into slots
	if dedup.Form(frame[0]) != dedup.FormPieces {
		t.Fatalf("a frame of form %d", frame[0])
	}
	for range cap(background) { // all turns are taken
		background <- struct{}{}
	}
	defer func() {
		for range cap(background) {
			leaveBackground()
		}
	}()
	conn, err := c.conn(t.Context(), &keep.sp.info, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := wire.NewBuffer(len(frame) + 100)
	b.B = wire.AppendRequest(b.B, &wire.Request{Name: []byte(keep.Name()), Schema: wire.SchemaRef{Codec: 64}})
	b.B = append(b.B, frame...)
	call, err := conn.Start(t.Context(), ClassBulk, KindUnary, true, b)
	if err != nil {
		t.Fatal(err)
	}
	defer call.Close(wire.Cancel{Code: Canceled})
	_, answer, err := call.Recv()
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Release()
	var r wire.Response
	if _, err := wire.ParseResponse(answer.B, &r); err != nil || r.Status.Code != OK {
		t.Errorf("answered with %+v, %v", r.Status, err)
	}
}
