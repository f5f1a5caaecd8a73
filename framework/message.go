package framework

import (
	"errors"
	"sync/atomic"

	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// appendMessage appends msg, labelled for the peer with ref: positionally when the peer knows or is told the schema,
// as a self-describing map otherwise.
func appendMessage(dst []byte, c *codec.Codec, ref *wire.SchemaRef, msg any) ([]byte, error) {
	if ref.Num == 0 {
		return c.AppendGeneric(dst, msg)
	}
	return c.Append(dst, msg)
}

// schemaRef returns the label of messages of c on the connection.
func schemaRef(conn *streams.Conn, c *codec.Codec) wire.SchemaRef {
	if s := c.Schema(); s != nil {
		return conn.SchemaRef(s)
	}
	return wire.SchemaRef{}
}

// checkSent refuses a message that the peer would refuse.
func checkSent(conn *streams.Conn, method, what string, size int) error {
	if limit := conn.PeerMaxMessageBytes(); size > limit {
		return Errorf(ResourceExhausted, "%s: %s of %d bytes exceeds the receiver's limit of %d (its MaxMessageBytes); larger data belongs into a large object or a stream", method, what, size, limit)
	}
	return nil
}

// decodeMessage decodes a body written in the schema writer, nil for self-describing CBOR, into msg.
func decodeMessage(method, what string, c *codec.Codec, writer *schema.Schema, body []byte, msg any, limit int) error {
	if len(body) > limit {
		return Errorf(ResourceExhausted, "%s: %s of %d bytes exceeds the limit of %d (MaxMessageBytes)", method, what, len(body), limit)
	}
	var err error
	own := c.Schema()
	switch {
	case writer == nil:
		err = c.DecodeGeneric(body, msg, codec.Limits{})
	case writer == own || own != nil && writer.ID() == own.ID():
		err = c.Decode(body, msg, codec.Limits{})
	default:
		err = decodeMapped(c, writer, body, msg)
	}
	if err == nil {
		return nil
	}
	if mismatch, ok := errors.AsType[*schema.MismatchError](err); ok {
		return Errorf(FailedPrecondition, "%s: %s: the two sides disagree about the message: %w", method, what, mismatch)
	}
	return Errorf(InvalidArgument, "%s: %s: %w", method, what, err)
}

func decodeMapped(c *codec.Codec, writer *schema.Schema, body []byte, msg any) error {
	r, err := c.Reader(writer)
	if err != nil {
		return err
	}
	return r.Decode(body, msg, codec.Limits{})
}

// A sizeHint remembers how large messages of a kind are, so that a buffer need not grow while one is encoded.
type sizeHint struct{ bytes atomic.Int64 }

// messageRoom is what a buffer for a message has for everything else: headers, an inline schema.
const messageRoom = 400

// buffer returns a buffer that a message like the last ones fits into.
func (h *sizeHint) buffer() *wire.Buffer { return wire.NewBuffer(messageRoom + int(h.bytes.Load())) }

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
