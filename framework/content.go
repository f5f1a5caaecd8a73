package framework

import (
	"context"
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/framework/internal/content"
	"github.com/mycel-rpc/mycel/wire/codec"
	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// Compression says whether a client or server makes the messages smaller that it sends: compresses them, sends what repeats
// as references, and what changes as differences. What it receives it always understands.
type Compression int

const (
	// CompressAdaptive makes messages smaller where that has been measured to pay: where it takes less time than sending
	// what is saved. It changes nothing on a connection to a peer on the same host that shares memory.
	CompressAdaptive Compression = iota
	// CompressOff sends all messages as they are.
	CompressOff
)

func (c Compression) valid() bool { return c == CompressAdaptive || c == CompressOff }

// Uncompressed declares that messages of the method are sent as they are: because what they contain is compressed already, or
// because they mix secrets with what an attacker chooses.
func Uncompressed() MethodOption {
	return methodOption(func(s *spec) { s.content.Uncompressed = true })
}

// NoDedup declares that messages of the method are not remembered by either side: they are neither sent as references to
// earlier ones nor as differences from them. Whoever sees the lengths of what is sent then does not learn whether something
// was repeated. The field tag `nodedup` says the same of a single field.
func NoDedup() MethodOption { return methodOption(func(s *spec) { s.content.NoDedup = true }) }

type principalKey struct{}

// WithPrincipal returns a context whose calls are made for a principal of that name, a user or tenant for instance, instead of
// for this process itself. What the two sides remember of messages, in order to send it only once, they keep apart for each
// principal, so that nobody who sees the lengths of messages for one learns what others have sent. A gateway which makes
// calls for several tenants over one connection must use it. There is room for 64 principals on a connection; messages for
// others are not remembered. The name itself is not sent.
func WithPrincipal(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, principalKey{}, name)
}

func principalOf(ctx context.Context) string {
	name, _ := ctx.Value(principalKey{}).(string)
	return name
}

// Messages are all requests or all responses of a method in this process: how they are made smaller, to be looked at and
// changed at run time. All methods are safe for concurrent use.
type Messages struct{ k *content.Kind }

// MessageStats are counters and decisions of the [Messages] of a method, since the process began. Messages of which nothing
// was tried, because they are too small or the connection is too fast, are not counted.
type MessageStats struct {
	Messages    uint64 `cbor:"messages"`    // of which something was tried
	PlainBytes  uint64 `cbor:"plain_bytes"` // of their bodies
	SentBytes   uint64 `cbor:"sent_bytes"`  // of what was sent in their place
	References  uint64 `cbor:"references"`  // messages with parts that refer to earlier ones, or may be referred to
	Differences uint64 `cbor:"differences"` // messages of streams that were sent as the difference from the one before
	Compressed  uint64 `cbor:"compressed"`  // messages that were compressed, on top of the above or alone

	Compresses bool `cbor:"compresses"` // compression is allowed and not switched off
	Dedup      bool `cbor:"dedup"`      // references and differences are allowed and not switched off
	DedupPays  bool `cbor:"dedup_pays"` // references and differences have lately saved more than they cost, on such a path

	Codec  string         `cbor:"codec"`  // for whole messages on a path where the processors are the limit
	Pinned bool           `cbor:"pinned"` // by [Messages.Pin]
	Codecs []CodecFigures `cbor:"codecs"` // what is known of each

	Fields []FieldFigures `cbor:"fields"` // with lists that can be packed
}

// CodecFigures are the moving averages of one codec for the messages of a method.
type CodecFigures struct {
	Codec        string  `cbor:"codec"`
	Samples      uint64  `cbor:"samples"`
	Ratio        float64 `cbor:"ratio"`          // plain size / sent size; 0 without samples
	NanosPerByte float64 `cbor:"nanos_per_byte"` // to compress and decompress
}

// FieldFigures are what is known of a field with a list of numbers, or of structs, that can be packed as columns.
type FieldFigures struct {
	Field        string  `cbor:"field"`   // path from the message, for instance "Readings[].At"
	Packing      string  `cbor:"packing"` // the packed form
	Packed       bool    `cbor:"packed"`  // it would be, on a path where the processors are the limit
	Pinned       bool    `cbor:"pinned"`  // by [Messages.PinField]
	Samples      uint64  `cbor:"samples"`
	Ratio        float64 `cbor:"ratio"`          // plain size / packed size; 0 without samples
	NanosPerByte float64 `cbor:"nanos_per_byte"` // to pack and unpack, more than not to
}

// Stats returns the counters and decisions.
func (m Messages) Stats() MessageStats {
	s := m.k.Stats(compress.Path{})
	out := MessageStats{
		Messages: s.Messages, PlainBytes: s.PlainBytes, SentBytes: s.SentBytes,
		References: s.Pieces, Differences: s.Differences, Compressed: s.Compressed,
		Compresses: s.Compresses, Dedup: s.Remembers, DedupPays: s.DedupPays,
		Codec: s.Choice.Codec.String(), Pinned: s.Choice.Pinned,
	}
	for _, f := range s.Choice.Figures {
		out.Codecs = append(out.Codecs, CodecFigures{f.Codec.String(), f.Samples, f.Ratio, f.NanosPerByte})
	}
	if p := m.k.Packer(); p != nil {
		for _, f := range p.Stats(compress.Path{}) {
			out.Fields = append(out.Fields, FieldFigures(f))
		}
	}
	return out
}

// PinField makes messages have the lists of a field packed, or never, whatever that costs. The name is that in
// [MessageStats].Fields; an error says that there is no such field.
func (m Messages) PinField(field string, packed bool) error {
	return m.setPin(func(p *codec.Packer) error { return p.Pin(field, packed) })
}

// UnpinField gives the decision back to what is measured.
func (m Messages) UnpinField(field string) error {
	return m.setPin(func(p *codec.Packer) error { return p.Unpin(field) })
}

func (m Messages) setPin(set func(*codec.Packer) error) error {
	p := m.k.Packer()
	if p == nil {
		return fmt.Errorf("framework: %s has no field that can be packed", m.k.Name())
	}
	if err := set(p); err != nil {
		return fmt.Errorf("framework: %s: %w", m.k.Name(), err)
	}
	return nil
}

// Pin makes every message of 1 KiB or more be compressed with the codec, whatever it costs; see [Messages.Unpin].
func (m Messages) Pin(c compress.Codec) { m.k.Chooser().Pin(c) }

// Unpin gives the choice of the codec back to what is measured.
func (m Messages) Unpin() { m.k.Chooser().Unpin() }

// SetCompression switches compression of the messages off, and on again unless the method is [Uncompressed].
func (m Messages) SetCompression(on bool) { m.k.SetCompression(on) }

// SetDedup switches references and differences off, and on again unless the method says [NoDedup].
func (m Messages) SetDedup(on bool) { m.k.SetDedup(on) }

// messageError gives an error of a message its code. fault is whose mistake it is that a message cannot be encoded.
func messageError(ctx context.Context, fault Code, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*content.SizeError](err); ok {
		return Errorf(ResourceExhausted, "%w", err)
	}
	if _, ok := errors.AsType[*content.EncodeError](err); ok {
		return Errorf(fault, "%w", err)
	}
	if _, ok := errors.AsType[*content.LostError](err); ok {
		return Errorf(Aborted, "%w", err)
	}
	if _, ok := errors.AsType[*schema.MismatchError](err); ok {
		return Errorf(FailedPrecondition, "the two sides disagree about a message: %w", err)
	}
	if ctx.Err() != nil {
		return convert(ctx, err)
	}
	return Errorf(InvalidArgument, "%w", err)
}
