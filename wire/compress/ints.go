package compress

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A block of integers is a head byte, the first values, a base and what is left of the others, packed:
// difference them (up to twice), subtract the base, zigzag, keep the low bits of each; the few values that need more
// bits are exceptions. All arithmetic is modulo 2^64, so nothing is lost.

const (
	maxOrder  = 2  // how often a block is differenced
	orderLen  = 96 // elements that decide it
	medianLen = 15 // elements of which the median is a base
	looseBits = 2  // by which the width may exceed the bits of a usual value before exceptions are looked for
)

func zigzag(x uint64) uint64   { return x<<1 ^ uint64(int64(x)>>63) }
func unzigzag(u uint64) uint64 { return u>>1 ^ -(u & 1) }

// difference writes the differences of order 1 or 2 of v to out, which may not overlap, and returns them: order less than v
// has elements.
func difference(out, v []uint64, order int) []uint64 {
	out = out[:len(v)-order]
	switch order {
	case 1:
		for i := range out {
			out[i] = v[i+1] - v[i]
		}
	case 2:
		for i := range out {
			out[i] = v[i+2] - 2*v[i+1] + v[i]
		}
	}
	return out
}

// median returns the median of some values of d.
func median(d []uint64) uint64 {
	var some [medianLen]int64
	n := min(len(d), medianLen)
	if n == 0 {
		return 0
	}
	for i := range n {
		some[i] = int64(d[i*len(d)/n])
	}
	slices.Sort(some[:n])
	return uint64(some[n/2])
}

// measure returns the width that makes d smallest with that base, and roughly how many bits it then takes.
func measure(d []uint64, base uint64) (width, size int) {
	var lengths [65]int // how many values have that many bits
	var all uint64
	for _, x := range d {
		u := zigzag(x - base)
		all |= u
		lengths[bits.Len64(u)]++
	}
	width = max(1, bits.Len64(all))
	size = width * len(d)
	exceptions, over := 0, 0 // values wider than w, and the bits they have above it
	for w := width - 1; w >= 1; w-- {
		exceptions += lengths[w+1]
		over += exceptions
		// An exception takes a byte or two for its position, and a varint for its high bits.
		if s := w*len(d) + 12*exceptions + over*8/7; s <= size {
			width, size = w, s
		}
	}
	return width, size
}

// bestOrder returns how often to difference v, judged by some of its elements, and how many bits a value then usually has.
func bestOrder(v []uint64) (order, usual int) {
	n := len(v) - maxOrder
	if n < 2 {
		return 0, 0
	}
	at := func(i int) (x, d, dd uint64) {
		x, last, first := v[i+2], v[i+1], v[i]
		return x, x - last, x - 2*last + first
	}
	// The median of three values of each order stands for the base: one may be far off.
	x0, d0, dd0 := at(n / 4)
	x1, d1, dd1 := at(n / 2)
	x2, d2, dd2 := at(n * 3 / 4)
	x0, d0, dd0 = medianOf(x0, x1, x2), medianOf(d0, d1, d2), medianOf(dd0, dd1, dd2)
	var bits0, bits1, bits2 int
	some := min(n, orderLen)
	for i := range some {
		x, d, dd := at(i * n / some)
		bits0 += bits.Len64(zigzag(x - x0))
		bits1 += bits.Len64(zigzag(d - d0))
		bits2 += bits.Len64(zigzag(dd - dd0))
	}
	least, margin := bits0, some/4 // for bases that are not the best
	if bits1+margin < least {
		order, least = 1, bits1
	}
	if bits2+margin < least {
		order, least = 2, bits2
	}
	return order, least/some + 1
}

func medianOf(a, b, c uint64) uint64 {
	x, y, z := int64(a), int64(b), int64(c)
	return uint64(max(min(x, y), min(max(x, y), z)))
}

