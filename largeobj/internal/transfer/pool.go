package transfer

import (
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

func takeHasher() *blake3.Hasher {
	h := hashers.Get().(*blake3.Hasher)
	h.Reset()
	return h
}
