package transfer

import (
	"errors"
	"io"
	"os"
)

// ErrIncomplete means that not all bytes of an object are there.
var ErrIncomplete = errors.New("transfer: object is not complete")

// A Buffer is a [Destination] in memory, or in a temporary file without a name when the budget does not allow the memory.
//
// What was received stays in it when a [Receive] fails, and another one for the same object goes on; for another object it
// starts again. Close frees it. It is a [Source] when it is complete; its methods are then safe for concurrent use, but for
// Close.
type Buffer struct {
	store  store
	m      Manifest // of the last Receive; Leaf is 0 before
	have   RangeSet
	used   int64 // bytes of the store that may have been written
	mapped []byte
}

// NewBuffer returns an empty buffer. A nil budget means [ProcessBudget], an empty dir the system's directory for temporary
// files, which may be in memory too.
func NewBuffer(budget *Budget, dir string) *Buffer { return &Buffer{store: newStore(budget, dir)} }

func (b *Buffer) begin(m Manifest) (RangeSet, int64, error) {
	if m.ID != b.m.ID || m.Leaf != b.m.Leaf || m.Size >= 0 && b.m.Size >= 0 && m.Size != b.m.Size {
		if err := b.Close(); err != nil {
			return RangeSet{}, 0, err
		}
		b.m = m
	}
	b.m.Size = max(b.m.Size, m.Size)
	if b.m.Size >= 0 {
		if err := b.store.reserve(b.m.Size, b.used); err != nil {
			return RangeSet{}, 0, err
		}
		b.used = b.m.Size
	}
	return b.have.Clone(), b.m.Size, nil
}

func (b *Buffer) grow(n int64) error {
	if n <= b.store.capacity() {
		return nil
	}
	return b.store.grow(n, n)
}

func (b *Buffer) slice(off, n int64) []byte         { return b.store.slice(off, n) }
func (b *Buffer) writeAt(p []byte, off int64) error { return b.store.writeAt(p, off) }
func (b *Buffer) verified(have RangeSet, size int64) {
	b.have = have
}

func (b *Buffer) end(size int64, complete bool) error {
	b.m.Size = size
	b.used = size
	if size < 0 {
		b.used = b.have.Prefix()
	}
	return nil
}

// complete reports whether all bytes are there.
func (b *Buffer) complete() bool { return b.m.Leaf > 0 && b.m.Size >= 0 && b.have.Bytes() == b.m.Size }

// Size returns the number of bytes, if it is known.
func (b *Buffer) Size() (int64, bool) { return b.m.Size, b.m.Leaf > 0 && b.m.Size >= 0 }

// InMemory reports whether the bytes are in memory that the budget counts.
func (b *Buffer) InMemory() bool { return b.store.file == nil }

// Have returns how many bytes are there and verified.
func (b *Buffer) Have() int64 { return b.have.Bytes() }

// Slice returns n bytes at off of a complete object, or nil when they are not in memory. They are valid until Close and
// must not be changed.
func (b *Buffer) Slice(off, n int64) []byte {
	if !b.complete() || off < 0 || n < 0 || off > b.m.Size-n {
		return nil
	}
	return b.store.slice(off, n)
}

// ReadAt reads from a complete object.
func (b *Buffer) ReadAt(p []byte, off int64) (int, error) {
	if !b.complete() {
		return 0, ErrIncomplete
	}
	return b.store.readAt(p, off, b.m.Size)
}

// Bytes returns a complete object. A file is mapped read-only, or read where that is not possible. The result is valid
// until Close and must not be changed.
func (b *Buffer) Bytes() ([]byte, error) {
	switch {
	case !b.complete():
		return nil, ErrIncomplete
	case b.m.Size == 0:
		return []byte{}, nil
	case b.store.file == nil:
		return b.store.slice(0, b.m.Size), nil
	}
	return b.mapFile()
}

// File returns the temporary file, nil when the object is in memory. It is valid until Close.
func (b *Buffer) File() *os.File { return b.store.file }

// WriteTo writes a complete object to w.
func (b *Buffer) WriteTo(w io.Writer) (int64, error) {
	if !b.complete() {
		return 0, ErrIncomplete
	}
	return io.Copy(w, io.NewSectionReader(b, 0, b.m.Size))
}

// Close frees memory, mapping and file. The buffer is empty then and can be used again.
func (b *Buffer) Close() error {
	err := unmapFile(b.mapped)
	mem := b.store.mem
	err = errors.Join(err, b.store.close())
	b.store.budget.recycle(mem)
	*b = Buffer{store: newStore(b.store.budget, b.store.dir)}
	return err
}
