package largeobj

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/streams"
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

// NewSession returns the session of a connection. It must be called before the connection carries anything. The session ends
// with the connection. If the peer is on this host and offers shared memory, a goroutine sets it up, which the connection waits for.
func (s *Store) NewSession(conn *streams.Conn, peer Peer) *Session {
	ss := &Session{store: s, conn: conn, peer: peer}
	ss.mu.granted = map[Key]*grant{}
	conn.SetMemory(ss)
	conn.AtEnd(func() {
		if l := ss.link.Swap(nil); l != nil {
			l.Close()
			s.stats.links.Add(-1)
		}
		ss.end()
	})
	if conn.Dialer() && s.arena != nil {
		conn.Go(func() { // ends within the time that a handshake and then attach may take, or with the connection
			if conn.Ready(context.Background()) == nil {
				if offer := conn.PeerHello().HostOffer; len(offer) > 0 {
					ss.attach(offer)
				}
			}
		})
	}
	return ss
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

// Sharing reports whether memory is shared with the peer now.
func (s *Session) Sharing() bool { return s.link.Load() != nil }

// adopt takes a link that is ready, before the peer can use it.
func (s *Session) adopt(l *shm.Link) {
	s.link.Store(l) // there is one offer for a connection, and it can be used once
	s.store.stats.links.Add(1)
	if s.conn.Err() != nil && s.link.CompareAndSwap(l, nil) { // the session may have ended before it saw the link
		l.Close()
		s.store.stats.links.Add(-1)
		return
	}
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