// bestBase returns what to subtract from d, and the width that what is left of it has.
func bestBase(d []uint64, usual int) (base uint64, width int) {
	if len(d) == 0 {
		return 0, 1
	}
	lo, hi := int64(d[0]), int64(d[0])
	for _, x := range d {
		lo, hi = min(lo, int64(x)), max(hi, int64(x))
	}
	base = uint64(lo) + (uint64(hi)-uint64(lo))/2 // the middle
	width = max(1, bits.Len64(max(zigzag(uint64(lo)-base), zigzag(uint64(hi)-base))))
	if width <= usual+looseBits {
		return base, width
	}
	width, size := measure(d, base)
	if b := median(d); b != base {
		if w, n := measure(d, b); n < size {
			base, width = b, w
		}
	}
	return base, width
}

// appendInts appends a block of integers; it uses the differences of s.
func appendInts(dst []byte, v []uint64, s *scratch) []byte {
	order, usual := bestOrder(v)
	d := v // nothing below writes to it
	if order > 0 {
		d = difference(s.diffs[:], v, order)
	}
	base, width := bestBase(d, usual)
	dst = append(dst, byte(order<<6|(width-1)))
	if order > 0 {
		dst = binary.AppendUvarint(dst, zigzag(v[0]))
	}
	if order > 1 {
		dst = binary.AppendUvarint(dst, zigzag(v[1]-v[0]))
	}
	dst = binary.AppendUvarint(dst, zigzag(base))

	mask, exceptions := uint64(1)<<width-1, 0
	var acc uint64
	var have int // bits in acc
	for i, x := range d {
		u := zigzag(x - base)
		if u > mask {
			s.misfits[exceptions] = uint16(i)
			exceptions++
			u &= mask
		}
		acc |= u << have
		if have += width; have >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			have -= 64
			acc = u >> (width - have)
		}
	}
	for ; have > 0; have -= 8 {
		dst = append(dst, byte(acc))
		acc >>= 8
	}

	dst = binary.AppendUvarint(dst, uint64(exceptions))
	last := -1
	for _, p := range s.misfits[:exceptions] {
		dst = binary.AppendUvarint(dst, uint64(int(p)-last-1))
		dst = binary.AppendUvarint(dst, zigzag(d[p]-base)>>width)
		last = int(p)
	}
	return dst
}

// ints reads a block of integers into v.
func (r *reader) ints(v []uint64, s *scratch) {
	head := r.byte()
	order, width := int(head>>6), int(head&63)+1
	if order > maxOrder || order > len(v) {
		r.fail("differenced too often")
		return
	}
	var first, step uint64
	if order > 0 {
		first = unzigzag(r.uvarint())
	}
	if order > 1 {
		step = unzigzag(r.uvarint())
	}
	base := unzigzag(r.uvarint())
	d := v[order:]
	packed := r.take((len(d)*width + 7) / 8)
	if !r.ok() {
		return
	}
	clear(s.packed[copy(s.packed[:], packed):][:16])
	unpack(d, &s.packed, width, base)

	last := -1
	for range r.count(len(d)) {
		p := r.position(last, len(d))
		high := r.uvarint()
		if r.ok() && high<<width>>width != high {
			r.fail("an exception of more than 64 bits")
		}
		if !r.ok() {
			return
		}
		d[p] = base + unzigzag(zigzag(d[p]-base)|high<<width)
		last = p
	}

	switch order {
	case 1:
		v[0] = first
		for i, x := range d {
			first += x
			d[i] = first
		}
	case 2:
		first, v[0], v[1] = first+step, first, first+step
		for i, x := range d {
			step += x
			first += step
			d[i] = first
		}
	}
}

// unpack reads len(d) values of width bits from b, which has at least 16 bytes more.
func unpack(d []uint64, b *[blockLen*8 + 16]byte, width int, base uint64) {
	mask := uint64(1)<<width - 1
	at := 0 // in bits
	if width <= 57 {
		for i := range d {
			u := binary.LittleEndian.Uint64(b[at>>3:]) >> (at & 7)
			d[i] = base + unzigzag(u&mask)
			at += width
		}
		return
	}
	for i := range d {
		u := binary.LittleEndian.Uint64(b[at>>3:])>>(at&7) | uint64(b[at>>3+8])<<(64-at&7)
		d[i] = base + unzigzag(u&mask)
		at += width
	}
}
