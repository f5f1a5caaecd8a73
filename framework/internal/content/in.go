package content

import (
	"context"
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// MayWait reports whether decoding a body that is encoded as c says may have to wait for the peer.
func MayWait(c uint8) bool { return c&codecDedup != 0 }

// An In decodes messages of one side of a call.
type In struct {
	*Kind
	Link      *Link
	Scope     *largeobj.Scope // of the call; nil if its messages cannot refer to large objects
	Deltas    *Deltas         // of the call; nil unless it is streaming
	Principal uint64          // for whom the call was made
	Limit     int             // bytes of a message, decompressed
	// Wait ends the wait for what a message refers to and this side does not have; nil forbids to wait.
	Wait context.Context
}

// Decode decodes body, which is written in the schema writer, nil for self-describing CBOR, and encoded as c says, into msg.
// shared says that somebody else could change body meanwhile.
//
// Errors: *[SizeError], *[LostError], *schema.MismatchError, anything else for a body that is not well-formed.
func (in *In) Decode(writer *schema.Schema, c uint8, body []byte, shared bool, msg any) error {
	if c != 0 {
		if shared { // decompression reads sizes more than once: they must not change meanwhile
			copied := wire.CopyBuffer(body)
			defer copied.Release()
			body = copied.B
		}
		plain, err := in.plain(c, body)
		if err != nil {
			return in.named(err)
		}
		defer plain.Release()
		body, shared = plain.B, false
	}
	if len(body) > in.Limit {
		return &SizeError{Name: in.name, Bytes: len(body), Limit: in.Limit}
	}
	own, lim := in.Schema(), codec.Limits{Link: link(in.Scope), MaxMessageBytes: in.Limit}
	same := writer != nil && (writer == own || own != nil && writer.ID() == own.ID())
	if shared && !(same && in.InPlace()) {
		copied := wire.CopyBuffer(body)
		defer copied.Release()
		body = copied.B
	}
	switch {
	case writer == nil:
		return in.named(in.DecodeGeneric(body, msg, lim))
	case same:
		return in.named(in.Kind.Decode(body, msg, lim))
	}
	r, err := in.Reader(writer)
	if err != nil {
		return in.named(err)
	}
	return in.named(r.Decode(body, msg, lim))
}

// named says in an error which message it is about.
func (in *In) named(err error) error {
	if err == nil {
		return nil
	}
	if isLimit(err) {
		return &SizeError{Name: in.name, Limit: in.Limit, Err: err}
	}
	if _, miss := errors.AsType[*dedup.MissError](err); miss || err == errWait {
		return &LostError{in.name, err}
	}
	return fmt.Errorf("%s: %w", in.name, err)
}

// frameRoom is how much longer than its message a frame of package dedup may be.
const frameRoom = 4 << 10

// plain returns the plain body of a message that is compressed, or a frame of package dedup, or both. The caller releases it.
func (in *In) plain(c uint8, body []byte) (*wire.Buffer, error) {
	packing, limit := compress.Codec(c&^codecDedup), in.Limit
	if !MayWait(c) {
		return in.unpacked(packing, body, limit)
	}
	if packing == compress.None {
		return in.recall(body)
	}
	frame, err := in.unpacked(packing, body, limit+frameRoom)
	if err != nil {
		return nil, err
	}
	defer frame.Release()
	return in.recall(frame.B)
}

func (in *In) unpacked(c compress.Codec, body []byte, limit int) (*wire.Buffer, error) {
	size, err := compress.PlainSize(body, c, limit)
	if err != nil {
		return nil, err
	}
	plain := wire.NewBuffer(size)
	if plain.B, err = compress.Decode(plain.B, body, c, limit); err != nil {
		plain.Release()
		return nil, err
	}
	return plain, nil
}

// recall returns the message that a frame of package dedup stands for.
func (in *In) recall(frame []byte) (*wire.Buffer, error) {
	h, _, err := dedup.ParseHead(frame)
	if err != nil {
		return nil, err
	}
	plain := wire.NewBuffer(max(len(frame), min(in.recalled.expected(), in.Limit)))
	if h.Form == dedup.FormPieces {
		err = in.fromTable(plain, h.Scope, frame)
	} else if in.Deltas == nil {
		err = fmt.Errorf("frame of form %d outside of a streaming call", h.Form)
	} else {
		err = in.Deltas.decode(plain, frame, in.Limit)
	}
	if err != nil {
		plain.Release()
		return nil, err
	}
	in.recalled.observe(len(plain.B))
	return plain, nil
}

// fromTable puts the message in plain that a frame in pieces stands for.
func (in *In) fromTable(plain *wire.Buffer, principal uint64, frame []byte) error {
	if principal != in.Principal || in.Deltas != nil {
		return fmt.Errorf("refers to the table of principal %d in a call for %d", principal, in.Principal)
	}
	t := in.Link.tables.in(principal)
	if t == nil {
		return errNoTable
	}
	return t.decode(in, plain, frame)
}
