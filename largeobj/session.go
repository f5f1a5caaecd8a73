package largeobj

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// A Peer makes the calls that objects need to the other side of a connection; package framework implements it.
type Peer interface {
	// Fetch starts a fetch from the peer.
	Fetch(ctx context.Context, q *FetchRequest) (Chunks, error)
	// Release tells the peer that objects are no longer needed here.
	Release(ctx context.Context, q *ReleaseRequest) error
}

// FetchRequest asks for ranges of an object.
type FetchRequest struct {
	Key    Key              `cbor:"key"`
	Ranges []transfer.Range `cbor:"ranges"`
}

// ReleaseRequest says which objects the sender no longer needs. A key may repeat: each reference counts.
type ReleaseRequest struct {
	Keys []Key `cbor:"keys"`
}

// Chunk is a piece of an object; Chunks is a running fetch.
type (
	Chunk  = transfer.Chunk
	Chunks = transfer.Chunks
)

// A Session is what a connection means to the objects of a store: the memory it shares with the peer, and what the peer
// has been sent. It is safe for concurrent use.
type Session struct {
	store *Store
	conn  *streams.Conn
	peer  Peer
	link  atomic.Pointer[shm.Link] // nil while no memory is shared

	mu struct {
		sync.Mutex
		ended    bool
		granted  map[Key]*grant // what the peer may fetch and has not given back
		count    int            // of them, each as often as it was sent
		returned []Key          // what this side gives back with the next release
		flushing bool
	}
}

type grant struct {
	c *content
	n int
}

// NewSession returns the session of a connection. It must be called before the connection carries anything, and
// [Session.Run] once it does.
func (s *Store) NewSession(conn *streams.Conn, peer Peer) *Session {
	ss := &Session{store: s, conn: conn, peer: peer}
	ss.mu.granted = map[Key]*grant{}
	conn.SetMemory(ss)
	return ss
}

// Run sets up shared memory if the peer is on this host and offers it, and returns when the connection has ended. Call
// it with [streams.Conn.Go].
func (s *Session) Run() {
	if s.conn.Dialer() && s.store.arena != nil && s.conn.Ready(context.Background()) == nil {
		if offer := s.conn.PeerHello().HostOffer; len(offer) > 0 {
			s.attach(offer)
		}
	}
	<-s.conn.Done()
	if l := s.link.Swap(nil); l != nil {
		l.Close()
		s.store.stats.links.Add(-1)
	}
	s.end()
}

// attach shares memory with the acceptor.
func (s *Session) attach(offer []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conf := s.store.linkConfig()
	conf.Ready = s.adopt
	_, err := shm.Dial(ctx, offer, s.conn, s.store.arena, conf)
	if err != nil && s.conn.Err() == nil {
		s.store.cfg.Logger.Info("no shared memory with the peer: objects travel as streams", zap.Stringer("peer", s.conn.RemoteAddr()), zap.Error(err))
	}
}

// adopt takes a link that is ready, before the peer can use it.
func (s *Session) adopt(l *shm.Link) {
	s.link.Store(l) // there is one offer for a connection, and it can be used once
	s.store.stats.links.Add(1)
	s.store.cfg.Logger.Debug("sharing memory with the peer", zap.Stringer("peer", s.conn.RemoteAddr()))
	// A link that ends takes nothing with it but speed: what it carries is copied or held by leases.
}

func (s *Store) linkConfig() shm.LinkConfig {
	return shm.LinkConfig{MaxLeases: s.cfg.MaxLeases, Dir: s.cfg.SocketDir}
}

// end keeps what the peer has been sent for a while: it may come back for it on another connection.
func (s *Session) end() {
	s.mu.Lock()
	granted := s.mu.granted
	s.mu.granted, s.mu.ended = nil, true
	s.mu.Unlock()
	if len(granted) == 0 {
		return
	}
	time.AfterFunc(s.store.cfg.ResumeWindow, func() {
		for _, g := range granted {
			for range g.n {
				s.store.unhold(g.c)
			}
		}
	})
}

// A payload handle is the length of the headers, 4 bytes little-endian, and a handle of shared memory.
const payloadHandleBytes = 4 + shm.HandleBytes

