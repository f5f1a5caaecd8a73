package largeobj

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// export appends the wire form of a reference to the content: with a handle if the peer can read it where it is, with the
// right to fetch it otherwise.
func (s *Session) export(dst []byte, c *content) ([]byte, sentRef, error) {
	sent := sentRef{key: c.key}
	if c.store != s.store {
		return dst, sent, ErrOtherStore
	}
	head := len(dst)
	dst = append(dst, refVersion)
	dst = append(append(dst, c.id[:]...), c.key[:]...)
	dst = binary.AppendUvarint(dst, uint64(c.known()+1))
	dst = append(dst, byte(bits.TrailingZeros64(uint64(c.leaf))))
	if h, ok := s.lease(c); ok {
		dst[head] |= flagHandle
		s.store.stats.sharedOut.Add(1)
		sent.handle, sent.shared = h, true
		return shm.AppendHandle(dst, h), sent, nil
	}
	return dst, sent, s.grant(c)
}

// undo takes back a reference that the peer has not seen.
func (s *Session) undo(r sentRef) {
	if !r.shared {
		s.Released(&ReleaseRequest{Keys: []Key{r.key}})
	} else if l := s.link.Load(); l != nil {
		l.Cancel(r.handle)
	}
}

// maxMapWait bounds the wait for the peer to map a segment that it has not seen, which takes it less than a millisecond.
const maxMapWait = 200 * time.Millisecond

// lease lends the memory of the content to the peer.
func (s *Session) lease(c *content) (shm.Handle, bool) {
	l := s.link.Load()
	if l == nil {
		return shm.Handle{}, false
	}
	b := c.place()
	if b == nil {
		return shm.Handle{}, false
	}
	return lend(l, b, len(b.Bytes()), true)
}

// lend grants a lease on the first n bytes of a block. wait says that it is worth waiting for the peer to map the memory.
func lend(l *shm.Link, b *shm.Block, n int, wait bool) (shm.Handle, bool) {
	if h, ok := l.TryLease(b, 0, n); ok || !wait {
		return h, ok
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxMapWait)
	defer cancel()
	h, err := l.Lease(ctx, b, 0, n)
	return h, err == nil
}

// grant holds the content for the peer.
func (s *Session) grant(c *content) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended {
		return s.conn.Err()
	}
	if s.mu.count >= s.store.cfg.MaxLeases {
		return &LimitError{Knob: "MaxLeases", Limit: int64(s.store.cfg.MaxLeases), Got: int64(s.mu.count + 1)}
	}
	g := s.mu.granted[c.key]
	if g == nil {
		g = &grant{c: c}
		s.mu.granted[c.key] = g
	}
	g.n++
	s.mu.count++
	s.store.hold(c)
	return nil
}

// Released takes back what the peer no longer needs. Keys that it was not sent are ignored.
func (s *Session) Released(q *ReleaseRequest) {
	for _, k := range q.Keys {
		s.mu.Lock()
		g := s.mu.granted[k]
		if g != nil {
			s.mu.count--
			if g.n--; g.n == 0 {
				delete(s.mu.granted, k)
			}
		}
		s.mu.Unlock()
		if g != nil {
			s.store.unhold(g.c)
		}
	}
}

// giveBack tells the peer that one reference of its object is no longer needed here, together with those that come
// meanwhile.
func (s *Session) giveBack(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.ended {
		return
	}
	s.mu.returned = append(s.mu.returned, k)
	if !s.mu.flushing {
		s.mu.flushing = s.conn.Go(s.flushReturned)
	}
}

// maxReleaseKeys bounds one release.
const maxReleaseKeys = 512

func (s *Session) flushReturned() {
	for {
		s.mu.Lock()
		keys := s.mu.returned
		s.mu.returned = nil
		s.mu.flushing = len(keys) > 0
		s.mu.Unlock()
		if len(keys) == 0 {
			return
		}
		for len(keys) > 0 {
			n := min(len(keys), maxReleaseKeys)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := s.peer.Release(ctx, &ReleaseRequest{Keys: keys[:n]})
			cancel()
			if err != nil {
				s.store.cfg.Logger.Debug("giving objects back failed: the peer keeps them until the connection ends", zap.Error(err))
			}
			keys = keys[n:]
		}
	}
}

// importRef returns the content that the wire form of a reference stands for, held once for the caller.
func (s *Session) importRef(b []byte) (*content, error) {
	if len(b) < refHeadBytes+2 || len(b) > maxRefBytes || b[0]&0x0f != refVersion || b[0]&^(0x0f|flagHandle) != 0 {
		return nil, errors.New("largeobj: malformed reference")
	}
	id, key := ID(b[1:17]), Key(b[17:33])
	plus, n := binary.Uvarint(b[refHeadBytes:])
	rest := b[refHeadBytes:]
	if n <= 0 || len(rest) < n+1 || plus > 1<<62 || rest[n] > 40 {
		return nil, errors.New("largeobj: malformed reference")
	}
	size, leaf, handle := int64(plus)-1, int64(1)<<rest[n], rest[n+1:]
	if leaf < transfer.MinLeafBytes || leaf > transfer.MaxLeafBytes || (len(handle) > 0) != (b[0]&flagHandle != 0) {
		return nil, errors.New("largeobj: malformed reference")
	}
	if known := s.store.lookup(key); known != nil { // one of ours, or received before
		s.returnDuplicate(handle, key)
		return known, nil
	}
	c := newContent(s.store, size)
	c.id, c.key, c.leaf = id, key, leaf
	if len(handle) > 0 {
		le, err := s.openHandle(handle)
		if err != nil {
			return nil, fmt.Errorf("largeobj: reference: %w", err)
		}
		if int64(len(le.Bytes())) != size {
			le.Release()
			return nil, fmt.Errorf("largeobj: reference to %d bytes with a handle of %d", size, len(le.Bytes()))
		}
		c.lease, c.bytes = le, le.Bytes()
		s.store.stats.sharedIn.Add(1)
	} else {
		c.origin = s
	}
	if err := s.store.add(c); err != nil {
		c.free()
		return nil, err
	}
	return c, nil
}

// returnDuplicate gives back the second reference to a content that is here.
func (s *Session) returnDuplicate(handle []byte, k Key) {
	if len(handle) == 0 {
		s.giveBack(k)
		return
	}
	if le, err := s.openHandle(handle); err == nil {
		le.Release()
	}
}
