package framework

import (
	"context"
	"sync"

	"github.com/mycel-rpc/mycel/framework/internal/content"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// A Peer is the other side of a connection as a [Caller]: calls to it run on the methods that the peer serves, over the
// connections that the peer has opened.
type Peer struct {
	own         *streams.Conn // the connection that this peer was met on
	limits      int           // MaxMessageBytes of this side
	open        ClientFunc    // behind the interceptors
	intercepted int           // number of interceptors
	objects     *largeobj.Session
	content     *content.Link
	client      *Client      // that the connection belongs to; nil on a server
	health      *pool.Health // of the endpoint, on a client; nil on a server
	session     *session     // nil until the peer's hello is there; guarded by mu
	mu          sync.Mutex
	refused     string // why no call is served on the connection, "" if calls are
}

// newPeer makes the peer of a connection. wrap are the interceptors of calls to it.
func newPeer(conn *streams.Conn, d *dispatcher, wrap []ClientInterceptor) *Peer {
	p := &Peer{own: conn, limits: d.maxMessage, intercepted: len(wrap)}
	p.objects = d.objects.NewSession(conn, newObjectPeer(p, wrap))
	p.content = content.NewLink(conn, p.objects.Sharing, d.tableBytes)
	p.SetCompression(CompressAdaptive)
	if d.uncompressed.Load() {
		p.SetCompression(CompressOff)
	}
	p.open = chain(func(ctx context.Context, info *CallInfo) (Stream, error) { return openCall(ctx, info, p) }, wrap)
	return p
}

// peerOf returns the peer of a connection of ours.
func peerOf(conn *streams.Conn) *Peer { return conn.Owner().(*Peer) }

func chain(open ClientFunc, wrap []ClientInterceptor) ClientFunc {
	for i := len(wrap) - 1; i >= 0; i-- {
		open = wrap[i](open)
	}
	return open
}

// Open implements [Caller].
func (p *Peer) Open(ctx context.Context, info *CallInfo) (Stream, error) { return p.open(ctx, info) }

// Address returns the network address of the peer.
func (p *Peer) Address() string { return p.own.RemoteAddr().String() }

// Done is closed when the connection on which the peer was met has ended.
func (p *Peer) Done() <-chan struct{} { return p.own.Done() }

// SetCompression changes at run time whether the messages that are sent to the peer over this connection are made smaller.
func (p *Peer) SetCompression(c Compression) {
	p.content.Switch(c != CompressOff && p.own.RemoteAddr().Network() != "pipe")
}

func (p *Peer) limit() int { return p.limits }

func (p *Peer) plain() bool { return p.intercepted == 0 }

func (p *Peer) retries() *retrier { return nil }

// conn returns a connection of the peer for a call of the class: one of the right role if the peer has it open, any other
// one else, for only the side that dialed can open more.
func (p *Peer) conn(_ context.Context, info *CallInfo, _ []*pool.Health) (*streams.Conn, error) {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s == nil {
		return p.own, nil
	}
	role := wire.RoleMain
	if info.Class == ClassBulk {
		role = wire.RoleBulk
	}
	if c := s.pick(role); c != nil {
		return c, nil
	}
	return p.own, nil
}

func (p *Peer) join(s *session) {
	p.mu.Lock()
	p.session = s
	p.mu.Unlock()
}

// A session is the set of connections that one client has open to a server.
type session struct {
	name  [16]byte
	mu    sync.Mutex
	conns []*streams.Conn
}

// pick returns the least loaded connection of the role that takes calls, of any role if there is none of it, or nil.
func (s *session) pick(role wire.Role) *streams.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *streams.Conn
	for _, c := range s.conns {
		if c.Draining() {
			continue
		}
		if best == nil || c.Role() == role && best.Role() != role ||
			(c.Role() == role) == (best.Role() == role) && c.Outstanding() < best.Outstanding() {
			best = c
		}
	}
	return best
}

// sessions are the sessions of a server by the name that the first connection of each was given.
type sessions struct {
	mu     sync.Mutex
	byName map[[16]byte]*session
}

// join adds a connection to the session that its hello names, or to a new one under its own name.
func (s *sessions) join(conn *streams.Conn) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := conn.PeerHello().Session
	found := s.byName[name]
	if found == nil {
		found = &session{name: conn.Session()}
		s.byName[found.name] = found
	}
	found.mu.Lock()
	found.conns = append(found.conns, conn)
	found.mu.Unlock()
	return found
}

// leave removes a connection, and its session when it was the last.
func (s *sessions) leave(from *session, conn *streams.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from.mu.Lock()
	defer from.mu.Unlock()
	for i, c := range from.conns {
		if c == conn {
			from.conns = append(from.conns[:i:i], from.conns[i+1:]...)
			break
		}
	}
	if len(from.conns) == 0 {
		delete(s.byName, from.name)
	}
}
