package largeobj

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// A Ref refers to an object. It is a field of a request, response or stream message like any other; its bytes move when it is
// opened, and not at all on the same host. The zero Ref refers to nothing. A Ref may be copied, sent to several peers, sent
// back, and passed on; all copies share one hold.
//
// A Ref that a handler receives ends with the call, unless [Ref.Keep] or [View.Keep] says otherwise. One that a client
// receives, or makes, ends with Release of it or of its View.
type Ref struct{ h *handle }

// IsZero reports whether the reference refers to nothing.
func (r Ref) IsZero() bool { return r.h == nil }

// Size returns the size in bytes, -1 while it is not known: of an object made by [FromReader].
func (r Ref) Size() int64 {
	if r.h == nil {
		return 0
	}
	return r.h.c.known()
}

// ID identifies the content.
func (r Ref) ID() ID {
	if r.h == nil {
		return ID{}
	}
	return r.h.c.id
}

// Release gives the object back. It is idempotent; releasing the zero Ref does nothing.
func (r Ref) Release() {
	if r.h != nil {
		r.h.release()
	}
}

// Keep makes the reference outlive the handler that received or made it; it must then be released.
func (r Ref) Keep() {
	if r.h != nil {
		r.h.kept.Store(true)
	}
}

// Progress is how far a transfer has come.
type Progress = transfer.Progress

// An OpenOption changes how an object is opened.
type OpenOption func(*openOptions)

type openOptions struct{ progress func(Progress) }

// WithProgress calls f while the bytes arrive, at most ten times a second and once at the end, never at the same time.
// f must not block for long. It is not called for bytes that are there.
func WithProgress(f func(Progress)) OpenOption { return func(o *openOptions) { o.progress = f } }

// Open returns the content, after fetching it if it is on another host. What arrived before an error is kept for a while
// ([Config].ResumeWindow), so that opening the object again goes on from there. Releasing the view of a received object
// releases the Ref.
//
// Errors: [ErrReleased], [ErrUnknown], *[LimitError], *[CorruptError], that of a full disk, the cause of ctx, and what
// the connection ended with.
func (r Ref) Open(ctx context.Context, opts ...OpenOption) (*View, error) {
	if r.h == nil {
		return nil, errors.New("largeobj: Open of the zero Ref")
	}
	var o openOptions
	for _, opt := range opts {
		opt(&o)
	}
	c := r.h.c
	if r.h.done.Load() {
		return nil, ErrReleased
	}
	c.store.hold(c)
	if err := c.open(ctx, o.progress); err != nil {
		c.store.unhold(c)
		return nil, err
	}
	if r.h.received { // its view stands for it
		c.store.unhold(c)
		return newView(r.h), nil
	}
	return newView(newHandle(c, false)), nil
}

// Reader returns a reader of n bytes from off on, of all that follow if n is -1, which hands them on as they arrive: from 4 MiB
// to the next, each verified. Nothing is kept. It belongs to one goroutine and must be closed. ctx bounds the whole of its use.
//
// Errors: those of [Ref.Open], and one for a part that is not within the object.
func (r Ref) Reader(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	if r.h == nil {
		return nil, errors.New("largeobj: Reader of the zero Ref")
	}
	if r.h.done.Load() {
		return nil, ErrReleased
	}
	c := r.h.c
	c.mu.Lock()
	origin := c.origin
	c.mu.Unlock()
	var from io.Reader
	if origin != nil {
		m := transfer.Manifest{ID: c.id, Size: c.known(), Leaf: c.leaf}
		remote, err := transfer.NewReader(ctx, m, origin.fetcher(c.key), off, n, c.store.transferOptions(nil))
		if err != nil {
			return nil, fmt.Errorf("largeobj: %w", err)
		}
		from = remote
	} else {
		local, err := c.section(ctx, off, n)
		if err != nil {
			return nil, err
		}
		from = local
	}
	c.store.hold(c)
	return &contentReader{Reader: from, c: c}, nil
}

// section returns a part of a content that is here.
func (c *content) section(ctx context.Context, off, n int64) (io.Reader, error) {
	size := c.known()
	if n < 0 {
		n = max(size, off) - off
		if size < 0 {
			n = transfer.MaxSize
		}
	}
	if off < 0 || size >= 0 && (off > size || n > size-off) {
		return nil, fmt.Errorf("largeobj: %d bytes at %d of an object of %d", n, off, size)
	}
	src, _ := c.serveFrom()
	if spool, ok := src.(*transfer.Spool); ok {
		return io.NewSectionReader(spoolReader{ctx, spool}, off, n), nil
	}
	return io.NewSectionReader(src, off, n), nil
}

// spoolReader reads what is still being produced.
type spoolReader struct {
	ctx context.Context
	s   *transfer.Spool
}

