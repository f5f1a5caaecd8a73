package framework

import (
	"cmp"
	"slices"
	"time"

	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// ConnStats are figures of one connection at one moment.
type ConnStats struct {
	Role  string        // "main", or "bulk"
	Peer  string        // network address of the other side
	Local string        // network address of this side
	Since time.Time     // when the connection began
	Age   time.Duration // how long ago that was

	Calls    int  // started by this side and not ended
	Serving  int  // started by the peer and not ended
	Draining bool // takes no more calls
	Unproven bool // the handshake is not complete: what has come, if anything, came as early data

	// Path is what the transport knows: round-trip times, loss, congestion, how the connection came about.
	Path streams.Stats
}

func connStats(c *streams.Conn, now time.Time) ConnStats {
	role := pool.Main
	if c.Role() == wire.RoleBulk {
		role = pool.Bulk
	}
	return ConnStats{
		Role: role.String(), Peer: c.RemoteAddr().String(), Local: c.LocalAddr().String(), Since: c.Since(), Age: now.Sub(c.Since()),
		Calls: c.Outstanding(), Serving: c.Serving(), Draining: c.Draining(), Unproven: !c.IsConfirmed(),
		Path: c.Stats(),
	}
}

func statsOf(conns []*streams.Conn) []ConnStats {
	now := time.Now()
	list := make([]ConnStats, 0, len(conns))
	for _, c := range conns {
		if c.Err() == nil {
			list = append(list, connStats(c, now))
		}
	}
	slices.SortFunc(list, func(a, b ConnStats) int { return a.Since.Compare(b.Since) })
	return list
}

// ClientStats are figures of a client at one moment.
type ClientStats struct {
	Target string
	Conns  []ConnStats // open connections, the oldest first
}

// Stats returns figures of the client and its connections. It costs a few locks for each connection and may be called as
// often as once a second.
func (c *Client) Stats() ClientStats {
	var conns []*streams.Conn
	for _, role := range []pool.Role{pool.Main, pool.Bulk} {
		for _, conn := range c.conns.Conns(role) {
			conns = append(conns, conn.Conn)
		}
	}
	return ClientStats{Target: c.conns.Target(), Conns: statsOf(conns)}
}

// ServerStats are figures of a server at one moment.
type ServerStats struct {
	Addresses []string // that it listens on
	Conns     []ConnStats
}

// Stats returns figures of the server and its connections, the oldest first. It costs a few locks for each connection.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	conns := make([]*streams.Conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	var addresses []string
	for ln := range s.mu.listeners {
		addresses = append(addresses, ln.Addr().String())
	}
	s.mu.Unlock()
	slices.SortFunc(addresses, cmp.Compare[string])
	return ServerStats{Addresses: addresses, Conns: statsOf(conns)}
}

// Stats returns figures of the connection on which the peer was met.
func (p *Peer) Stats() ConnStats { return connStats(p.own, time.Now()) }
