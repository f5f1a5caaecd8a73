package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Role is what a connection is for.
type Role uint8

const (
	Main Role = iota // calls
	Bulk             // large transfers, which must not hold up calls
	roles
)

// A Conn is what a pool needs to know of a connection.
type Conn interface {
	comparable
	Load() int             // calls in progress, large ones counting for several
	Draining() bool        // no new calls can start
	Done() <-chan struct{} // closed when the connection has ended
	Close()                // ends it and waits
}

// Config configures a [Pool].
type Config[C Conn] struct {
	// Dial connects to an endpoint. It is required, and must end with its context.
	Dial func(context.Context, Endpoint, Role) (C, error)

	// Resolver finds the endpoints; nil means that of the target.
	Resolver Resolver

	// MaxMain is how many main connections are opened under load. 0 means 4; 1 to 4.
	MaxMain int

	// GrowAt is the load of each main connection from which another one is opened. 0 means 128.
	GrowAt int

	// DialTimeout bounds one attempt to connect to one endpoint. 0 means 10 s.
	DialTimeout time.Duration

	// Backoff says how long an endpoint that could not be reached is left alone.
	Backoff Backoff
}

const (
	maxMain            = 4
	defaultGrowAt      = 128
	defaultDialTimeout = 10 * time.Second
)

// ErrClosed is returned by a pool that has been closed.
var ErrClosed = errors.New("pool: closed")

// A DialError says that no endpoint of the target could be reached.
type DialError struct {
	Endpoint Endpoint      // that was tried last
	Attempts int           // failures in a row
	RetryIn  time.Duration // until when the pool does not try again
	Err      error
}

func (e *DialError) Error() string {
	return fmt.Sprintf("pool: connecting to %s failed %d times, next try in %v: %v", e.Endpoint.Address, e.Attempts, e.RetryIn.Round(time.Millisecond), e.Err)
}

func (e *DialError) Unwrap() error { return e.Err }

// A Pool keeps the connections to one target.
type Pool[C Conn] struct {
	cfg Config[C]
	ctx context.Context // of dials; ends with the pool
	end context.CancelFunc
	wg  sync.WaitGroup // dials, and one watcher for each connection

	ready [roles]atomic.Pointer[[]C] // immutable slices, replaced under mu

	mu struct {
		sync.Mutex
		closed   bool
		dials    [roles]*dial[C] // under way; nil if none
		failures map[Endpoint]*failure
		next     int // where in the list of endpoints the next dial begins
	}
}

// A dial is one attempt to get a connection, over all endpoints.
type dial[C Conn] struct {
	done chan struct{} // closed when conn and err are set
	conn C
	err  error
}

// New returns a pool for the target. It does not dial. It fails if the target or the configuration is out of range.
func New[C Conn](target string, cfg Config[C]) (*Pool[C], error) {
	if cfg.Dial == nil {
		return nil, errors.New("pool: Dial is required")
	}
	if cfg.Resolver == nil {
		r, err := NewResolver(target)
		if err != nil {
			return nil, err
		}
		cfg.Resolver = r
	}
	if cfg.MaxMain == 0 {
		cfg.MaxMain = maxMain
	}
	if cfg.GrowAt == 0 {
		cfg.GrowAt = defaultGrowAt
	}
	if cfg.DialTimeout == 0 {
		cfg.DialTimeout = defaultDialTimeout
	}
	if cfg.MaxMain < 1 || cfg.MaxMain > maxMain || cfg.GrowAt < 1 || cfg.DialTimeout < 0 {
		return nil, fmt.Errorf("pool: MaxMain is %d (1 to %d), GrowAt %d (from 1), DialTimeout %v (positive)", cfg.MaxMain, maxMain, cfg.GrowAt, cfg.DialTimeout)
	}
	if err := cfg.Backoff.setDefaults(); err != nil {
		return nil, err
	}
	p := &Pool[C]{cfg: cfg}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.mu.failures = map[Endpoint]*failure{}
	for i := range p.ready {
		p.ready[i].Store(new([]C))
	}
	return p, nil
}

