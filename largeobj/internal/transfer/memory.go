package transfer

import (
	"math/bits"
	"time"
)

// The memory of closed Buffers is used again: pages that the system has given us already cost a third of fresh ones. It stays
// within the budget, and is left to the garbage collector when nobody has wanted it for a while.
const (
	// recycledBytes is the least that is worth it.
	recycledBytes = 64 << 10
	// recycledShare is the part of the budget that may wait to be used again: one in so many.
	recycledShare = 4
	// recycleTime is how long memory waits to be used again, and half of that at least.
	recycleTime = 10 * time.Second
)

// recycled is memory that waits to be used again.
type recycled struct {
	mem  []byte
	seen bool // by the timer
}

// classSize returns the size of memory for n bytes: an eighth of a power of two more at most.
func classSize(n int64) int64 {
	shift := max(bits.Len64(uint64(n-1))-4, 0)
	return ((n-1)>>shift + 1) << shift
}

// memory returns n bytes with any content, which take has granted.
func (b *Budget) memory(n int64) []byte {
	if n < recycledBytes {
		return make([]byte, n)
	}
	size := classSize(n)
	b.mu.Lock()
	for i := len(b.mu.free) - 1; i >= 0; i-- {
		if mem := b.mu.free[i].mem; int64(cap(mem)) == size {
			b.mu.free = append(b.mu.free[:i], b.mu.free[i+1:]...)
			b.mu.freeBytes -= size
			b.mu.Unlock()
			return mem[:n]
		}
	}
	b.mu.Unlock()
	return make([]byte, n, size)
}

// recycle takes memory back that nobody uses any more and that give has been called for.
func (b *Budget) recycle(mem []byte) {
	size := int64(cap(mem))
	if size < recycledBytes || size != classSize(size) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.mu.free) > 0 && b.mu.freeBytes+size > b.total/recycledShare {
		b.dropOldestLocked()
	}
	if b.mu.freeBytes+size > b.total/recycledShare || b.mu.used+b.mu.freeBytes+size > b.total {
		return
	}
	b.mu.free = append(b.mu.free, recycled{mem: mem})
	b.mu.freeBytes += size
	if !b.mu.timer {
		b.mu.timer = true
		time.AfterFunc(recycleTime/2, b.age)
	}
}

// age drops the memory that it sees for the second time.
func (b *Budget) age() {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.mu.free[:0]
	for _, r := range b.mu.free {
		if r.seen {
			b.mu.freeBytes -= int64(cap(r.mem))
			continue
		}
		r.seen = true
		kept = append(kept, r)
	}
	clear(b.mu.free[len(kept):])
	b.mu.free = kept
	if b.mu.timer = len(kept) > 0; b.mu.timer {
		time.AfterFunc(recycleTime/2, b.age)
	}
}

// makeRoomLocked drops recycled memory until n more bytes can be used.
func (b *Budget) makeRoomLocked(n int64) {
	for len(b.mu.free) > 0 && b.mu.used+b.mu.freeBytes+n > b.total {
		b.dropOldestLocked()
	}
}

func (b *Budget) dropOldestLocked() {
	b.mu.freeBytes -= int64(cap(b.mu.free[0].mem))
	b.mu.free[0] = recycled{}
	b.mu.free = b.mu.free[1:]
}
