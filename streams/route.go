package streams

import (
	"net"
	"sync"
	"time"
)

// A route is what is known of the way to a host, shared by all connections to it: what each of them puts into the queue of
// the bottleneck, all of them see. It says what the round trip is while nothing waits.
type route struct {
	key  string
	uses int // belongs to routes

	mu struct {
		sync.Mutex
		base      time.Duration // the least round trip lately; 0 while there is none
		confirmed time.Time     // when a round trip as short as base was last seen
		drain     time.Time     // until then, everybody takes little, so that the queue is empty for a moment
		least     time.Duration // of the round trips seen while it is, and a little later
	}
}

const (
	// baseLasts is how long a round trip counts as the shortest that the path has. After that everybody leaves the queue to
	// itself for a moment, and what is then measured is the new one: so a path that has become longer is learned, and a queue
	// that is always there, made by somebody else, counts as part of the path in the end.
	baseLasts = 10 * time.Second
	// baseNoise is by how much a round trip may be longer than the shortest and still confirm it.
	baseNoise = 500 * time.Microsecond
	// drainTrips is how many round trips the queue is left to itself for: one until the sender has learned that it has less
	// credit, one until that is measured.
	drainTrips = 3
)

var routes struct {
	sync.Mutex
	byHost map[string]*route
}

// takeRoute returns the route to an address. [route.release] gives it back.
func takeRoute(addr net.Addr) *route {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		host = addr.Network() + " " + addr.String()
	}
	routes.Lock()
	defer routes.Unlock()
	r := routes.byHost[host]
	if r == nil {
		r = &route{key: host}
		if routes.byHost == nil {
			routes.byHost = map[string]*route{}
		}
		routes.byHost[host] = r
	}
	r.uses++
	return r
}

func (r *route) release() {
	routes.Lock()
	defer routes.Unlock()
	if r.uses--; r.uses == 0 {
		delete(routes.byHost, r.key)
	}
}

// observe takes in a round trip that was measured while data came, and returns the base and whether the queue should be
// left to itself at the moment.
func (r *route) observe(now time.Time, rtt time.Duration) (base time.Duration, draining bool) {
	m := &r.mu
	m.Lock()
	defer m.Unlock()
	shorter := rtt < m.base-2*baseNoise // what is left of the queue may still be in it
	if m.base == 0 || rtt <= m.base+baseNoise {
		m.confirmed = now
		if m.base == 0 || rtt < m.base {
			m.base = rtt
		}
	}
	switch {
	case !m.drain.IsZero():
		m.least = min(m.least, rtt)
		if now.After(m.drain) {
			m.base, m.confirmed, m.drain = m.least, now, time.Time{}
		}
	case shorter || now.Sub(m.confirmed) >= baseLasts:
		m.drain, m.least = now.Add(drainTrips*rtt), rtt
	}
	return m.base, !m.drain.IsZero()
}
