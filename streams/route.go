package streams

import (
	"net"
	"sync"
	"time"
)

// A route is the way to a host. All connections to it have one window for what they read from streams of class bulk, because they
// share the bottleneck.
type route struct {
	key  string
	uses int // belongs to routes

	mu struct {
		sync.Mutex
		window window
		meters map[*creditMeter]struct{} // of the streams that are read
		active int                       // those of which something was read lately
	}
}

const (
	// activeTrips is for how many round trips a stream has a share after something was read from it.
	activeTrips = 4
	// partWeight is that of the last interval in the average of what a stream has of the goodput.
	partWeight = 0.3
	// partFactor is how much more than what it has a stream is granted, so that it can have more.
	partFactor = 1.1
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

// share returns how much a stream may have in flight, after n more bytes were read from it: as much as every other, or by what it
// had of the goodput lately if that is more. Where congestion control bounds some streams more than others, these do not use
// their part, and the others need it.
func (r *route) share(m *creditMeter, n int, rtt time.Duration, floor int) int {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	first := m.lastRead.IsZero()
	m.lastRead = now
	m.arrived += n
	if ended := r.mu.window.add(now, n, rtt, floor); ended || first {
		r.countLocked(now, rtt, ended)
	}
	granted := float64(r.mu.window.granted)
	return int(max(granted/float64(max(r.mu.active, 1)), min(partFactor*m.part, 1)*granted, minShare))
}

// countLocked counts the active streams, and at the end of an interval what each has of the goodput.
func (r *route) countLocked(now time.Time, rtt time.Duration, ended bool) {
	r.mu.active = 0
	sum := 0
	for m := range r.mu.meters {
		if now.Sub(m.lastRead) < activeTrips*max(rtt, minInterval) {
			r.mu.active++
		}
		sum += m.arrived
	}
	if !ended || sum == 0 {
		return
	}
	for m := range r.mu.meters {
		m.part += partWeight * (float64(m.arrived)/float64(sum) - m.part)
		m.arrived = 0
	}
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
}
