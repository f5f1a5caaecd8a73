package compress

import (
	"encoding/binary"
	"math"
)

// A block of decimals is an exponent e, a block of integers and exceptions. An integer i stands for the float nearest to
// i / 10^e: up to 2^53 both are exact, so the division gives the float that the decimal number was read as. What does not come
// back bit by bit (-0, NaN, infinities, full mantissas) is an exception. The idea of ALP (Afroozeh, Kuffo, Boncz:
// "ALP: Adaptive Lossless floating-Point Compression", 2023), without its vectors.

const (
	maxExponent = 15
	exponentLen = 32 // elements that decide the exponent
)

var powers = [maxExponent + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// fromDecimal returns the bits of the float that i / power stands for.
func fromDecimal(i int64, power float64, c Codec) uint64 {
	f := float64(i) / power
	if c == Decimal32 {
		return uint64(math.Float32bits(float32(f)))
	}
	return math.Float64bits(f)
}

// toDecimal returns the integer that stands for the float with these bits, if there is one. Floats that no integer is near
// to become some integer, which does not come back.
func toDecimal(b uint64, power float64, c Codec) (int64, bool) {
	f := math.Float64frombits(b)
	if c == Decimal32 {
		f = float64(math.Float32frombits(uint32(b)))
	}
	i := int64(math.RoundToEven(f * power))
	return i, fromDecimal(i, power, c) == b
}

// bestExponent returns the least exponent that is good for most of v, judged by some of it.
func bestExponent(v []uint64, c Codec) int {
	n := min(len(v), exponentLen)
	best, most := 0, -1
	for e := 0; e <= maxExponent && most < n; e++ {
		good := 0
		for i := 0; i < n && (good > 0 || i < 8); i++ {
			if _, ok := toDecimal(v[i*len(v)/n], powers[e], c); ok {
				good++
			}
		}
		if good > most {
			best, most = e, good
		}
	}
	if most*8 < n*7 {
		return -1
	}
	return best
}

// appendDecimals appends a block of decimals and overwrites v. It reports false if that would not be worth it.
func appendDecimals(dst []byte, v []uint64, c Codec, s *scratch) ([]byte, bool) {
	e := bestExponent(v, c)
	if e < 0 {
		return dst, false
	}
	exceptions := s.exceptions[:0]
	count, last := 0, -1
	var filler int64 // where an exception is: what came before, which differences well
	for i, b := range v {
		x, ok := toDecimal(b, powers[e], c)
		if ok {
			filler = x
			v[i] = uint64(x)
			continue
		}
		v[i] = uint64(filler)
		if count++; count*8 > len(v) {
			return dst, false
		}
		exceptions = binary.AppendUvarint(exceptions, uint64(i-last-1))
		if last = i; c == Decimal32 {
			exceptions = binary.LittleEndian.AppendUint32(exceptions, uint32(b))
		} else {
			exceptions = binary.LittleEndian.AppendUint64(exceptions, b)
		}
	}
	s.exceptions = exceptions
	dst = appendInts(append(dst, byte(e)), v, s)
	dst = binary.AppendUvarint(dst, uint64(count))
	return append(dst, exceptions...), true
}

// decimals reads a block of decimals into v.
func (r *reader) decimals(v []uint64, c Codec, s *scratch) {
	e := r.byte()
	if e > maxExponent {
		r.fail("exponent too large")
		return
	}
	if r.ints(v, s); !r.ok() {
		return
	}
	power := powers[e]
	for i, x := range v {
		v[i] = fromDecimal(int64(x), power, c)
	}
	last := -1
	for range r.count(len(v)) {
		p := r.position(last, len(v))
		b := r.take(c.ElementBytes())
		if !r.ok() {
			return
		}
		loadBytes(b, c)(v[p:p+1], 0)
		last = p
	}
}
