package wire

import (
	"sync"
	"sync/atomic"
)

// Buffer is a pooled byte slice. Whoever holds it owns it, and releases it exactly once or hands it on.
type Buffer struct {
	// B is the content. It may be resliced and grown by append; it is valid until Release.
	B []byte

	shard    uint8 // of buffersOut
	released bool
}

// Buffers of these capacities are pooled; a larger one is left to the garbage collector, so that a rare large
// message cannot pin memory.
var bufferClasses = [...]int{512, 2 << 10, 8 << 10, 32 << 10, 128 << 10, 512 << 10, 2 << 20, 8 << 20, 32 << 20}

var (
	bufferPools [len(bufferClasses)]sync.Pool

	// Buffers in use are counted in several places, because one that every processor writes to would be slow.
	// Pooled buffers tend to stay with a processor, and keep their place.
	buffersOut [16]struct {
		atomic.Int64
		_ [56]byte // a cache line for each
	}
	lastShard atomic.Uint32
)

// NewBuffer returns an empty buffer with room for at least n bytes. The caller owns it.
func NewBuffer(n int) *Buffer {
	var b *Buffer
	for i, size := range bufferClasses {
		if n <= size {
			if b, _ = bufferPools[i].Get().(*Buffer); b != nil {
				b.released = false
				buffersOut[b.shard].Add(1)
				return b
			}
			n = size
			break
		}
	}
	b = &Buffer{B: make([]byte, 0, n), shard: uint8(lastShard.Add(1) % uint32(len(buffersOut)))}
	buffersOut[b.shard].Add(1)
	return b
}

// CopyBuffer returns a buffer that holds a copy of p. The caller owns it.
func CopyBuffer(p []byte) *Buffer {
	b := NewBuffer(len(p))
	b.B = append(b.B, p...)
	return b
}

// Release gives the buffer back; its content must not be touched afterwards. Releasing nil does nothing,
// releasing twice panics.
func (b *Buffer) Release() {
	if b == nil {
		return
	}
	if b.released {
		panic("wire: buffer released twice")
	}
	b.released = true
	buffersOut[b.shard].Add(-1)
	c := cap(b.B)
	for i := len(bufferClasses) - 1; i >= 0; i-- {
		if c < bufferClasses[i] {
			continue
		}
		// A buffer that grew past twice its class would make the pool larger than its class says.
		if c <= 2*bufferClasses[i] {
			b.B = b.B[:0]
			bufferPools[i].Put(b)
		}
		return
	}
}

// BuffersOut returns how many buffers are held at the moment, for leak checks and metrics.
func BuffersOut() int64 {
	n := int64(0)
	for i := range buffersOut {
		n += buffersOut[i].Load()
	}
	return n
}