func (r spoolReader) ReadAt(p []byte, off int64) (int, error) {
	return r.s.ReadAtContext(r.ctx, p, off)
}

// contentReader holds the content that it reads.
type contentReader struct {
	io.Reader
	c    *content
	once sync.Once
}

func (r *contentReader) Close() error {
	var err error
	r.once.Do(func() {
		if remote, ok := r.Reader.(io.Closer); ok {
			err = remote.Close()
		}
		r.c.store.unhold(r.c)
	})
	return err
}

// open makes the bytes available to this process.
func (c *content) open(ctx context.Context, progress func(Progress)) error {
	if _, _, ok := c.here(); !ok {
		return c.fetch(ctx, progress)
	}
	c.mu.Lock()
	spool, _ := c.source.(*transfer.Spool)
	c.mu.Unlock()
	if spool != nil {
		if _, err := spool.ReadAtContext(ctx, make([]byte, 1), transfer.MaxSize); err != io.EOF { // waits for the end
			return fmt.Errorf("largeobj: %w", err)
		}
	}
	if c.store.cfg.Trust == Copy {
		c.detach()
	}
	return nil
}

// detach replaces memory of a peer by a copy.
func (c *content) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == nil || c.lease.Sealed() {
		return
	}
	own := make([]byte, len(c.bytes))
	copy(own, c.bytes)
	c.bytes = own
	c.lease.Release()
	c.lease = nil
}

// Download stores the content in a file. While it is incomplete the file is called path.part, and path.part.have says what
// of it has been verified: downloading the same object to the same path again, also by another process, goes on from
// there. It fails as Open does.
func (r Ref) Download(ctx context.Context, path string, opts ...OpenOption) error {
	if r.h == nil {
		return errors.New("largeobj: Download of the zero Ref")
	}
	var o openOptions
	for _, opt := range opts {
		opt(&o)
	}
	if r.h.done.Load() {
		return ErrReleased
	}
	c := r.h.c
	c.store.hold(c)
	defer c.store.unhold(c)
	c.mu.Lock()
	origin := c.origin
	c.mu.Unlock()
	if origin == nil {
		return c.copyTo(ctx, path)
	}
	m := transfer.Manifest{ID: c.id, Size: c.known(), Leaf: c.leaf}
	if m.Size > c.store.cfg.MaxObjectBytes {
		return &LimitError{Knob: "MaxObjectBytes", Limit: c.store.cfg.MaxObjectBytes, Got: m.Size}
	}
	if err := transfer.Receive(ctx, m, origin.fetcher(c.key), transfer.NewFile(path), c.store.transferOptions(o.progress)); err != nil {
		return fmt.Errorf("largeobj: %w", err)
	}
	return nil
}

// copyTo stores a content that is in this process in a file.
func (c *content) copyTo(ctx context.Context, path string) error {
	if err := c.open(ctx, nil); err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part*")
	if err != nil {
		return fmt.Errorf("largeobj: %w", err)
	}
	defer os.Remove(part.Name()) // fails once it has been renamed
	src, _ := c.serveFrom()
	_, err = io.Copy(part, io.NewSectionReader(src, 0, c.known()))
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("largeobj: %w", err)
	}
	return nil
}

// The wire form of a Ref is a byte string, empty for the zero Ref:
//
//	version and flags, 1 byte   ID, 16 bytes   key, 16 bytes   size + 1, varint   leaf size, log2, 1 byte   handle, the rest
//
// The handle is that of shared memory, present if the flag is set.
const (
	refVersion   = 1
	flagHandle   = 0x10
	refHeadBytes = 1 + 16 + 16
)

// maxRefBytes bounds it.
const maxRefBytes = refHeadBytes + binary.MaxVarintLen64 + 1 + shm.HandleBytes

// AppendLinked implements the encoding of a field in package wire/codec. link is the *[Scope] of the call.
func (r Ref) AppendLinked(dst []byte, link any) ([]byte, error) {
	if r.h == nil {
		return dst, nil
	}
	scope, ok := link.(*Scope)
	if !ok || scope == nil {
		return dst, ErrNoConnection
	}
	if r.h.done.Load() {
		return dst, ErrReleased
	}
	dst, sent, err := scope.session.export(dst, r.h.c)
	if err == nil {
		scope.sent(sent)
	}
	return dst, err
}

// DecodeLinked implements the decoding of a field in package wire/codec. It borrows b.
func (r *Ref) DecodeLinked(b []byte, link any) error {
	*r = Ref{}
	if len(b) == 0 {
		return nil
	}
	scope, ok := link.(*Scope)
	if !ok || scope == nil {
		return ErrNoConnection
	}
	c, err := scope.session.importRef(b)
	if err != nil {
		return err
	}
	r.h = newHandle(c, true)
	scope.add(r.h)
	return nil
}
