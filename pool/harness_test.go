package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConn is a connection that does nothing.
type testConn struct {
	address     string
	role        Role
	outstanding atomic.Int64
	draining    atomic.Bool
	silent      atomic.Bool
	others      atomic.Int64 // load that the peer tells
	looks       atomic.Int64 // how often somebody wanted to know that
	retired     atomic.Bool
	away        chan struct{} // closed when the peer has said goaway
	awayOnce    sync.Once
	health      *Health
	ended       atomic.Bool
	once        sync.Once
	done        chan struct{}
	err         error
}

func newTestConn(address string, role Role) *testConn {
	return &testConn{address: address, role: role, done: make(chan struct{}), away: make(chan struct{})}
}

func (c *testConn) Load() int             { return int(c.outstanding.Load()) }
func (c *testConn) Done() <-chan struct{} { return c.done }
func (c *testConn) Err() error            { <-c.done; return c.err }
func (c *testConn) Close()                { c.fail(errors.New("closed by the pool")) }
func (c *testConn) Draining() bool        { return c.draining.Load() || c.ended.Load() || c.retired.Load() }
func (c *testConn) Silent() bool          { return c.silent.Load() }
func (c *testConn) RTT() time.Duration    { return time.Millisecond }

func (c *testConn) GoneAway() <-chan struct{} { return c.away }

func (c *testConn) PeerLoad() (int, time.Time) {
	c.looks.Add(1)
	if n := int(c.others.Load()); n >= 0 {
		return n, time.Now()
	}
	return 0, time.Time{} // long ago
}

func (c *testConn) Retire(ctx context.Context) {
	c.retired.Store(true)
	for c.Load() > 0 && ctx.Err() == nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	c.fail(errors.New("retired"))
}

// leave makes the peer say goaway.
func (c *testConn) leave() {
	c.draining.Store(true)
	c.awayOnce.Do(func() { close(c.away) })
}

func (c *testConn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		c.ended.Store(true)
		close(c.done)
	})
}

// network is what a test dials. Times are those of the bubble.
type network struct {
	t  *testing.T
	mu struct {
		sync.Mutex
		latency map[string]time.Duration // by address; forever means that the peer never answers
		down    map[string]error
		dials   []string // addresses in the order they were dialed
		conns   []*testConn
		active  map[string]int // handshakes running, by role and address
	}
}

const forever = time.Duration(-1)

var errRefused = errors.New("refused")

func newNetwork(t *testing.T) *network {
	n := &network{t: t}
	n.mu.latency = map[string]time.Duration{}
	n.mu.down = map[string]error{}
	n.mu.active = map[string]int{}
	return n
}

func (n *network) dial(ctx context.Context, to Endpoint, role Role, health *Health) (*testConn, error) {
	key := role.String() + to.Address
	n.mu.Lock()
	latency, err := n.mu.latency[to.Address], n.mu.down[to.Address]
	n.mu.dials = append(n.mu.dials, to.Address)
	if n.mu.active[key]++; n.mu.active[key] > 1 {
		n.t.Errorf("two handshakes at once with %s", key)
	}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.mu.active[key]--
		n.mu.Unlock()
	}()
	if latency == forever {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	c := newTestConn(to.Address, role)
	c.health = health
	n.mu.Lock()
	n.mu.conns = append(n.mu.conns, c)
	n.mu.Unlock()
	return c, nil
}

func (n *network) setDown(address string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.down[address] = err
}

func (n *network) setLatency(address string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.latency[address] = d
}

func (n *network) wantDials(want ...string) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Equal(n.mu.dials, want) {
		n.t.Errorf("dialed %q, want %q", n.mu.dials, want)
	}
}

// inBubble runs f with a network and a function that makes pools, and checks afterwards that closing the pools
// closed every connection and left nothing running.
func inBubble(t *testing.T, f func(t *testing.T, n *network, open func(target string, cfg Config[*testConn]) *Pool[*testConn])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		var pools []*Pool[*testConn]
		f(t, n, func(target string, cfg Config[*testConn]) *Pool[*testConn] {
			t.Helper()
			cfg.Dial = n.dial
			p, err := New(target, cfg)
			if err != nil {
				t.Fatal(err)
			}
			pools = append(pools, p)
			return p
		})
		for _, p := range pools {
			p.Close()
			p.Close()
			if _, err := p.Get(t.Context(), Main, Pick{}); !errors.Is(err, ErrClosed) {
				t.Errorf("Get after Close: %v", err)
			}
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, c := range n.mu.conns {
			select {
			case <-c.done:
			default:
				t.Errorf("a connection to %s is open after Close", c.address)
			}
		}
	})
}

func get(t *testing.T, p *Pool[*testConn], role Role) *testConn {
	t.Helper()
	c, err := p.Get(t.Context(), role, Pick{})
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return c
}

func wantDialError(t *testing.T, err error) *DialError {
	t.Helper()
	var de *DialError
	if !errors.As(err, &de) {
		t.Fatalf("got error %v, want a DialError", err)
	}
	return de
}
