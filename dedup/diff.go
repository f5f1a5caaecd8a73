package dedup

import (
	"encoding/binary"
	"math/bits"
)

const (
	leastCopy  = 4  // a shorter copy costs as much as its bytes
	largeBytes = 48 // a difference in a field of that size is looked at byte by byte
	indexBits  = 12 // log2 of the largest number of places of the base that are remembered
	wordBytes  = 8  // what is compared at a time
	skipShift  = 4  // how soon the search skips bytes where nothing matches
)

// A differ makes the operations that turn a base into a message. The zero value is ready; it keeps a table between uses.
type differ struct {
	table []uint32 // place in the base plus one, by hash of the word there
}

// append appends the operations to dst. The fields of both, if given, say where a change is likely to end. It gives up
// when there are more than most bytes: then what it returns is longer than that, and useless.
func (d *differ) append(dst, base []byte, baseFields []Field, msg []byte, fields []Field, most int) []byte {
	w := opWriter{dst: dst, msg: msg, most: len(dst) + most}
	if len(fields) < 2 || len(fields) != len(baseFields) {
		d.part(&w, base, 0, len(base), 0, len(msg))
		return w.finish()
	}
	p, q := 0, 0 // in msg and base
	for i := 0; p < len(msg) && len(w.dst) <= w.most; {
		n := match(msg[p:], base[q:])
		w.copy(p, q, n)
		if p, q = p+n, q+n; p == len(msg) {
			break
		}
		for fields[i].End <= p { // the one that differs, or whose beginning is not at q in the base
			i++
		}
		begin, baseBegin := 0, 0
		if i > 0 {
			begin, baseBegin = fields[i-1].End, baseFields[i-1].End
		}
		end, baseEnd := fields[i].End, baseFields[i].End
		if at := baseBegin + p - begin; at != q && at < baseEnd {
			q = at
			continue
		}
		q = min(max(q, baseBegin), baseEnd)
		d.part(&w, base, q, baseEnd, p, end)
		p, q = end, baseEnd
	}
	return w.finish()
}

// part makes the operations for msg[p:end] from base[q:baseEnd]. What it leaves out becomes a literal.
func (d *differ) part(w *opWriter, base []byte, q, baseEnd, p, end int) {
	if end-p < largeBytes {
		return
	}
	n := match(w.msg[p:end], base[q:baseEnd])
	w.copy(p, q, n)
	p, q = p+n, q+n
	tail := matchEnd(w.msg[p:end], base[q:baseEnd])
	if end-tail-p >= 2*wordBytes && baseEnd-tail-q >= wordBytes {
		d.search(w, base, q, baseEnd-tail, p, end-tail)
	}
	w.copy(end-tail, baseEnd-tail, tail)
}

// search finds words of base[q:baseEnd] in msg[p:end]: where the last match would go on, else with the table.
func (d *differ) search(w *opWriter, base []byte, q, baseEnd, p, end int) {
	shift := d.index(base[:baseEnd], q)
	missed := 0
	for p+wordBytes <= end && len(w.dst) <= w.most {
		word := binary.LittleEndian.Uint64(w.msg[p:])
		at := int(d.table[hashWord(word)>>shift]) - 1
		if at < 0 || binary.LittleEndian.Uint64(base[at:]) != word {
			missed++
			p += 1 + missed>>skipShift
			continue
		}
		missed = 0
		from := max(w.covered(), p-(at-q)) // look back too
		for p > from && w.msg[p-1] == base[at-1] {
			p, at = p-1, at-1
		}
		n := match(w.msg[p:end], base[at:baseEnd])
		w.copy(p, at, n)
		p += n
	}
}

// index fills the table with places of base from q on and returns by how much hashes are shifted. Each place has a whole
// word.
func (d *differ) index(base []byte, q int) (shift uint) {
	size := min(max(bits.Len(uint(len(base)-q)), 6), indexBits)
	if len(d.table) < 1<<size {
		d.table = make([]uint32, 1<<size)
	}
	clear(d.table[:1<<size])
	shift = uint(64 - size)
	step := 1 + (len(base)-q)>>indexBits
	for ; q+wordBytes <= len(base); q += step {
		d.table[hashWord(binary.LittleEndian.Uint64(base[q:]))>>shift] = uint32(q) + 1
	}
	return shift
}

func hashWord(w uint64) uint64 { return w * 0x9e3779b97f4a7c15 }

// match is the number of bytes that a and b have in common at their start.
func match(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	i := 0
	for ; i+wordBytes <= n; i += wordBytes {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// matchEnd is the number of bytes that a and b have in common at their end.
func matchEnd(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[len(a)-n:], b[len(b)-n:]
	i := n
	for ; i >= wordBytes; i -= wordBytes {
		if x := binary.LittleEndian.Uint64(a[i-wordBytes:]) ^ binary.LittleEndian.Uint64(b[i-wordBytes:]); x != 0 {
			return n - i + bits.LeadingZeros64(x)/8
		}
	}
	for i > 0 && a[i-1] == b[i-1] {
		i--
	}
	return n - i
}

// An opWriter writes the operations of a delta. Copies that continue each other become one.
type opWriter struct {
	dst  []byte
	msg  []byte
	most int // of dst
	done int // bytes of msg that dst makes
	from int // where the base goes on after the last copy in dst

	at, base, n int // the copy that is not in dst yet: msg[at:at+n] is base[base:base+n]
}

// covered is the number of bytes of msg up to the end of the last copy.
func (w *opWriter) covered() int {
	if w.n > 0 {
		return w.at + w.n
	}
	return w.done
}

// copy says that msg[p:p+n] is base[q:q+n]; p does not decrease from call to call. Short ones are ignored.
func (w *opWriter) copy(p, q, n int) {
	switch {
	case w.n > 0 && p == w.at+w.n && q == w.base+w.n:
		w.n += n
	case n >= leastCopy:
		w.flush()
		w.at, w.base, w.n = p, q, n
	}
}

func (w *opWriter) flush() {
	if w.n == 0 {
		return
	}
	literal := w.msg[w.done:w.at]
	w.dst = append(appendVarint(w.dst, uint64(len(literal))), literal...)
	if move := int64(w.base - w.from - len(literal)); move == 0 {
		w.dst = appendVarint(w.dst, uint64(w.n)<<1)
	} else {
		w.dst = appendVarint(w.dst, uint64(w.n)<<1|1)
		w.dst = appendVarint(w.dst, uint64(move<<1)^uint64(move>>63))
	}
	w.done, w.from, w.n = w.at+w.n, w.base+w.n, 0
}

// finish writes what is left and returns dst.
func (w *opWriter) finish() []byte {
	w.flush()
	if literal := w.msg[w.done:]; len(literal) > 0 {
		w.dst = append(appendVarint(w.dst, uint64(len(literal))), literal...)
	}
	return w.dst
}
