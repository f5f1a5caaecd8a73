package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrClosed means that a [Spool] was closed before the bytes were there.
var ErrClosed = errors.New("transfer: spool is closed")

// SpoolOptions are the options of a [Spool]. Everything has a default for zero.
type SpoolOptions struct {
	Budget   *Budget // of memory; default [ProcessBudget]
	Dir      string  // of temporary files; default that of the system
	MaxBytes int64   // of the object; default 64 GiB, negative is refused
}

// A Spool is an object that comes out of an io.Reader. It keeps what was read in memory, or in a temporary file without a
// name when the budget does not allow the memory, so that receivers may come late and ask again. It is a [Source] whose
// size is known when the reader has ended. Its methods are safe for concurrent use.
//
// One goroutine reads, as fast as it can, whether anybody asks or not. It ends with the reader, at MaxBytes, or with Close.
type Spool struct {
	r    io.Reader
	max  int64
	done chan struct{} // closed when the goroutine has returned

	mu struct {
		sync.Mutex
		store store         // its place changes with the lock held; bytes below n never change
		n     int64         // bytes that are there
		err   error         // why there will be no more; io.EOF at the end of the object
		grown chan struct{} // closed when n or err changes, then replaced
	}
}

// NewSpool starts to read r, which it owns: Close closes r too if it is an io.Closer.
func NewSpool(r io.Reader, o SpoolOptions) (*Spool, error) {
	setDefault(&o.MaxBytes, 64<<30)
	if o.MaxBytes < 0 || o.MaxBytes > MaxSize {
		return nil, fmt.Errorf("transfer: SpoolOptions.MaxBytes is %d, want 1 to %d, or 0 for 64 GiB", o.MaxBytes, int64(MaxSize))
	}
	s := &Spool{r: r, max: o.MaxBytes, done: make(chan struct{})}
	s.mu.store = newStore(o.Budget, o.Dir)
	s.mu.grown = make(chan struct{})
	go s.fill() // ends as the type says; Close waits for it
	return s, nil
}

// fill reads until the end, an error or Close.
func (s *Spool) fill() {
	defer close(s.done)
	buf := takeBuffer()
	defer buf.put()
	empty := 0
	for off := int64(0); ; {
		room, inPlace, err := s.room(off)
		if err != nil {
			s.publish(0, err)
			return
		}
		if !inPlace {
			room = buf[:]
		}
		n, err := s.r.Read(room[:min(ChunkBytes, s.max-off+1)])
		switch empty++; {
		case n > 0:
			empty = 0
		case err == nil && empty == 100:
			err = io.ErrNoProgress
		}
		if off+int64(n) > s.max {
			n, err = 0, &LimitError{"bytes of a spooled object (SpoolOptions.MaxBytes)", s.max, off + int64(n)}
		}
		if !inPlace && n > 0 {
			if werr := s.write(room[:n], off); werr != nil {
				n, err = 0, werr
			}
		}
		off += int64(n)
		if s.publish(int64(n), err) {
			return
		}
	}
}

// room returns the place of the next chunk, if it is in memory.
func (s *Spool) room(off int64) (room []byte, inPlace bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return nil, false, s.mu.err
	}
	if err := s.mu.store.grow(off+ChunkBytes, off); err != nil {
		return nil, false, err
	}
	room = s.mu.store.slice(off, ChunkBytes)
	return room, room != nil, nil
}

func (s *Spool) write(p []byte, off int64) error {
	s.mu.Lock()
	place := s.mu.store
	s.mu.Unlock()
	return place.writeAt(p, off) // only fill and Close, which waits for fill, change the place
}

// publish makes n more bytes readable, and err final. It reports whether there is an error.
func (s *Spool) publish(n int64, err error) (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.n += n
	if s.mu.err == nil {
		s.mu.err = err
	}
	close(s.mu.grown)
	s.mu.grown = make(chan struct{})
	return s.mu.err != nil
}

// Size returns the number of bytes when the reader has ended.
func (s *Spool) Size() (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.n, s.mu.err == io.EOF
}

// Err returns why the object is not complete: nil while the reader runs or when it has ended, else its error, a
// *[LimitError], a *[SpaceError] or [ErrClosed].
func (s *Spool) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err == io.EOF {
		return nil
	}
	return s.mu.err
}

// Slice returns n bytes at off, or nil when they are not in memory or not there yet. They are valid for ever and must not
// be changed.
func (s *Spool) Slice(off, n int64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if off < 0 || n < 0 || off > s.mu.n-n {
		return nil
	}
	return s.mu.store.slice(off, n)
}

// ReadAt waits until all of p or the end is there.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
	return s.ReadAtContext(context.Background(), p, off) // io.ReaderAt has none
}

// ReadAtContext waits until all of p or the end is there, or ctx has ended. Errors: io.EOF, those of [Spool.Err], the
// cause of ctx.
func (s *Spool) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, io.EOF
	}
	for {
		s.mu.Lock()
		place, n, err, grown := s.mu.store, s.mu.n, s.mu.err, s.mu.grown
		s.mu.Unlock()
		switch {
		case err == ErrClosed, off > n-int64(len(p)) && err != nil && err != io.EOF:
			return 0, err
		case off <= n-int64(len(p)), err == io.EOF:
			return place.readAt(p, off, n)
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Close frees the bytes and ends those who wait for more. It closes the reader if it can, and waits for a Read that is
// running.
func (s *Spool) Close() error {
	s.mu.Lock()
	closed := s.mu.err == ErrClosed
	s.mu.err = ErrClosed
	s.mu.Unlock()
	s.publish(0, nil)
	var err error
	if c, ok := s.r.(io.Closer); ok && !closed {
		err = c.Close()
	}
	<-s.done
	if closed {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.mu.store.close())
}
