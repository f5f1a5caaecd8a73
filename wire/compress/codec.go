package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/mycel-rpc/mycel/wire"
)

// A Codec is a way to encode bytes. The numbers are part of the protocol; 3 to 15, 20 to 31 and 33 to 255 are for later
// codecs.
type Codec uint8

// The codecs. Those from 16 to 19 are for columns: the bytes of a typed array of RFC 8746, little-endian.
const (
	None      Codec = 0  // the plain bytes
	S2        Codec = 1  // a block of S2: fast, for text and structures
	Zstd      Codec = 2  // Zstandard of RFC 8878: smaller and about four times as slow
	Delta64   Codec = 16 // integers of 64 bits: differences, or differences of differences, in as few bits as they need
	Delta32   Codec = 17 // integers of 32 bits
	Decimal64 Codec = 18 // float64 that were decimal numbers once, as measured values are
	Decimal32 Codec = 19 // float32
	Blocks    Codec = 32 // blocks that are encoded one by one: for bodies that are large, see [BlockEncoder]
)

var names = map[Codec]string{
	None: "none", S2: "s2", Zstd: "zstd",
	Delta64: "delta64", Delta32: "delta32", Decimal64: "decimal64", Decimal32: "decimal32",
	Blocks: "blocks",
}

// Known reports whether c is a codec of this version of the protocol.
func (c Codec) Known() bool { _, ok := names[c]; return ok }

