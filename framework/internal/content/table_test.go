package content

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// TestTablesNeverMixUpMessages sends messages whose configurations repeat, of which the popular ones drift, over connections
// on which they arrive in any order, some never, some twice, and which end now and then. Notices take the control stream.
func TestTablesNeverMixUpMessages(t *testing.T) {
	for _, c := range []struct {
		name          string
		messages      int
		delay         int // of a message, at most, in messages
		reset, twice  float64
		restart       int // messages on a connection
		neverMisses   bool
		leastFromSlot float64
	}{
		{"in order", 8000, 1, 0, 0, 8000, true, 0.1},
		{"reordered", 8000, 40, 0, 0, 8000, true, 0.1},
		{"long path", 8000, 500, 0, 0, 8000, true, 0.1},
		{"resets", 8000, 40, 0.05, 0, 8000, false, 0.1},
		{"twice", 8000, 40, 0, 0.05, 8000, false, 0.1},
		{"all of it, and restarts", 12000, 100, 0.02, 0.02, 1500, false, 0.1},
	} {
		t.Run(c.name, func(t *testing.T) {
			type onItsWay struct {
				sent
				want record
				at   *Link
			}
			var (
				r        = rand.New(rand.NewPCG(1, 2))
				zipf     = rand.NewZipf(r, 1.2, 4, 200)
				k        = kindOf[record](t, KindOptions{})
				path     = map[int][]onItsWay{}
				pieces   int
				lost     int
				near     *Link
				far      *Link
				received int
			)
			k.SetCompression(false)
			misses := uint64(0)
			settle := func() {
				if far != nil {
					misses += far.tables.in(0).Stats().Misses
				}
			}
			arrive := func(m onItsWay) {
				received++
				var got record
				in := In{Kind: k, Link: m.at, Limit: 1 << 20, Wait: t.Context()}
				err := in.Decode(k.Schema(), m.codec, m.body, false, &got)
				if _, isLost := errors.AsType[*LostError](err); isLost {
					lost++
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got != m.want {
					t.Fatalf("got %v, want %v", got, m.want)
				}
			}
			for i := range c.messages {
				if i%c.restart == 0 {
					settle()
					near, far = linked(t, 64<<10)
					near.rate = func() float64 { return 1e6 } // so slow that the time that anything takes here does not count
				}
				number := zipf.Uint64() + uint64(i)/1000*20
				content := rand.New(rand.NewPCG(number, 3))
				b := make([]byte, 300+content.IntN(700))
				for j := range b {
					b[j] = 'a' + byte(content.IntN(26))
				}
				want := record{ID: r.Uint64(), Config: string(b), Note: fmt.Sprint(i)}
				m := onItsWay{send(t, k, near, 0, nil, &want), want, far}
				if m.codec == codecDedup && len(m.body) < 300 {
					pieces++
				}
				if r.Float64() >= c.reset {
					at := i + r.IntN(c.delay)
					path[at] = append(path[at], m)
				}
				if r.Float64() < c.twice {
					at := i + r.IntN(c.delay)
					path[at] = append(path[at], m)
				}
				for _, m := range path[i] {
					arrive(m)
				}
				delete(path, i)
			}
			for i := range c.delay {
				for _, m := range path[c.messages+i] {
					arrive(m)
				}
			}
			settle()
			t.Logf("%d sent, %d from a slot, %d arrived, %d misses, %d lost", c.messages, pieces, received, misses, lost)
			if c.neverMisses && misses > 0 {
				t.Errorf("%d messages referred to what was not there", misses)
			}
			if float64(pieces) < c.leastFromSlot*float64(c.messages) {
				t.Errorf("%d of %d messages came from a slot", pieces, c.messages)
			}
			if lost > c.messages/100 {
				t.Errorf("%d of %d messages were lost", lost, c.messages)
			}
		})
	}
}

// fill sends a message until it comes from a slot, and returns it like that.
func fill(t *testing.T, k *Kind, near, far *Link, principal uint64, msg *record) sent {
	t.Helper()
	for range 10_000 {
		m := send(t, k, near, principal, nil, msg)
		if m.codec == codecDedup && len(m.body) < 200 {
			return m
		}
		in := In{Kind: k, Link: far, Principal: principal, Limit: 1 << 20}
		if err := in.Decode(k.Schema(), m.codec, m.body, false, new(record)); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("a message is never sent as a reference")
	return sent{}
}

// TestWaitsForWhatIsMissing: a message that refers to what the receiver has forgotten waits for it; where it must not, it is
// lost, and a whole one can be sent.
func TestWaitsForWhatIsMissing(t *testing.T) {
	near, far := linked(t, 1<<20)
	k := kindOf[record](t, KindOptions{})
	msg := &record{Config: strings.Repeat("x1y2z3", 100)}
	m := fill(t, k, near, far, 0, msg)

	forget := func() {
		// As if its budget were spent: a decoder that forgets everything but keeps the names.
		d, err := dedup.NewDecoder(dedup.Options{Slots: tableSlots, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		i := &inTable{Decoder: d, notices: notices{conn: far.conn, next: d.AppendNotices}, changed: make(chan struct{})}
		far.tables.mu.Lock()
		far.tables.mu.ins[0].Close()
		far.tables.mu.ins[0] = i
		far.tables.mu.Unlock()
	}
	forget()
	in := In{Kind: k, Link: far, Limit: 1 << 20}
	if _, isLost := errors.AsType[*LostError](in.Decode(k.Schema(), m.codec, m.body, false, new(record))); !isLost {
		t.Error("without the right to wait it is not lost")
	}
	o := Out{Kind: k, Link: near, Whole: true}
	if err := o.Prepare(msg); err != nil || o.Ref.Codec&codecDedup != 0 {
		t.Errorf("a whole message has codec %d, error %v", o.Ref.Codec, err)
	}
	o.body.Release()

	forget()
	in.Wait = t.Context()
	var got record
	if err := in.Decode(k.Schema(), m.codec, m.body, false, &got); err != nil || got != *msg {
		t.Errorf("got %v, error %v", got, err)
	}

	// What the sender does not have either. Answers to the questions before may still arrive.
	near.tables.out(0).Close()
	lost := false
	for range 10 {
		forget()
		if _, lost = errors.AsType[*LostError](in.Decode(k.Schema(), m.codec, m.body, false, &got)); lost {
			break
		}
	}
	if !lost {
		t.Error("what nobody has is not lost")
	}

	// A wait ends with its context.
	forget()
	far.conn.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	in.Wait = ctx
	if err := in.Decode(k.Schema(), m.codec, m.body, false, &got); !errors.Is(err, cause) {
		if _, isLost := errors.AsType[*LostError](err); !isLost {
			t.Errorf("a wait that is over: %v", err)
		}
	}
	if waits, bytes := far.tables.waits.Load(), far.tables.waitBytes.Load(); waits != 0 || bytes != 0 {
		t.Errorf("%d waits of %d bytes are still counted", waits, bytes)
	}
}

// TestWaitsAreBounded: further messages are lost at once.
func TestWaitsAreBounded(t *testing.T) {
	var l tables
	for range maxWaits {
		if !l.admit(10) {
			t.Fatal("refused too early")
		}
	}
	if l.admit(10) {
		t.Error("one more than there is room for")
	}
	for range maxWaits {
		l.leave(10)
	}
	if l.admit(maxWaitBytes + 1) {
		t.Error("more bytes than there is room for")
	}
	if !l.admit(maxWaitBytes) {
		t.Error("what was refused is counted")
	}
}

// TestOnePrincipalCannotNameTheTableOfAnother, nor one that was not offered.
func TestOnePrincipalCannotNameTheTableOfAnother(t *testing.T) {
	near, far := linked(t, 1<<20)
	k := kindOf[record](t, KindOptions{})
	m := fill(t, k, near, far, 1, &record{Config: strings.Repeat("secret", 100)})
	for _, principal := range []uint64{0, 2, MaxPrincipals + 1} {
		in := In{Kind: k, Link: far, Principal: principal, Limit: 1 << 20}
		if err := in.Decode(k.Schema(), m.codec, m.body, false, new(record)); err == nil {
			t.Errorf("principal %d reads the table of 1", principal)
		}
	}
	in := In{Kind: k, Link: far, Principal: 1, Limit: 1 << 20, Deltas: new(Deltas)}
	if err := in.Decode(k.Schema(), m.codec, m.body, false, new(record)); err == nil {
		t.Error("a message of a stream reads a table")
	}
	none, far := linked(t, 0)
	if none.tables.out(0) != nil || far.tables.in(0) != nil {
		t.Error("there are tables where none were offered")
	}
	for _, b := range []byte{byte(dedup.FormSenders), byte(dedup.FormReceivers), 77} {
		if err := far.Handle([]byte{b, 0}); err == nil {
			t.Errorf("notices of form %d for a table that does not exist were accepted", b)
		}
	}
}

func TestPrincipalsHaveNumbers(t *testing.T) {
	l, _ := linked(t, 0)
	seen := map[uint64]bool{0: true}
	for i := range MaxPrincipals {
		n := l.Principal(fmt.Sprint(i))
		if seen[n] || n > MaxPrincipals || l.Principal(fmt.Sprint(i)) != n {
			t.Fatalf("principal %d has number %d", i, n)
		}
		seen[n] = true
	}
	if a, b := l.Principal("one more"), l.Principal("and another"); a != MaxPrincipals+1 || b != a {
		t.Errorf("principals there is no table for have numbers %d and %d", a, b)
	}
	if l.Principal("") != 0 {
		t.Error("the peer itself has a number")
	}
}

// TestNoticesAreSentInOrder, also when the control stream is full.
func TestNoticesAreSentInOrder(t *testing.T) {
	const blocks = 200
	got, done := 0, make(chan error, 1)
	near, far, err := streams.Pipe(streams.Config{}, streams.Config{Notices: func(_ *streams.Conn, block []byte) error {
		if n := int(binary.BigEndian.Uint32(block)); n != got {
			done <- fmt.Errorf("block %d came after %d others", n, got)
		}
		if got++; got == blocks {
			done <- nil
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	defer near.Close()
	made := 0
	n := notices{conn: near, next: func(dst []byte, _ int) []byte {
		if made == blocks {
			return dst
		}
		dst = append(binary.BigEndian.AppendUint32(dst, uint32(made)), make([]byte, wire.MaxNoticesBytes-100)...)
		made++
		return dst
	}}
	n.flush()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
