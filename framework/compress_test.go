package framework

import (
	"context"
	"crypto/rand"
	"iter"
	"net"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/largeobj"
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

// TestMessagesAreCompressed: with every codec, in every kind of message, and less is sent.
func TestMessagesAreCompressed(t *testing.T) {
	for _, codec := range []compress.Codec{compress.S2, compress.Zstd} {
		once := NewUnary[page, page]("compress.v1/Once")
		many := NewBidi[page, page]("compress.v1/Many")
		for _, sp := range []*spec{once.sp, many.sp} {
			sp.req.choice.Pin(codec)
			sp.rsp.choice.Pin(codec)
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
		if n := sentBytes(t, c, call); n > 20_000 {
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
		if st := many.sp.rsp.choice.Stats(compress.Path{}); st.Figures[0].Samples+st.Figures[1].Samples == 0 {
			t.Errorf("%v: no message of a stream was compressed", codec)
		}
	}
}

// TestWhatIsNotCompressed: small messages, those with secrets, of methods that say so, and where it is switched off.
func TestWhatIsNotCompressed(t *testing.T) {
	open := NewUnary[page, page]("compress.v1/Open")
	hidden := NewUnary[secret, secret]("compress.v1/Hidden")
	never := NewUnary[page, page]("compress.v1/Never", Uncompressed())
	open.sp.req.choice.Pin(compress.S2)
	if hidden.sp.req.choice != nil || never.sp.req.choice != nil || never.sp.rsp.choice != nil {
		t.Error("messages that must not be compressed may be")
	}
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
		}
	}
	if _, err := NewServer(ServerConfig{Compression: 7}); err == nil {
		t.Error("an unknown mode was accepted")
	}
}

// TestCompressionGivesUp: on what does not get smaller, after a few attempts.
func TestCompressionGivesUp(t *testing.T) {
	type blob struct{ Data []byte }
	store := NewUnary[blob, page]("compress.v1/Store")
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
	for _, f := range store.sp.req.choice.Stats(compress.Path{}).Figures {
		tried += f.Samples
	}
	if tried > 10 {
		t.Errorf("%d of 60 messages of random bytes were tried", tried)
	}
}

// TestBombsAreRefused: the limit holds for what a message is after it has been decompressed.
func TestBombsAreRefused(t *testing.T) {
	swallow := NewUnary[page, page]("compress.v1/Swallow")
	swallow.sp.req.choice.Pin(compress.Zstd)
	calls := 0
	c := overLoopback(t, ServerConfig{MaxMessageBytes: 50_000}, ClientConfig{}, func(r Registrar) {
		swallow.Handle(r, func(context.Context, *page) (*page, error) { calls++; return &page{}, nil })
	})
	swallow.sp.req.size.observe(60_000)
	// Before the hello of the server has arrived the client does not know its limit: the server has to see to it.
	_, err := swallow.Call(t.Context(), c, &page{logText(60_000)})
	if CodeOf(err) != ResourceExhausted || !strings.Contains(err.Error(), "MaxMessageBytes") || calls != 0 {
		t.Errorf("got %v after %d calls", err, calls)
	}
	for _, body := range [][]byte{nil, {0xff}, {0xff, 0xff, 0xff, 0xff, 0x0f}, {10, 1, 2}} {
		for codec := range 256 {
			if plain, err := swallow.sp.req.unpacked(uint8(codec), &deltas{}, body, 1000); err == nil {
				plain.Release()
			}
		}
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
	n := sentBytes(t, c, func() {
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

// TestForgedDifferences: end the call with an error.
func TestForgedDifferences(t *testing.T) {
	for _, frame := range [][]byte{nil, {3}, {3, 10, 1, 2, 3, 4, 0}, {2, 'x', 3}, {9}, {1, 0, 0}} {
		var d deltas
		if plain, err := d.undelta(frame, 1000); err == nil {
			plain.Release()
			if len(frame) == 0 || frame[0] != 2 {
				t.Errorf("%x was accepted", frame)
			}
		}
	}
	var d deltas
	if _, err := d.undelta(append([]byte{2}, make([]byte, 2000)...), 1000); !isLimit(err) {
		t.Errorf("a base above the limit: %v", err)
	}
	if _, err := d.undelta(append([]byte{2}, make([]byte, maxBase+1)...), 1<<20); !isLimit(err) {
		t.Errorf("a base above maxBase: %v", err)
	}
}
