package content

import (
	"testing"

	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire/codec"
)

// record has a part that is never the same and one that repeats.
type record struct {
	ID     uint64
	Config string
	Note   string
}

// kindOf returns the kind of messages of a type.
func kindOf[T any](t testing.TB, o KindOptions) *Kind {
	t.Helper()
	c, err := codec.Of[T]()
	if err != nil {
		t.Fatal(err)
	}
	return NewKind("test.v1/Kind: request", c, o)
}

// linked returns the links at both ends of a connection in memory, whose tables keep so many bytes.
func linked(t testing.TB, tableBytes int) (a, b *Link) {
	t.Helper()
	config := func() streams.Config {
		return streams.Config{
			Table:    Offer(tableBytes),
			Notices:  func(c *streams.Conn, block []byte) error { return c.Owner().(*Link).Handle(block) },
			NewOwner: func(c *streams.Conn) any { return NewLink(c, func() bool { return false }, tableBytes) },
		}
	}
	near, far, err := streams.Pipe(config(), config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	for _, c := range []*streams.Conn{near, far} {
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return near.Owner().(*Link), far.Owner().(*Link)
}

// sent is a message as it is sent.
type sent struct {
	codec uint8
	body  []byte
}

// send encodes a message for a principal at the end of a link.
func send(t testing.TB, k *Kind, l *Link, principal uint64, d *Deltas, msg any) sent {
	t.Helper()
	o := Out{Kind: k, Link: l, Principal: principal, Deltas: d}
	if err := o.Prepare(msg); err != nil {
		t.Fatal(err)
	}
	b, err := o.Append(o.Buffer(), msg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	return sent{o.Ref.Codec, append([]byte(nil), b.B...)}
}
