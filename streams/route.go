package streams

import (
	"net"
	"sync"
	"time"
)

// A route is the way to a host. All connections to it have one window for what they read from streams of class bulk, because they
// share the bottleneck, and each stream that is read has the same part of it.
type route struct {
	key  string
	uses int // belongs to routes

	mu struct {
		sync.Mutex
		window window
		meters map[*creditMeter]struct{} // of the streams that are read
		active int                       // those of which something was read lately
		flying int                       // bytes that these may have in flight, together
	}
}

// activeTrips is for how many round trips a stream has a share after something was read from it.
const activeTrips = 4

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
		r.mu.window.reset()
		r.mu.meters = map[*creditMeter]struct{}{}
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

// share returns how much a stream may have in flight, after n more bytes were read from it and while it may have left more: its
// part of the window, but no more than the others have left of it. For when there are fewer streams than before, each has a larger
// part, and when there are more again, what was granted does not come back at once. Half of its part a stream has whatever the others
// hold, which may wait for something that was lost.
func (r *route) share(m *creditMeter, n, left int, rtt time.Duration, floor int) int {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	first := m.lastRead.IsZero()
	m.lastRead = now
	if r.mu.window.add(now, n, rtt, floor) || first {
		r.mu.active, r.mu.flying = 0, 0
		for m := range r.mu.meters {
			if now.Sub(m.lastRead) < activeTrips*max(rtt, minInterval) {
				r.mu.active++
				r.mu.flying += m.flying
			} else {
				m.flying = 0
			}
		}
	}
	others := r.mu.flying - m.flying
	fair := r.mu.window.granted / max(r.mu.active, 1)
	share := max(min(fair, r.mu.window.granted-others), fair/2, minShare)
	m.flying = max(share, left)
	r.mu.flying = others + m.flying
	return share
}

func (r *route) enter(m *creditMeter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.meters[m] = struct{}{}
}

func (r *route) leave(m *creditMeter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.mu.meters, m)
	r.mu.flying -= m.flying
}
