package framework

import (
	"errors"
	"time"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/compress"
)

// Compression says whether a client or server compresses the messages that it sends. What it receives it always
// understands.
type Compression int

const (
	// CompressAdaptive compresses the messages of a method where that has been measured to pay: where the time to compress
	// and decompress is less than the time to send what is saved. Messages below 1 KiB, with a field tagged secret, or to a
	// peer on the same host that shares memory, are not compressed. In a stream, a message of up to 16 KiB is sent as the
	// difference from the one before it where that pays.
	CompressAdaptive Compression = iota
	// CompressOff compresses nothing.
	CompressOff
)

// Uncompressed declares that messages of the method are never compressed: because what they contain is compressed already, or
// because they mix secrets with what an attacker chooses.
func Uncompressed() MethodOption {
	return methodOption(func(s *spec) { s.req.choice, s.rsp.choice = nil, nil })
}

// newChoice returns what chooses how messages of a kind are compressed.
func newChoice() *compress.Chooser { return compress.NewChooser(compress.S2, compress.Zstd) }

// compression returns what the choice has to know of the connection; false means that nothing is compressed on it.
func compression(conn *streams.Conn) (compress.Path, bool) {
	p := conn.Owner().(*Peer)
	if p.uncompressed || p.objects.Sharing() {
		return compress.Path{}, false
	}
	return compress.Path{BytesPerSecond: conn.PathRate()}, true
}

// packed encodes msg ahead of its header if it is likely to be compressed, and returns its body: compressed, which ref then
// says, or as it is. It returns nil if the message is to be encoded behind its header as usual. Arguments and errors are
// those of append; the caller releases the result.
func (m *messageSpec) packed(conn *streams.Conn, ref *wire.SchemaRef, msg any, scope *largeobj.Scope, fault Code) (*wire.Buffer, error) {
	c := m.choose(conn)
	if c == compress.None {
		return nil, nil
	}
	plain, err := m.body(conn, ref, msg, scope, fault)
	if err != nil {
		return nil, err
	}
	return m.compressed(c, ref, plain), nil
}

// behind puts a message behind the header in b: body, if packed has returned one, else msg. The other arguments and errors are
// those of append; it takes ownership of b and body.
func (m *messageSpec) behind(b, body *wire.Buffer, conn *streams.Conn, ref *wire.SchemaRef, msg any, scope *largeobj.Scope, fault Code) (*wire.Buffer, error) {
	if body != nil {
		b.AppendBody(body)
		return b, nil
	}
	if err := m.append(b, conn, ref, msg, scope, fault); err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

// choose returns the codec to try on the next message.
func (m *messageSpec) choose(conn *streams.Conn) compress.Codec {
	expected := m.size.expected()
	if m.choice == nil || expected < compress.MinBytes {
		return compress.None
	}
	path, ok := compression(conn)
	if !ok {
		return compress.None
	}
	return m.choice.Choose(expected, path)
}

// body encodes msg without a header.
func (m *messageSpec) body(conn *streams.Conn, ref *wire.SchemaRef, msg any, scope *largeobj.Scope, fault Code) (*wire.Buffer, error) {
	plain := m.buffer()
	if err := m.append(plain, conn, ref, msg, scope, fault); err != nil {
		plain.Release()
		return nil, err
	}
	return plain, nil
}

// compressed returns a body compressed, which ref then says, or as it is if that does not make it smaller. It takes ownership
// of plain.
func (m *messageSpec) compressed(c compress.Codec, ref *wire.SchemaRef, plain *wire.Buffer) *wire.Buffer {
	start := time.Now()
	out := wire.NewBuffer(len(plain.B))
	var ok bool
	if out.B, ok = compress.Try(out.B, plain.B, c); !ok {
		out.Release()
		m.choice.Observe(c, len(plain.B), len(plain.B), time.Since(start))
		return plain
	}
	spent := time.Since(start)
	m.choice.Observe(c, len(plain.B), len(out.B), spent+spent/3) // a third for the receiver
	plain.Release()
	ref.Codec = uint8(c)
	return out
}

// unpacked returns the plain body of a message that was compressed. The caller releases it.
func (m *messageSpec) unpacked(codec uint8, d *deltas, body []byte, limit int) (*wire.Buffer, error) {
	if codec == codecDelta && d != nil {
		return d.undelta(body, limit)
	}
	size, err := compress.PlainSize(body, compress.Codec(codec), limit)
	if err != nil {
		return nil, err
	}
	plain := wire.NewBuffer(size)
	if plain.B, err = compress.Decode(plain.B, body, compress.Codec(codec), limit); err != nil {
		plain.Release()
		return nil, err
	}
	return plain, nil
}

// isLimit reports whether a message was refused because of its size.
func isLimit(err error) bool {
	if _, ok := errors.AsType[*wire.LimitError](err); ok {
		return true
	}
	_, ok := errors.AsType[*dedup.LimitError](err)
	return ok
}