// NewBuffer implements [streams.Memory].
func (s *Session) NewBuffer(n int) *wire.Buffer {
	if s.link.Load() == nil {
		return nil
	}
	b, err := s.store.arena.Alloc(n)
	if err != nil {
		return nil
	}
	return wire.NewHomedBuffer(b.Bytes(), b)
}

// Put implements [streams.Memory].
func (s *Session) Put(dst []byte, payload *wire.Buffer) ([]byte, bool) {
	l := s.link.Load()
	if l == nil {
		return dst, false
	}
	p := payload.B
	b, in := payload.Home().(*shm.Block)
	if !in || &b.Bytes()[0] != &p[0] { // or it has grown out of the block
		var err error
		if b, err = s.store.arena.Alloc(len(p)); err != nil {
			return dst, false
		}
		defer b.Release() // the lease holds it
		copy(b.Bytes(), p)
	}
	h, ok := l.TryLease(b, 0, len(p))
	if !ok {
		return dst, false
	}
	s.store.stats.sharedOut.Add(1)
	return shm.AppendHandle(binary.LittleEndian.AppendUint32(dst, uint32(payload.Body)), h), true
}

// Drop implements [streams.Memory].
func (s *Session) Drop(handle []byte) {
	if l := s.link.Load(); l != nil {
		if h, _, err := shm.ParseHandle(handle[4:]); err == nil {
			l.Cancel(h)
		}
	}
}

var errNotShared = errors.New("no memory is shared")

// Take implements [streams.Memory].
func (s *Session) Take(handle []byte, limit int) (*wire.Buffer, error) {
	if len(handle) != payloadHandleBytes {
		return nil, shm.ErrHandle
	}
	le, err := s.openHandle(handle[4:])
	if err != nil {
		return nil, err
	}
	p, head := le.Bytes(), binary.LittleEndian.Uint32(handle)
	if len(p) > limit || head > wire.MaxHeaderBytes {
		le.Release()
		return nil, &wire.LimitError{What: "payload in shared memory", Limit: uint64(limit), Got: uint64(len(p)), Knob: "MaxMessageBytes"}
	}
	if int64(head) > int64(len(p)) {
		le.Release()
		return nil, fmt.Errorf("headers of %d bytes in a payload of %d", head, len(p))
	}
	s.store.stats.sharedIn.Add(1)
	b := wire.CopyBuffer(p[:head])
	b.SetBody(p[head:], le)
	return b, nil
}

func (s *Session) openHandle(handle []byte) (*shm.Lease, error) {
	l := s.link.Load()
	if l == nil {
		return nil, errNotShared
	}
	h, n, err := shm.ParseHandle(handle)
	if err != nil {
		return nil, err
	}
	if n != len(handle) {
		return nil, shm.ErrHandle
	}
	return l.Open(h)
}

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

// maxMapWait bounds the wait for the peer to map a segment that it has not seen.
const maxMapWait = 500 * time.Millisecond

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
	if h, ok := l.TryLease(b, 0, len(b.Bytes())); ok {
		return h, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxMapWait)
	defer cancel()
	h, err := l.Lease(ctx, b, 0, len(b.Bytes()))
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

// Serve sends the ranges of an object that somebody asks for, until ctx ends. Whoever knows the key may fetch.
// It fails with [ErrUnknown] when nobody holds the object here.
func (s *Store) Serve(ctx context.Context, q *FetchRequest, send func(*Chunk) error) error {
	c := s.lookup(q.Key)
	if c == nil {
		return ErrUnknown
	}
	defer s.unhold(c)
	if err := c.fetch(ctx, nil); err != nil { // passed on from a third peer
		return err
	}
	src, leaves := c.serveFrom()
	s.stats.streamedOut.Add(1)
	return transfer.Serve(ctx, src, leaves, q.Ranges, func(ch *Chunk) error {
		s.stats.bytesOut.Add(int64(len(ch.Data)))
		return send(ch)
	})
}

// fetcher fetches an object of the peer.
func (s *Session) fetcher(k Key) transfer.Fetcher { return peerFetcher{s, k} }

type peerFetcher struct {
	s *Session
	k Key
}

func (f peerFetcher) Fetch(ctx context.Context, ranges []transfer.Range) (transfer.Chunks, error) {
	return f.s.peer.Fetch(ctx, &FetchRequest{Key: f.k, Ranges: ranges})
}
