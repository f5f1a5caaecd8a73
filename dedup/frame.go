package dedup

import (
	"encoding/binary"
	"hash/crc32"
)

// A Form is the first byte of everything that this package sends.
type Form uint8

const (
	FormPlain     Form = 0 // a message as it is
	FormPieces    Form = 1 // a message in pieces, some of them in slots; see [Decoder.Decode]
	FormBase      Form = 2 // a message as it is, the base of the next one of its stream
	FormDelta     Form = 3 // a message as the difference from the previous one, and the base of the next
	FormSenders   Form = 4 // notices of the side that sends messages; see [Decoder.Handle]
	FormReceivers Form = 5 // notices of the side that receives messages; see [Encoder.Handle]
)

// A Head says where a frame belongs.
type Head struct {
	Form  Form
	Scope uint64 // the table that is meant; zero for forms without one
}

// ParseHead parses the start of a message frame or a block of notices, so that the caller can pick the table, and
// returns it with the number of bytes consumed. It borrows b until it returns. Errors: *[FormatError].
// Format: "Frames" in the package documentation.
func ParseHead(b []byte) (h Head, n int, err error) {
	r := reader{b: b, what: "frame head"}
	form := r.bytes(1)
	if r.err != nil {
		return Head{}, 0, r.err
	}
	switch h.Form = Form(form[0]); h.Form {
	case FormPlain, FormBase, FormDelta:
	case FormPieces, FormSenders, FormReceivers:
		h.Scope = r.varint()
	default:
		r.fail("has an unknown form")
	}
	if r.err != nil {
		return Head{}, 0, r.err
	}
	return h, len(b) - len(r.b), nil
}

func appendHead(dst []byte, h Head) []byte {
	dst = append(dst, byte(h.Form))
	switch h.Form {
	case FormPieces, FormSenders, FormReceivers:
		dst = appendVarint(dst, h.Scope)
	}
	return dst
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// appendSize appends what precedes every message that is put together: its length and its checksum.
func appendSize(dst, msg []byte) []byte {
	return binary.BigEndian.AppendUint32(appendVarint(dst, uint64(len(msg))), checksum(msg))
}

// A name is what an inserted body is called, once and for all: generations of a slot are never used twice.
type name struct{ slot, gen uint64 }

func appendName(dst []byte, n name) []byte { return appendVarint(appendVarint(dst, n.slot), n.gen) }

// name reads a slot, at most slots, and a generation.
func (r *reader) name(slots int) name { return r.named(r.varint(), slots) }

// named reads the generation of a slot.
func (r *reader) named(slot uint64, slots int) name {
	n := name{slot, r.varint()}
	if r.err == nil && slot > uint64(slots) {
		r.err = &LimitError{What: "slot number", Limit: uint64(slots), Got: slot, Knob: "Options.Slots"}
	}
	if r.err == nil && (slot == 0 || n.gen == 0) {
		r.fail("has a slot or a generation of zero")
	}
	return n
}

type pieceKind uint8

const (
	pieceLiteral   pieceKind = 0 // bytes of the message
	pieceReference pieceKind = 1 // the body in a slot
	pieceInsert    pieceKind = 2 // bytes of the message, which also go into a slot
	pieceDelta     pieceKind = 3 // bytes of the message as the difference from the body in a slot
)

// MaxPieces is the largest number of pieces in a message; its bytes that are left are one literal.
const MaxPieces = 256

// A piece is one part of a message in pieces.
type piece struct {
	kind   pieceKind
	name   name
	body   []byte // literal, insert: the bytes; delta: the operations
	length int    // bytes of the message that a delta makes

	base *entry // reference, delta: where the receiver found the name; nil if in the same message
	from []byte // the body of that name
}

func appendPiece(dst []byte, p piece) []byte {
	if p.kind == pieceLiteral {
		return append(appendVarint(dst, uint64(len(p.body))<<2), p.body...)
	}
	dst = appendVarint(appendVarint(dst, p.name.slot<<2|uint64(p.kind)), p.name.gen)
	switch p.kind {
	case pieceInsert:
		dst = append(appendVarint(dst, uint64(len(p.body))), p.body...)
	case pieceDelta:
		dst = appendVarint(appendVarint(dst, uint64(p.length)), uint64(len(p.body)))
		dst = append(dst, p.body...)
	}
	return dst
}

// piece reads one piece. Its bytes alias the input.
func (r *reader) piece(o *Options) (p piece) {
	v := r.varint()
	p.kind = pieceKind(v & 3)
	if p.kind == pieceLiteral {
		if v == 0 {
			r.fail("is empty")
		}
		p.body = r.bytes(v >> 2)
		return p
	}
	p.name = r.named(v>>2, o.Slots)
	switch p.kind {
	case pieceInsert:
		p.body = r.bytes(uint64(r.length("body", o.MaxBodyBytes, "Options.MaxBodyBytes")))
	case pieceDelta:
		p.length = r.length("body", o.MaxBodyBytes, "Options.MaxBodyBytes")
		p.body = r.bytes(r.varint())
	}
	return p
}
