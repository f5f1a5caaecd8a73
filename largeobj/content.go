package largeobj

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// A content is the bytes of one object, wherever they are.
//
//	made here:  bytes (in the heap or a block of the arena), or source (a file, a reader)
//	received:   lease (memory of a peer on this host), or origin: to be fetched, and then one of the above
type content struct {
	store *Store
	id    ID
	key   Key
	holds int // guarded by store.mu

	fetching chan struct{} // capacity 1; held by whoever fetches or places the bytes

	mu       sync.Mutex
	size     int64 // -1 until known
	sealable bool  // block is of AllocSealed
	bytes    []byte
	block    *shm.Block       // of our arena, also where a copy of the bytes was placed for peers on this host
	lease    *shm.Lease       // of a peer's arena
	source   transfer.Source  // of a content that is not in memory
	dst      *transfer.Buffer // what was fetched; owns bytes
	leaves   *transfer.Leaves
	origin   *Session // nil when the bytes are here
	leaf     int64
}

func newContent(s *Store, size int64) *content {
	return &content{store: s, id: newKey(), key: newKey(), size: size, leaf: transfer.DefaultLeafBytes, fetching: make(chan struct{}, 1)}
}

// free gives back what holds the bytes, when nobody holds the content any more.
func (c *content) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = nil
	if c.block != nil {
		c.block.Release()
	}
	if c.lease != nil {
		c.lease.Release()
	}
	if c.dst != nil {
		_ = c.dst.Close() // nothing is lost with it
	} else if closer, ok := c.source.(io.Closer); ok {
		_ = closer.Close() // read only
	}
	if c.origin != nil {
		c.origin.giveBack(c.key)
	}
	c.block, c.lease, c.source, c.dst, c.origin = nil, nil, nil, nil, nil
}

// here returns the bytes or the source of a content that need not be fetched.
func (c *content) here() (bytes []byte, source transfer.Source, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes, c.source, c.origin == nil
}

func (c *content) known() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source != nil {
		if n, ok := c.source.Size(); ok {
			c.size = n
		}
	}
	return c.size
}

// fetch gets the bytes from the peer that has them. One caller does so for all.
func (c *content) fetch(ctx context.Context, progress func(Progress)) error {
	select {
	case c.fetching <- struct{}{}:
		defer func() { <-c.fetching }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	origin, m := c.origin, transfer.Manifest{ID: c.id, Size: c.size, Leaf: c.leaf}
	c.mu.Unlock()
	if origin == nil {
		return nil
	}
	s := c.store
	if m.Size > s.cfg.MaxObjectBytes {
		return &LimitError{Knob: "MaxObjectBytes", Limit: s.cfg.MaxObjectBytes, Got: m.Size}
	}
	dst := s.takePartial(c.id)
	if dst == nil {
		dst = transfer.NewBuffer(s.budget, s.cfg.SpillDir)
	}
	if err := transfer.Receive(ctx, m, origin.fetcher(c.key), dst, s.transferOptions(progress)); err != nil {
		s.keepPartial(c.id, dst)
		return fmt.Errorf("largeobj: %w", err)
	}
	bytes, err := dst.Bytes()
	if err != nil {
		return errors.Join(fmt.Errorf("largeobj: %w", err), dst.Close())
	}
	s.stats.streamedIn.Add(1)
	s.stats.bytesIn.Add(int64(len(bytes)))
	c.mu.Lock()
	c.dst, c.bytes, c.size, c.origin = dst, bytes, int64(len(bytes)), nil
	c.mu.Unlock()
	origin.giveBack(c.key)
	return nil
}

// firstStreams is how many streams fetch an object before anything is known of the path. Over loopback two are 1.4 times as
// fast as one towards a server, where the window of a stream is the limit, and as fast towards a client.
const firstStreams = 2

func (s *Store) transferOptions(progress func(Progress)) transfer.Options {
	return transfer.Options{MaxStreams: s.cfg.MaxStreams, FirstStreams: min(firstStreams, s.cfg.MaxStreams), Progress: progress, MaxBytes: s.cfg.MaxObjectBytes,
		Retry: transfer.Retry{Lost: func(err error) bool { return errors.Is(err, ErrLost) }}}
}

// place returns a block of the arena with the bytes, copying them there the first time; nil when that is not possible.
func (c *content) place() *shm.Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.store
	if c.block != nil || s.arena == nil || c.origin != nil || c.size <= 0 {
		return c.block
	}
	if c.bytes == nil && c.source == nil {
		return nil
	}
	if c.source != nil {
		if n, ok := c.source.Size(); !ok || n != c.size {
			return nil // its end is not known yet
		}
	}
	b, err := s.arena.Alloc(int(c.size))
	if err != nil {
		return nil
	}
	if c.bytes != nil {
		copy(b.Bytes(), c.bytes)
	} else if _, err := c.source.ReadAt(b.Bytes(), 0); err != nil && err != io.EOF {
		b.Release()
		return nil
	}
	c.block = b
	return b
}

// serveFrom returns what the ranges of the object are served from.
func (c *content) serveFrom() (transfer.Source, *transfer.Leaves) {
	c.mu.Lock()
	defer c.mu.Unlock()
	src := c.source
	if src == nil {
		src = transfer.Bytes(c.bytes)
	}
	if f, ok := src.(*transfer.DirFile); ok {
		return src, f.Leaves()
	}
	if c.leaves == nil {
		c.leaves, _ = transfer.NewLeaves(c.leaf) // fails for a leaf size that is not valid only
	}
	return src, c.leaves
}
