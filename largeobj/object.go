package largeobj

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// An Object is an object that is being written. It belongs to one goroutine, or to several that write different parts.
type Object struct {
	h      *handle
	bytes  []byte
	frozen atomic.Bool
}

// Create returns an object of size bytes to write into: memory that peers on the same host can read, as long as the budget
// for that lasts, and the heap otherwise. Its content is undefined until written. In a handler the object ends with the
// call, unless its receiver holds it; elsewhere it ends with Release.
//
// Errors: a size that is negative or above [Config].MaxObjectBytes; [ErrClosed].
func Create(ctx context.Context, size int64) (*Object, error) {
	return storeOf(ctx).Create(ctx, size)
}

// Create is the function [Create] for a store.
func (s *Store) Create(ctx context.Context, size int64) (*Object, error) {
	if err := s.checkSize(size); err != nil {
		return nil, err
	}
	c := newContent(s, size)
	if s.arena != nil && size > 0 {
		if b, err := s.arena.Alloc(int(size)); err == nil { // otherwise the budget is used up
			c.block, c.bytes = b, b.Bytes()
		}
	}
	if c.bytes == nil {
		c.bytes = make([]byte, size)
	}
	h, err := s.adopt(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Object{h: h, bytes: c.bytes}, nil
}

// CreateSealed is [Create] for an object that is read by many or kept for long: its memory becomes immutable when it is
// frozen, which the system enforces, so that receivers may rely on what they have checked. Making it costs more than
// Create, because the memory is not reused.
//
// Errors: those of Create, and one that wraps [errors.ErrUnsupported] where memory cannot be shared.
func (s *Store) CreateSealed(ctx context.Context, size int64) (*Object, error) {
	if err := s.checkSize(size); err != nil {
		return nil, err
	}
	if s.arena == nil {
		return nil, fmt.Errorf("largeobj: sealed object: %w", errors.ErrUnsupported)
	}
	b, err := s.arena.AllocSealed(int(size))
	if err != nil {
		return nil, fmt.Errorf("largeobj: sealed object: %w", err)
	}
	c := newContent(s, size)
	c.block, c.bytes, c.sealable = b, b.Bytes(), true
	h, err := s.adopt(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Object{h: h, bytes: c.bytes}, nil
}

func (s *Store) checkSize(size int64) error {
	if size < 0 {
		return fmt.Errorf("largeobj: size is %d, must not be negative", size)
	}
	if size > s.cfg.MaxObjectBytes {
		return &LimitError{Knob: "MaxObjectBytes", Limit: s.cfg.MaxObjectBytes, Got: size}
	}
	return nil
}

// adopt makes a new content known and returns its handle, which in a handler ends with the call.
func (s *Store) adopt(ctx context.Context, c *content) (*handle, error) {
	if err := s.add(c); err != nil {
		c.free()
		return nil, err
	}
	h := newHandle(c, false)
	if scope := ScopeFrom(ctx); scope != nil {
		scope.add(h)
	}
	return h, nil
}

// Bytes returns the content to write into. It panics once the object is frozen: what has been sent must not change.
func (o *Object) Bytes() []byte {
	if o.frozen.Load() {
		panic("largeobj: Bytes of a frozen object")
	}
	return o.bytes
}

// WriteAt implements [io.WriterAt]. It fails at the end of the object, and once that is frozen.
func (o *Object) WriteAt(p []byte, off int64) (int, error) {
	switch {
	case o.frozen.Load():
		return 0, errors.New("largeobj: WriteAt on a frozen object")
	case off < 0 || off > int64(len(o.bytes)):
		return 0, fmt.Errorf("largeobj: WriteAt at %d in an object of %d bytes", off, len(o.bytes))
	}
	n := copy(o.bytes[off:], p)
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Freeze ends the writing and returns a reference to send. The reference and the object share their hold: release one of
// them.
func (o *Object) Freeze() Ref {
	if o.frozen.CompareAndSwap(false, true) {
		o.h.c.seal()
	}
	return Ref{o.h}
}

// Release gives the object back. What receivers hold stays valid for them. It is idempotent.
func (o *Object) Release() { o.h.release() }

// seal makes the memory of a sealed object immutable.
func (c *content) seal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sealable {
		return
	}
	if err := c.block.Seal(); err != nil {
		c.store.cfg.Logger.Warn("sealing an object failed: it travels as a stream", zap.Error(err))
	}
}

// FromBytes returns a reference to b, which must not be modified as long as anybody holds the object. It is copied when it
// is sent to a peer on the same host for the first time.
func FromBytes(ctx context.Context, b []byte) (Ref, error) { return storeOf(ctx).FromBytes(ctx, b) }

// FromBytes is the function [FromBytes] for a store.
func (s *Store) FromBytes(ctx context.Context, b []byte) (Ref, error) {
	if err := s.checkSize(int64(len(b))); err != nil {
		return Ref{}, err
	}
	c := newContent(s, int64(len(b)))
	c.bytes = b
	if b == nil {
		c.bytes = []byte{}
	}
	h, err := s.adopt(ctx, c)
	return Ref{h}, err
}

// FromFile returns a reference to the content of a file, which must not change as long as anybody holds the object; a
// change is noticed and is an error for the receiver.
func FromFile(ctx context.Context, path string) (Ref, error) { return storeOf(ctx).FromFile(ctx, path) }

// FromFile is the function [FromFile] for a store.
func (s *Store) FromFile(ctx context.Context, path string) (Ref, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Ref{}, fmt.Errorf("largeobj: %w", err)
	}
	d, err := s.OpenDir(filepath.Dir(path))
	if err != nil {
		return Ref{}, err
	}
	defer d.Close() // the file stays open
	return d.Ref(ctx, filepath.Base(path))
}

// FromReader returns a reference to what r will yield until io.EOF. It is read as it is sent, by a goroutine that ends
// with the object, and kept: in memory, or in a temporary file when it is large. r is closed at the end if it is an
// [io.Closer].
func FromReader(ctx context.Context, r io.Reader) (Ref, error) {
	return storeOf(ctx).FromReader(ctx, r)
}

// FromReader is the function [FromReader] for a store.
func (s *Store) FromReader(ctx context.Context, r io.Reader) (Ref, error) {
	spool, err := transfer.NewSpool(r, transfer.SpoolOptions{Budget: s.budget, Dir: s.cfg.SpillDir, MaxBytes: s.cfg.MaxObjectBytes})
	if err != nil {
		return Ref{}, fmt.Errorf("largeobj: %w", err)
	}
	return s.fromSource(ctx, spool, transfer.Manifest{ID: newKey(), Size: -1, Leaf: transfer.DefaultLeafBytes})
}

func (s *Store) fromSource(ctx context.Context, src transfer.Source, m transfer.Manifest) (Ref, error) {
	c := newContent(s, m.Size)
	c.id, c.leaf, c.source = m.ID, m.Leaf, src
	if m.Size > s.cfg.MaxObjectBytes {
		c.free()
		return Ref{}, &LimitError{Knob: "MaxObjectBytes", Limit: s.cfg.MaxObjectBytes, Got: m.Size}
	}
	h, err := s.adopt(ctx, c)
	return Ref{h}, err
}