// Get returns the connection of the role with the least load, or dials when there is none. The result stays
// the pool's.
//
// Errors: a *[DialError] when no endpoint can be reached, also without trying while all of them are left alone; the cause of
// ctx when that ends first, while the dial goes on for others; [ErrClosed].
func (p *Pool[C]) Get(ctx context.Context, role Role) (C, error) {
	conns := *p.ready[role].Load()
	if best := leastLoaded(conns); best >= 0 {
		c := conns[best]
		if role == Main && len(conns) < p.cfg.MaxMain && c.Load() >= p.cfg.GrowAt {
			p.grow(role)
		}
		return c, nil
	}
	d, err := p.dial(role)
	var none C
	if err != nil {
		return none, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// leastLoaded returns the index of the connection with the least load that takes more, -1 if none does.
func leastLoaded[C Conn](conns []C) int {
	best, least := -1, 0
	for i, c := range conns {
		if n := c.Load(); (best < 0 || n < least) && !c.Draining() {
			best, least = i, n
		}
	}
	return best
}

// dial returns the dial for the role that is under way, starting one if there is none.
func (p *Pool[C]) dial(role Role) (*dial[C], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dialLocked(role)
}

// grow starts a dial unless one is under way. Nobody waits for it.
func (p *Pool[C]) grow(role Role) {
	if !p.mu.TryLock() {
		return // somebody is busy with it
	}
	defer p.mu.Unlock()
	_, _ = p.dialLocked(role) // a pool that cannot grow still has what it has
}

func (p *Pool[C]) dialLocked(role Role) (*dial[C], error) {
	if p.mu.closed {
		return nil, ErrClosed
	}
	if d := p.mu.dials[role]; d != nil {
		return d, nil
	}
	d := &dial[C]{done: make(chan struct{})}
	p.mu.dials[role] = d
	p.wg.Go(func() { p.run(role, d) }) // ends when connected or failed, soon after the pool is closed
	return d, nil
}

// run does one dial.
func (p *Pool[C]) run(role Role, d *dial[C]) {
	d.conn, d.err = p.connect(role)
	p.mu.Lock()
	p.mu.dials[role] = nil
	closed := p.mu.closed
	if d.err == nil && !closed {
		conns := *p.ready[role].Load()
		conns = append(slices.Clip(conns), d.conn)
		p.ready[role].Store(&conns)
		p.wg.Go(func() { p.watch(role, d.conn) }) // ends with the connection, which Close ends
	}
	p.mu.Unlock()
	if d.err == nil && closed {
		d.conn.Close()
		d.err = ErrClosed
	}
	close(d.done)
}

// connect tries the endpoints that are not left alone, one after the other.
func (p *Pool[C]) connect(role Role) (conn C, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.cfg.DialTimeout)
	endpoints, err := p.cfg.Resolver.Resolve(ctx)
	cancel()
	if err != nil {
		return conn, err
	}
	var failed *DialError
	for range endpoints {
		p.mu.Lock()
		e := endpoints[p.mu.next%len(endpoints)]
		p.mu.next++
		waiting := p.mu.failures[e].waiting(e)
		p.mu.Unlock()
		if waiting != nil {
			failed = waiting
			continue
		}
		ctx, cancel := context.WithTimeout(p.ctx, p.cfg.DialTimeout)
		conn, err := p.cfg.Dial(ctx, e, role)
		cancel()
		if err == nil {
			p.mu.Lock()
			delete(p.mu.failures, e)
			p.mu.Unlock()
			return conn, nil
		}
		if p.ctx.Err() != nil {
			return conn, ErrClosed
		}
		failed = p.failed(e, err)
	}
	if failed == nil {
		return conn, errors.New("pool: the target has no endpoints")
	}
	return conn, failed
}

// watch removes a connection when it has ended.
func (p *Pool[C]) watch(role Role, c C) {
	<-c.Done()
	p.mu.Lock()
	conns := slices.DeleteFunc(slices.Clone(*p.ready[role].Load()), func(other C) bool { return other == c })
	p.ready[role].Store(&conns)
	p.mu.Unlock()
	c.Close()
}

// Conns returns the connections of the role that are open.
func (p *Pool[C]) Conns(role Role) []C { return slices.Clone(*p.ready[role].Load()) }

// Close closes every connection and returns when all goroutines of the pool have ended. It is idempotent.
func (p *Pool[C]) Close() {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	p.end()
	for i := range p.ready {
		for _, c := range *p.ready[i].Load() {
			c.Close()
		}
	}
	p.wg.Wait()
}
