package transfer

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/zeebo/blake3"
)

// A buffer is room for one chunk.
type buffer [ChunkBytes]byte

var (
	buffers    = sync.Pool{New: func() any { return new(buffer) }}
	buffersOut atomic.Int64 // taken and not put back; 0 when nothing is transferred
	hashers    = sync.Pool{New: func() any { return blake3.New() }}
)

func takeBuffer() *buffer {
	buffersOut.Add(1)
	return buffers.Get().(*buffer)
}

// put gives a buffer back; nil is nothing.
func (b *buffer) put() {
	if b != nil {
		buffersOut.Add(-1)
		buffers.Put(b)
	}
}

// Memory of closed Buffers is used again, until the next but one garbage collection: pages that the system has given us already
// cost a third of fresh ones. Classes are an eighth of a power of two apart.
var memories [8 * 64]sync.Pool // of *[]byte with the capacity of the class

// pooledBytes is the least that is worth it.
const pooledBytes = 64 << 10

// classOf returns the class of memory for n bytes, and its size.
func classOf(n int64) (class int, size int64) {
	shift := max(bits.Len64(uint64(n-1))-4, 0)
	eighths := (n - 1) >> shift // 8 to 15
	return shift*8 + int(eighths&7), (eighths + 1) << shift
}

// takeMemory returns memory of n bytes with any content.
func takeMemory(n int64) []byte {
	if n < pooledBytes {
		return make([]byte, n)
	}
	class, size := classOf(n)
	if m, ok := memories[class].Get().(*[]byte); ok {
		return (*m)[:n]
	}
	return make([]byte, n, size)
}

// putMemory gives back what takeMemory has returned and nobody uses any more.
func putMemory(m []byte) {
	if cap(m) < pooledBytes {
		return
	}
	if class, size := classOf(int64(cap(m))); size == int64(cap(m)) {
		memories[class].Put(&m)
	}
}

func takeHasher() *blake3.Hasher {
	h := hashers.Get().(*blake3.Hasher)
	h.Reset()
	return h
}
