package framework

import (
	"errors"
	"sync/atomic"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// A messageSpec is one of the two message types of a method.
type messageSpec struct {
	*codec.Codec
	what   string // for errors: "greeter.v1/Hello: request"
	size   sizeHint
	choice *compress.Chooser // nil if messages are never compressed
}

// ref returns the label of messages on the connection.
func (m *messageSpec) ref(conn *streams.Conn) wire.SchemaRef {
	if s := m.Schema(); s != nil {
		return conn.SchemaRef(s)
	}
	return wire.SchemaRef{}
}

// buffer returns a buffer that a message like the last ones fits into, with its headers.
func (m *messageSpec) buffer() *wire.Buffer { return wire.NewBuffer(messageRoom + m.size.expected()) }

// payload returns such a buffer for a message that may travel through memory shared with the peer: of a unary call.
func (m *messageSpec) payload(conn *streams.Conn) *wire.Buffer {
	return conn.NewPayload(messageRoom + m.size.expected())
}

// append appends msg to b, labelled with ref: positionally when the peer knows or is told the schema, as a self-describing
// map otherwise. It fails with fault when msg cannot be encoded, with ResourceExhausted when the peer would refuse it.
// scope is that of the call, nil if its messages cannot refer to large objects.
func (m *messageSpec) append(b *wire.Buffer, conn *streams.Conn, ref *wire.SchemaRef, msg any, scope *largeobj.Scope, fault Code) error {
	scope.Begin()
	head := len(b.B)
	b.Body = head
	var err error
	if ref.Num == 0 {
		b.B, err = m.AppendGeneric(b.B, msg)
	} else {
		b.B, err = m.AppendLinked(b.B, msg, link(scope))
	}
	if err != nil {
		scope.Undo()
		return Errorf(fault, "%s: %w", m.what, err)
	}
	size := len(b.B) - head
	m.size.observe(size)
	if limit := conn.PeerMaxMessageBytes(); size > limit {
		scope.Undo()
		return Errorf(ResourceExhausted, "%s of %d bytes exceeds the receiver's limit of %d (its MaxMessageBytes); larger data belongs into a large object or a stream", m.what, size, limit)
	}
	return nil
}

// decode decodes a body written in the schema writer, nil for self-describing CBOR, and compressed with a codec, 0 for none,
// into msg. d has the messages before it, nil for the only one of its side. shared says that somebody else could change body meanwhile.
func (m *messageSpec) decode(writer *schema.Schema, packing uint8, d *deltas, body []byte, shared bool, msg any, scope *largeobj.Scope, limit int) error {
	if packing != 0 {
		plain, err := m.unpacked(packing, d, body, limit)
		if err != nil {
			if isLimit(err) {
				return Errorf(ResourceExhausted, "%s: %w (MaxMessageBytes)", m.what, err)
			}
			return Errorf(InvalidArgument, "%s: %w", m.what, err)
		}
		defer plain.Release()
		body, shared = plain.B, false
	}
	if len(body) > limit {
		return Errorf(ResourceExhausted, "%s of %d bytes exceeds the limit of %d (MaxMessageBytes)", m.what, len(body), limit)
	}
	var err error
	own, lim := m.Schema(), codec.Limits{Link: link(scope)}
	same := writer != nil && (writer == own || own != nil && writer.ID() == own.ID())
	if shared && !(same && m.InPlace()) {
		own := wire.CopyBuffer(body)
		defer own.Release()
		body = own.B
	}
	switch {
	case writer == nil:
		err = m.DecodeGeneric(body, msg, lim)
	case same:
		err = m.Decode(body, msg, lim)
	default:
		err = decodeMapped(m.Codec, writer, body, msg, lim)
	}
	if err == nil {
		return nil
	}
	if mismatch, ok := errors.AsType[*schema.MismatchError](err); ok {
		return Errorf(FailedPrecondition, "%s: the two sides disagree about the message: %w", m.what, mismatch)
	}
	return Errorf(InvalidArgument, "%s: %w", m.what, err)
}

// link is the scope as what fields are encoded with: a nil scope is nil.
func link(scope *largeobj.Scope) any {
	if scope == nil {
		return nil
	}
	return scope
}

func decodeMapped(c *codec.Codec, writer *schema.Schema, body []byte, msg any, lim codec.Limits) error {
	r, err := c.Reader(writer)
	if err != nil {
		return err
	}
	return r.Decode(body, msg, lim)
}

// A sizeHint remembers how large messages of a kind are, so that a buffer need not grow while one is encoded.
type sizeHint struct{ bytes atomic.Int64 }

// messageRoom is what a buffer for a message has for everything else: headers, an inline schema.
const messageRoom = 400

func (h *sizeHint) expected() int { return int(h.bytes.Load()) }

// observe learns from a message. The hint rises at once and falls slowly, and is written only when it is wrong.
func (h *sizeHint) observe(n int) {
	hint := h.bytes.Load()
	switch {
	case int64(n) > hint:
		h.bytes.Store(int64(n))
	case int64(n) < hint/4:
		h.bytes.Store(hint - hint/16)
	}
}
