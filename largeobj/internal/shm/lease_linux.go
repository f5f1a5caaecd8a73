//go:build amd64 || arm64

package shm

import (
	"fmt"
	"sync/atomic"
)

// A Lease is memory of a peer that this process may read. Bytes and Valid may be used from several goroutines.
type Lease struct {
	tables   *tables
	imported *imported
	bytes    []byte
	slot     int
	sequence uint64
	released atomic.Bool
}

// Open opens a lease that the peer has granted, once. The caller releases it.
//
// Errors: [ErrHandle] wrapped, when h names nothing that can be opened: bytes outside of a segment that is mapped here, or
// a lease that does not exist, has been opened before or was taken back; that of the link when it has ended.
func (l *Link) Open(h Handle) (*Lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err != nil {
		return nil, l.mu.err
	}
	i := l.mu.imports[h.Segment]
	if i == nil {
		return nil, fmt.Errorf("%w: segment %d is not mapped", ErrHandle, h.Segment)
	}
	size := uint64(len(i.mem))
	if h.Offset > size || h.Bytes > size-h.Offset {
		return nil, fmt.Errorf("%w: %d bytes at %d of a segment of %d", ErrHandle, h.Bytes, h.Offset, size)
	}
	if !l.tables.open(int(h.Slot), h.Sequence) {
		return nil, fmt.Errorf("%w: lease %d in slot %d is not granted", ErrHandle, h.Sequence, h.Slot)
	}
	i.users.Add(1)
	l.tables.users.Add(1)
	end := h.Offset + h.Bytes
	return &Lease{tables: l.tables, imported: i, bytes: i.mem[h.Offset:end:end], slot: int(h.Slot), sequence: h.Sequence}, nil
}

// Bytes returns the memory, which can only be read: writing to it is a fault. The result is valid until Release. The peer
// can change it meanwhile, unless it is [Lease.Sealed]: check what you have copied, not what you will copy.
func (le *Lease) Bytes() []byte { return le.bytes }

// Sealed reports whether nobody, the peer included, can change the bytes any more.
func (le *Lease) Sealed() bool { return le.imported.sealed }

// Valid reports whether the peer has kept the bytes for this lease until now. It is false when a link that has ended let
// the peer use the memory again: what was read is then to be thrown away. It stays true when the process of the peer has
// died. After Release it must not be called.
func (le *Lease) Valid() bool {
	return le.imported.sealed || le.tables.valid(le.slot, le.sequence)
}

// Release ends the lease; the bytes must not be touched any more. Calls after the first do nothing.
func (le *Lease) Release() {
	if le.released.Swap(true) {
		return
	}
	le.tables.end(le.slot, le.sequence)
	le.tables.unref()
	le.imported.unref()
}
