//go:build amd64 || arm64

package shm

import "sync/atomic"

// A Block is memory of this process that peers can be given leases on. Whoever has it may use it from several goroutines,
// which take care of each other as for any other memory.
type Block struct {
	arena    *Arena
	chunk    *chunk
	bytes    []byte
	users    atomic.Int32 // the owner, and each lease
	released atomic.Bool  // by the owner
	sealed   atomic.Bool
}

// Bytes returns the memory of the block: as long as was asked for, aligned to 64 bytes. The result is valid until Release;
// after [Block.Seal] it can only be read, and writing to it is a fault. It must never hold Go pointers.
func (b *Block) Bytes() []byte { return b.bytes }

// Release ends the owner's use of the block. The memory is used again when all leases on it have ended, too. The caller
// must not touch the block or its bytes again; a second call panics.
func (b *Block) Release() {
	if b.released.Swap(true) {
		panic("shm: a block was released twice")
	}
	b.unref()
}

func (b *Block) unref() {
	switch n := b.users.Add(-1); {
	case n == 0:
		b.arena.freeChunk(b.chunk)
	case n < 0:
		panic("shm: a block has fewer than no users")
	}
}

// Seal makes a block of [Arena.AllocSealed] immutable for everybody, for ever; its bytes stay where they are. Nobody may
// use the block meanwhile. Calls after the first do nothing.
//
// Errors: what the system says, when it is still writing to the memory for somebody; the block is unchanged then.
func (b *Block) Seal() error {
	s := b.chunk.seg
	if s.kind != sealable {
		panic("shm: only a block of AllocSealed can be sealed")
	}
	if b.sealed.Load() {
		return nil
	}
	if err := makeReadOnly(s.fd, s.mem); err != nil {
		return err
	}
	b.sealed.Store(true)
	return nil
}
