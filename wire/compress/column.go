package compress

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
)

const (
	blockLen = 1024 // elements of a block; the last one of a column may have less
	rawBlock = 0xff // head byte of a block whose elements stand there as they are
)

// scratch is the memory for one block.
type scratch struct {
	values, diffs [blockLen]uint64
	misfits       [blockLen]uint16 // positions
	packed        [blockLen*8 + 16]byte
	exceptions    []byte // of decimals, as they are written
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// A Number is an element of a column: its type says which codec is for it.
type Number interface {
	int32 | uint32 | int64 | uint64 | float32 | float64
}

// CodecOf returns the codec for columns of T.
func CodecOf[T Number]() Codec {
	switch any(*new(T)).(type) {
	case int32, uint32:
		return Delta32
	case float32:
		return Decimal32
	case float64:
		return Decimal64
	}
	return Delta64
}

// AppendColumn is [Append] of the elements of column as little-endian bytes with [CodecOf] T.
func AppendColumn[T Number](dst []byte, column []T, limit int) ([]byte, error) {
	return appendColumn(dst, CodecOf[T](), len(column), limit, func(out []uint64, at int) {
		switch v := any(column[at : at+len(out)]).(type) {
		case []int32:
			for i, x := range v {
				out[i] = uint64(x)
			}
		case []uint32:
			for i, x := range v {
				out[i] = uint64(int32(x))
			}
		case []int64:
			for i, x := range v {
				out[i] = uint64(x)
			}
		case []uint64:
			copy(out, v)
		case []float32:
			for i, x := range v {
				out[i] = uint64(math.Float32bits(x))
			}
		case []float64:
			for i, x := range v {
				out[i] = math.Float64bits(x)
			}
		}
	})
}

// DecodeColumn is [Decode] of a column of T; maxSize counts bytes. It appends the elements to dst.
func DecodeColumn[T Number](dst []T, src []byte, maxSize int) ([]T, error) {
	c := CodecOf[T]()
	size, body, err := split(src, c, maxSize)
	if err != nil {
		return dst, err
	}
	n := size / c.ElementBytes()
	out := slices.Grow(dst, n)[:len(dst)+n]
	column := out[len(dst):]
	err = decodeColumn(c, body, n, func(in []uint64, at int) {
		switch v := any(column[at : at+len(in)]).(type) {
		case []int32:
			for i, x := range in {
				v[i] = int32(x)
			}
		case []uint32:
			for i, x := range in {
				v[i] = uint32(x)
			}
		case []int64:
			for i, x := range in {
				v[i] = int64(x)
			}
		case []uint64:
			copy(v, in)
		case []float32:
			for i, x := range in {
				v[i] = math.Float32frombits(uint32(x))
			}
		case []float64:
			for i, x := range in {
				v[i] = math.Float64frombits(x)
			}
		}
	})
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendElements is [AppendColumn] of n elements that are anywhere in memory, for a codec of columns: load has to fill out
// with those from the one at on, as the low bits of 64: signed integers with their sign, floats as their bits. It is called for up to 1024 elements at a time, in order, and for some of them twice.
// Errors: [ErrBound]; [ErrCodec] if c is no codec of columns. Then the result is dst as it was.
func AppendElements(dst []byte, c Codec, n, limit int, load func(out []uint64, at int)) ([]byte, error) {
	if c.ElementBytes() == 0 {
		return dst, ErrCodec
	}
	return appendColumn(dst, c, n, limit, load)
}

// DecodeElements decodes src, a column of exactly n elements, and gives them to store, which is the reverse of the load of
// [AppendElements]: of elements of 32 bits the others are of no meaning. It is called for up to 1024 elements at a time, in
// order. [PlainSize] divided by [Codec.ElementBytes] says how many there are; that they are n is checked again, because src
// may be in memory that somebody else changes meanwhile: whatever they do, store gets n elements or less.
// Errors: a [*wire.FormatError], perhaps after some elements.
func DecodeElements(src []byte, c Codec, n int, store func(in []uint64, at int)) error {
	size, body, err := split(src, c, math.MaxInt)
	if err != nil {
		return err
	}
	if w := c.ElementBytes(); w == 0 || size/w != n {
		return malformed(c, "not the expected number of elements")
	}
	return decodeColumn(c, body, n, store)
}

// loadBytes returns a function that reads elements of src, from the one at on. Integers are extended with their sign.
func loadBytes(src []byte, c Codec) func(out []uint64, at int) {
	return func(out []uint64, at int) {
		b := src[at*c.ElementBytes():][:len(out)*c.ElementBytes()]
		for i := range out {
			switch c {
			case Delta32:
				out[i], b = uint64(int32(binary.LittleEndian.Uint32(b))), b[4:]
			case Decimal32:
				out[i], b = uint64(binary.LittleEndian.Uint32(b)), b[4:]
			default:
				out[i], b = binary.LittleEndian.Uint64(b), b[8:]
			}
		}
	}
}

// storeBytes is the reverse of loadBytes.
func storeBytes(dst []byte, c Codec) func(in []uint64, at int) {
	return func(in []uint64, at int) {
		b := dst[at*c.ElementBytes():]
		if c.ElementBytes() == 4 {
			for i, x := range in {
				binary.LittleEndian.PutUint32(b[4*i:], uint32(x))
			}
			return
		}
		for i, x := range in {
			binary.LittleEndian.PutUint64(b[8*i:], x)
		}
	}
}

// appendColumn appends a column of n elements, which load gives block by block.
func appendColumn(dst []byte, c Codec, n, limit int, load func(out []uint64, at int)) ([]byte, error) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	out := binary.AppendUvarint(dst, uint64(n)*uint64(c.ElementBytes()))
	for at := 0; at < n && len(out)-len(dst) <= limit; at += blockLen {
		v := s.values[:min(blockLen, n-at)]
		load(v, at)
		start := len(out)
		fits := true
		if c == Decimal64 || c == Decimal32 {
			out, fits = appendDecimals(out, v, c, s)
		} else {
			out = appendInts(out, v, s)
		}
		if fits && len(out)-start <= len(v)*c.ElementBytes() {
			continue
		}
		load(v, at)
		out = append(out[:start], rawBlock)
		for _, x := range v {
			if c.ElementBytes() == 4 {
				out = binary.LittleEndian.AppendUint32(out, uint32(x))
			} else {
				out = binary.LittleEndian.AppendUint64(out, x)
			}
		}
	}
	if len(out)-len(dst) > limit {
		return dst, ErrBound
	}
	return out, nil
}

// decodeColumn reads the blocks of a column of n elements and gives them to store.
func decodeColumn(c Codec, body []byte, n int, store func(in []uint64, at int)) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	r := reader{b: body}
	for at := 0; at < n && r.ok(); at += blockLen {
		v := s.values[:min(blockLen, n-at)]
		switch {
		case len(r.b) > 0 && r.b[0] == rawBlock:
			r.byte()
			if raw := r.take(len(v) * c.ElementBytes()); r.ok() {
				loadBytes(raw, c)(v, 0)
			}
		case c == Decimal64 || c == Decimal32:
			r.decimals(v, c, s)
		default:
			r.ints(v, s)
		}
		if r.ok() {
			store(v, at)
		}
	}
	if len(r.b) > 0 {
		r.fail("bytes follow the column")
	}
	if !r.ok() {
		return malformed(c, r.reason)
	}
	return nil
}

// reader reads from the start of b. After the first failure it gives zeros.
type reader struct {
	b      []byte
	reason string
}

func (r *reader) ok() bool { return r.reason == "" }

func (r *reader) fail(reason string) {
	if r.ok() {
		r.b, r.reason = nil, reason
	}
}

// take returns the next n bytes, which alias b; none after a failure.
func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail("ends early")
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); len(p) > 0 {
		return p[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail("a number that ends early or is too large")
		return 0
	}
	r.b = r.b[n:]
	return x
}

// count reads the number of exceptions, at most n.
func (r *reader) count(n int) int {
	x := r.uvarint()
	if x > uint64(n) {
		r.fail("more exceptions than elements")
		return 0
	}
	return int(x)
}

// position reads the position of the next exception among n elements: the elements between it and the one at last.
func (r *reader) position(last, n int) int {
	x := r.uvarint()
	if r.ok() && x >= uint64(n-last-1) {
		r.fail("an exception behind the elements")
	}
	if !r.ok() {
		return 0
	}
	return last + 1 + int(x)
}
