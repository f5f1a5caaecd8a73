package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// A Source is an object that can be read. ReadAt is safe for concurrent use and returns io.EOF only at the end; while the
// object is still being produced it blocks until the bytes are there.
//
// A Source may also have these methods:
//
//	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)   ReadAt that ends with ctx
//	Slice(off, n int64) []byte    the bytes themselves, which nobody changes any more, or nil when they are not in memory
//	Check() error                 ErrChanged when the object is no longer the one that was opened
type Source interface {
	io.ReaderAt
	// Size returns the number of bytes, if it is known.
	Size() (n int64, known bool)
}

type (
	contextReaderAt interface {
		ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
	}
	slicer  interface{ Slice(off, n int64) []byte }
	checker interface{ Check() error }
)

// Bytes is an object in memory. Nobody may change it while it is served.
type Bytes []byte

// Size returns the length.
func (b Bytes) Size() (int64, bool) { return int64(len(b)), true }

// Slice returns a part of b.
func (b Bytes) Slice(off, n int64) []byte { return b[off : off+n : off+n] }

// ReadAt reads from b.
func (b Bytes) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Serve sends ranges of an object as chunks, one after the other. Ranges begin and end at ends of leaves, or at the end of
// the object; they are ascending and do not overlap. The last one may have Length -1: up to the end.
//
// Each leaf that ends comes with its hash, computed while its chunks are sent unless leaves has it already. send borrows
// the chunk and its data until it returns; it is never called concurrently. Serve keeps one buffer, none for a source
// with Slice. Hashing runs in a goroutine beside send that has ended when Serve returns.
//
// Errors: *[ProtocolError] or *[LimitError] for the ranges, which come from the peer; those of the source and of send;
// [ErrChanged] when the source changed, before the leaf of which that is not sure is complete for the receiver; the cause of ctx.
func Serve(ctx context.Context, src Source, leaves *Leaves, ranges []Range, send func(*Chunk) error) error {
	if err := checkRanges(src, leaves.leaf, ranges); err != nil {
		return err
	}
	s := server{src: src, leaves: leaves, send: send, hashed: make(chan struct{}, 1)}
	defer func() { s.buf.put() }()
	for _, r := range ranges {
		s.chunk.Offset = r.Offset
		for r.Length < 0 || s.chunk.Offset < r.end() {
			end, err := s.leaf(ctx)
			if err != nil {
				return err
			}
			if end {
				if r.Length >= 0 && s.chunk.Offset < r.end() {
					return fmt.Errorf("transfer: source ended at %d: %w", s.chunk.Offset, io.ErrUnexpectedEOF)
				}
				break
			}
		}
	}
	return nil
}

func checkRanges(src Source, leaf int64, ranges []Range) error {
	if len(ranges) > MaxRanges {
		return &LimitError{"ranges of a request", MaxRanges, int64(len(ranges))}
	}
	size, known := src.Size()
	end := int64(0)
	for i, r := range ranges {
		if r.Offset < end || r.Length < -1 || r.Length == 0 || r.Offset > MaxSize || r.Length > MaxSize-r.Offset {
			return &ProtocolError{"ranges are ascending, not empty and within the largest object", end, r.Offset}
		}
		if r.Offset%leaf != 0 {
			return &ProtocolError{"ranges begin where a leaf does", r.Offset &^ (leaf - 1), r.Offset}
		}
		if known && (r.Offset > size || r.Length > size-r.Offset) {
			return &ProtocolError{"ranges end within the object", size, r.Offset + max(r.Length, 0)}
		}
		if r.Length < 0 {
			if i < len(ranges)-1 {
				return &ProtocolError{"only the last range has no length", int64(len(ranges) - 1), int64(i)}
			}
			return nil
		}
		if end = r.end(); end%leaf != 0 && (!known || end != size) {
			return &ProtocolError{"ranges end where a leaf does", end &^ (leaf - 1), end}
		}
	}
	return nil
}

// server is one call of Serve. chunk.Offset is what comes next.
type server struct {
	src    Source
	leaves *Leaves
	send   func(*Chunk) error
	buf    *buffer
	chunk  Chunk
	sum    [HashBytes]byte
	hashed chan struct{} // gets one when the goroutine that hashes beside send is done; room for it, should send panic
}

// leaf sends the leaf that begins at chunk.Offset and reports whether it is the last one.
func (s *server) leaf(ctx context.Context) (end bool, err error) {
	if err := s.check(); err != nil {
		return false, err
	}
	c := &s.chunk
	leaf := leafAt(c.Offset, s.leaves.leaf, unknown)
	hash := s.leaves.enter(leaf.Offset / leaf.Length)
	defer hash.leave()
	for {
		if err := s.read(ctx, leaf.end()); err != nil {
			return false, err
		}
		c.Leaf = nil
		end = c.end() == c.Size
		if !end && c.end() < leaf.end() {
			if err := s.sendAndHash(hash, c.Offset-leaf.Offset); err != nil {
				return false, err
			}
			c.Offset = c.end()
			continue
		}
		if err := s.check(); err != nil { // what was read since the last check is this leaf
			return false, err
		}
		if hash != nil && c.end() > leaf.Offset { // not for the empty chunk behind a last leaf that is full
			hash.write(c.Data, c.Offset-leaf.Offset)
			c.Leaf = hash.sum(s.sum[:0])
		}
		if err := s.send(c); err != nil {
			return false, err
		}
		c.Offset = c.end()
		return end, nil
	}
}

// check asks the source whether it has changed.
func (s *server) check() error {
	if c, ok := s.src.(checker); ok {
		return c.Check()
	}
	return nil
}

// read sets Data and Size of the next chunk, which ends at limit or before.
func (s *server) read(ctx context.Context, limit int64) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c := &s.chunk
	size, known := s.src.Size()
	if known {
		limit = min(limit, size)
	}
	n := min(limit-c.Offset, ChunkBytes)
	if n < 0 {
		return fmt.Errorf("transfer: source shrank to %d: %w", size, io.ErrUnexpectedEOF)
	}
	c.Data = nil
	if m, ok := s.src.(slicer); ok && n > 0 {
		c.Data = m.Slice(c.Offset, n)
	}
	if c.Data == nil && n > 0 {
		if s.buf == nil {
			s.buf = takeBuffer()
		}
		got, err := s.readAt(ctx, s.buf[:n], c.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		c.Data = s.buf[:got]
		size, known = s.src.Size()
		if int64(got) < n && (!known || c.end() != size) {
			if err := s.check(); err != nil {
				return err
			}
			return fmt.Errorf("transfer: source ended at %d: %w", c.end(), io.ErrUnexpectedEOF)
		}
	}
	c.Size = unknown
	if known {
		c.Size = size
	}
	return nil
}

func (s *server) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	if r, ok := s.src.(contextReaderAt); ok {
		return r.ReadAtContext(ctx, p, off)
	}
	return s.src.ReadAt(p, off)
}

// sendAndHash sends the chunk, which begins at pos in its leaf, and hashes it meanwhile.
func (s *server) sendAndHash(hash *leafHash, pos int64) error {
	if hash.done() {
		return s.send(&s.chunk)
	}
	data := s.chunk.Data
	go func() { // ends when data is hashed; waited for below
		hash.write(data, pos)
		s.hashed <- struct{}{}
	}()
	err := s.send(&s.chunk)
	<-s.hashed
	return err
}
