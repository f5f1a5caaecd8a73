package wire

import (
	"sync"
	"sync/atomic"
)

// Buffer is a pooled byte slice. Whoever holds it owns it, and releases it exactly once or hands it on.
type Buffer struct {
	// B is the content. It may be resliced and grown by append; it is valid until Release.
	B []byte

	// Body is where in B the message body begins, behind its headers, in a payload that is sent; 0 if it has none.
	Body int

	body     []byte // the message body of a payload that came in shared memory; B then has the headers alone
	home     Home   // of body, or of B in a payload that is sent
	shard    uint8  // of buffersOut
	released bool
}

// A Home is memory outside of the heap, which is given back exactly once.
type Home interface{ Release() }

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

	homedBuffers = sync.Pool{New: func() any { return &Buffer{shard: nextShard()} }}
)

func nextShard() uint8 { return uint8(lastShard.Add(1) % uint32(len(buffersOut))) }

// NewHomedBuffer returns an empty buffer with the capacity of b, which is part of home. Releasing the buffer releases home.
func NewHomedBuffer(b []byte, home Home) *Buffer {
	buf := homedBuffers.Get().(*Buffer)
	buf.released = false
	buf.B, buf.home = b[:0], home
	buffersOut[buf.shard].Add(1)
	return buf
}

// Home returns the memory that the content of a buffer made by [NewHomedBuffer] is in, nil when it has outgrown that.
func (b *Buffer) Home() Home { return b.home }

// SetBody makes body the message body of a payload whose headers are in B. It is part of home, which is released with the
// buffer.
func (b *Buffer) SetBody(body []byte, home Home) { b.body, b.home = body, home }

// AppendBody appends a message body behind the headers in B, and releases the buffer that it is in.
func (b *Buffer) AppendBody(body *Buffer) {
	b.Body = len(b.B)
	b.B = append(b.B, body.B...)
	body.Release()
}

// Message returns the message body of a payload, whose headers take n bytes of B, and whether it is in memory that somebody
// else can still change.
func (b *Buffer) Message(n int) (body []byte, shared bool) {
	if b.body != nil {
		return b.body, true
	}
	return b.B[n:], false
}

// ReleaseBody gives back the body of a payload that came in shared memory ahead of the rest.
func (b *Buffer) ReleaseBody() {
	if b.body != nil {
		b.home.Release()
		b.body, b.home = nil, nil
	}
}

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
	b = &Buffer{B: make([]byte, 0, n), shard: nextShard()}
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
	b.Body = 0
	if b.home != nil {
		inHome := b.body == nil
		b.home.Release()
		b.body, b.home = nil, nil
		if inHome { // B itself
			b.B = nil
			homedBuffers.Put(b)
			return
		}
	}
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
