package item

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Major types (RFC 8949, section 3.1).
const (
	Uint   byte = 0
	Nint   byte = 1 // negative integer -1-n
	Bytes  byte = 2
	Text   byte = 3
	Array  byte = 4
	Map    byte = 5
	Tag    byte = 6
	Simple byte = 7 // simple values and floats
)

// Errors of [ParseHead].
var (
	ErrTruncated = errors.New("item: head ends early")
	ErrReserved  = errors.New("item: head is reserved or of indefinite length")
)

// AppendHead appends the shortest head of the major type with the number n: the value of an integer, the length of a
// string in bytes, the count of the elements of an array or of the pairs of a map, or a tag.
func AppendHead(b []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(b, m|byte(n))
	case n < 1<<8:
		return append(b, m|24, byte(n))
	case n < 1<<16:
		return append(b, m|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, m|27), n)
}

// HeadBytes returns the length in bytes of the shortest head with the number n, which is what [AppendHead] appends.
func HeadBytes(n uint64) int {
	switch {
	case n < 24:
		return 1
	case n < 1<<8:
		return 2
	case n < 1<<16:
		return 3
	case n < 1<<32:
		return 5
	}
	return 9
}

// AppendUint appends an unsigned integer.
func AppendUint(b []byte, n uint64) []byte { return AppendHead(b, Uint, n) }

// AppendInt appends an integer, negative or not.
func AppendInt(b []byte, v int64) []byte {
	if v < 0 {
		return AppendHead(b, Nint, uint64(^v))
	}
	return AppendHead(b, Uint, uint64(v))
}

// AppendText appends a text. The caller has checked that s is UTF-8, where that matters.
func AppendText[T []byte | string](b []byte, s T) []byte {
	return append(AppendHead(b, Text, uint64(len(s))), s...)
}

// AppendBytes appends a byte string.
func AppendBytes[T []byte | string](b []byte, s T) []byte {
	return AppendPieces(AppendHead(b, Bytes, uint64(len(s))), s)
}

// pieceBytes is how much is copied at a time.
const pieceBytes = 128 << 10

// AppendPieces appends s in pieces, between which the garbage collector can stop this goroutine: all others that are stopped
// wait for it. A copy of 1 MiB takes 0.1 to 0.3 ms.
func AppendPieces[T []byte | string](b []byte, s T) []byte {
	if len(s) <= pieceBytes {
		return append(b, s...)
	}
	b = slices.Grow(b, len(s))
	for len(s) > 0 {
		n := min(len(s), pieceBytes)
		b = append(b, s[:n]...)
		s = s[n:]
	}
	return b
}

// Head is the beginning of an item.
type Head struct {
	N        uint64 // see [AppendHead]; of [Simple] it is a simple value, or the bits of a float when the head has 3 bytes or more
	Major    byte
	Shortest bool // whether no shorter head has the same N; says nothing about floats
}

// ParseHead parses the head at the start of b and returns it with its length in bytes, which is 1, 2, 3, 5 or 9. Longer
// heads than needed are accepted; see Head.Shortest.
//
// Errors: [ErrTruncated] when b ends before the head does; [ErrReserved] when the head says that it is of indefinite
// length, is the end of such an item, or has a value that is reserved (RFC 8949, section 3).
func ParseHead(b []byte) (h Head, size int, err error) {
	if len(b) == 0 {
		return Head{}, 0, ErrTruncated
	}
	major, low, rest := b[0]>>5, b[0]&31, b[1:]
	switch {
	case low < 24:
		return Head{uint64(low), major, true}, 1, nil
	case low == 24 && len(rest) >= 1:
		n := uint64(rest[0])
		return Head{n, major, n >= 24}, 2, nil
	case low == 25 && len(rest) >= 2:
		n := uint64(binary.BigEndian.Uint16(rest))
		return Head{n, major, n >= 1<<8}, 3, nil
	case low == 26 && len(rest) >= 4:
		n := uint64(binary.BigEndian.Uint32(rest))
		return Head{n, major, n >= 1<<16}, 5, nil
	case low == 27 && len(rest) >= 8:
		n := binary.BigEndian.Uint64(rest)
		return Head{n, major, n >= 1<<32}, 9, nil
	case low > 27:
		return Head{}, 0, ErrReserved
	}
	return Head{}, 0, ErrTruncated
}