// String returns the name of c, "codec 9" if it is not known.
func (c Codec) String() string {
	if s, ok := names[c]; ok {
		return s
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ElementBytes returns the number of bytes of an element if c encodes columns, else 0.
func (c Codec) ElementBytes() int {
	switch c {
	case Delta64, Decimal64:
		return 8
	case Delta32, Decimal32:
		return 4
	}
	return 0
}

// Reasons for which a sender uses the plain bytes instead.
var (
	ErrBound  = errors.New("compress: the encoding is larger than its bound")
	ErrRatio  = errors.New("compress: the encoding is so small that receivers refuse it")
	ErrColumn = errors.New("compress: the column ends within an element")
	ErrCodec  = errors.New("compress: codec not known")
)

const (
	// FreeBytes is the plain size up to which an encoding may be as small as it likes.
	FreeBytes = 64 << 10
	// MaxRatio bounds the plain size, divided by the encoded size, of what is larger than FreeBytes.
	MaxRatio = 100
)

// plausible reports whether receivers accept that many encoded bytes to mean size plain bytes.
func plausible(size uint64, encoded int) bool {
	return size <= FreeBytes || size <= MaxRatio*uint64(encoded)
}

// Append appends the encoding of src to dst: at most limit bytes, or it fails with [ErrBound]. It borrows src until it
// returns. After an error the result is dst as it was; [ErrRatio] means that src belongs into pieces of FreeBytes.
func Append(dst, src []byte, c Codec, limit int) ([]byte, error) {
	if w := c.ElementBytes(); w > 0 {
		if len(src)%w != 0 {
			return dst, ErrColumn
		}
		return appendColumn(dst, c, len(src)/w, limit, loadBytes(src, c))
	}
	switch c {
	case None:
		if len(src) > limit {
			return dst, ErrBound
		}
		return append(dst, src...), nil
	case Blocks:
		return AppendBlocks(dst, src, S2, limit)
	}
	out, err := appendGeneral(dst, src, c)
	if err != nil {
		return dst, err
	}
	switch n := len(out) - len(dst); {
	case n > limit:
		return dst, ErrBound
	case !plausible(uint64(len(src)), n):
		return dst, ErrRatio
	}
	return out, nil
}

// appendGeneral appends src encoded with S2 or Zstd, however large or small that is.
func appendGeneral(dst, src []byte, c Codec) ([]byte, error) {
	switch c {
	case S2:
		room := s2.MaxEncodedLen(len(src))
		if room < 0 {
			return dst, ErrBound
		}
		out, start := slices.Grow(dst, room), len(dst)
		return out[:start+len(s2.Encode(out[start:start+room], src))], nil
	case Zstd:
		return appendZstd(binary.AppendUvarint(dst, uint64(len(src))), src), nil
	}
	return dst, ErrCodec
}

// Try appends the encoding of src to dst if that is smaller than src, and reports whether it is. If not, the result is
// dst as it was, and src is sent as it is. It borrows src until it returns.
func Try(dst, src []byte, c Codec) ([]byte, bool) {
	if c == None {
		return dst, false
	}
	out, err := Append(dst, src, c, len(src)-1)
	return out, err == nil
}

// PlainSize returns the number of bytes that [Decode] appends for src, an encoding with c. It allocates nothing.
// A size above maxSize, or one that is too large for so small an encoding, is a [*wire.LimitError]; a [*wire.FormatError]
// means that there is no size, or no such codec.
func PlainSize(src []byte, c Codec, maxSize int) (int, error) {
	size, _, err := split(src, c, maxSize)
	return size, err
}

// split is PlainSize, and what follows the size.
func split(src []byte, c Codec, maxSize int) (int, []byte, error) {
	if !c.Known() {
		return 0, nil, malformed(c, "not known here")
	}
	if c == Blocks {
		size, err := blocksSize(src, maxSize)
		return size, src, err
	}
	size, n := uint64(len(src)), 0
	if c != None {
		if size, n = binary.Uvarint(src); n <= 0 {
			return 0, nil, malformed(c, "no plain size")
		}
	}
	switch {
	case size > uint64(max(0, maxSize)):
		return 0, nil, &wire.LimitError{What: "plain size of " + c.String(), Limit: uint64(max(0, maxSize)), Got: size}
	case c != None && !plausible(size, len(src)):
		return 0, nil, &wire.LimitError{What: fmt.Sprintf("plain size of %d bytes of %v", len(src), c),
			Limit: max(FreeBytes, MaxRatio*uint64(len(src))), Got: size}
	case c.ElementBytes() > 0 && size%uint64(c.ElementBytes()) != 0:
		return 0, nil, malformed(c, "ends within an element")
	}
	return int(size), src[n:], nil
}

// Decode appends what src, an encoding with c, stands for to dst: at most maxSize bytes. It borrows src until it
// returns; the result is a copy. Errors are those of [PlainSize], before anything is allocated, and a
// [*wire.FormatError] for what is no encoding; then the result is dst as it was. Any bytes give a value or an error.
func Decode(dst, src []byte, c Codec, maxSize int) ([]byte, error) {
	size, _, err := split(src, c, maxSize)
	if err != nil {
		return dst, err
	}
	return decodeSized(dst, src, c, size)
}

// decodeSized is Decode where the size has been checked.
func decodeSized(dst, src []byte, c Codec, size int) ([]byte, error) {
	start := len(dst)
	out := slices.Grow(dst, size)[:start+size]
	plain := out[start:len(out):len(out)]
	body := src
	if c != None && c != Blocks {
		_, n := binary.Uvarint(src)
		body = src[max(0, n):]
	}
	switch c {
	case None:
		copy(plain, body)
	case Blocks:
		if err := decodeBlocks(plain, src); err != nil {
			return dst, err
		}
	case S2:
		if _, err := s2.Decode(plain, src); err != nil {
			return dst, malformed(c, "not a block of S2")
		}
	case Zstd:
		if !decodeZstd(plain, body) {
			return dst, malformed(c, "not frames of this plain size")
		}
	default:
		if err := decodeColumn(c, body, size/c.ElementBytes(), storeBytes(plain, c)); err != nil {
			return dst, err
		}
	}
	return out, nil
}

func malformed(c Codec, reason string) error {
	return &wire.FormatError{What: c.String() + " encoding", Reason: reason}
}
