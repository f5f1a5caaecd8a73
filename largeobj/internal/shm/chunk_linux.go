//go:build amd64 || arm64

package shm

import "math/bits"

// A chunk is a part of a segment: a block, or what is free between blocks. Neighbours are never both free.
type chunk struct {
	seg          *segment
	off, size    int64
	before, next *chunk // by address
	free         bool
	older, newer *chunk // in the list of free chunks of its class
}

// Classes grow by a quarter to a seventh: four of them between a size and its double, from MinBlockBytes on.

func classBytes(class int) int64 { return int64(4+class%4) << (class/4 + 10) }

// classFor returns the smallest class whose chunks all hold n bytes.
func classFor(n int64) int {
	if n <= MinBlockBytes {
		return 0
	}
	return classIn(n-1) + 1
}

// classIn returns the class of a free chunk of n bytes: the largest one that it serves. n is at least MinBlockBytes.
func classIn(n int64) int {
	e := bits.Len64(uint64(n)) - 1
	return (e-12)*4 + int(n>>(e-2))&3
}

// A freeList has the free chunks of the shared segments by class, in each the one freed last on top.
type freeList struct {
	filled uint64 // the classes that have chunks
	top    [64]*chunk
	spare  *chunk // not in use, for the next cut; linked by older
}

func (f *freeList) push(c *chunk) {
	class := classIn(c.size)
	c.free, c.older, c.newer = true, f.top[class], nil
	if c.older != nil {
		c.older.newer = c
	}
	f.top[class] = c
	f.filled |= 1 << class
}

func (f *freeList) remove(c *chunk) {
	class := classIn(c.size)
	if c.older != nil {
		c.older.newer = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else if f.top[class] = c.older; c.older == nil {
		f.filled &^= 1 << class
	}
	c.free, c.older, c.newer = false, nil, nil
}

// take removes the best chunk for a class, cut to its size; nil if there is none.
func (f *freeList) take(class int) *chunk {
	fit := f.filled >> class << class
	if fit == 0 {
		return nil
	}
	c := f.top[bits.TrailingZeros64(fit)]
	f.remove(c)
	if rest := c.size - classBytes(class); rest >= MinBlockBytes {
		r := f.spare
		if r == nil {
			r = new(chunk)
		} else {
			f.spare = r.older
		}
		*r = chunk{seg: c.seg, off: c.off + classBytes(class), size: rest, before: c, next: c.next}
		if r.next != nil {
			r.next.before = r
		}
		c.next, c.size = r, classBytes(class)
		f.push(r)
	}
	return c
}

// put adds a chunk, together with the free ones beside it.
func (f *freeList) put(c *chunk) {
	if n := c.next; n != nil && n.free {
		f.remove(n)
		f.absorb(c, n)
	}
	if b := c.before; b != nil && b.free {
		f.remove(b)
		f.absorb(b, c)
		c = b
	}
	f.push(c)
}

// absorb makes c and the next chunk one.
func (f *freeList) absorb(c, next *chunk) {
	c.size += next.size
	if c.next = next.next; c.next != nil {
		c.next.before = c
	}
	*next = chunk{older: f.spare}
	f.spare = next
}
