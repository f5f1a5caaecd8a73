package pool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Pool keeps the connections to one target. The package documentation says how it behaves.
type Pool[C Conn] struct {
	target   string
	cfg      Config[C]
	log      *zap.Logger
	resolver Resolver      // nil when the endpoints are fixed
	failure  chan struct{} // capacity 1; sent to when an endpoint fails
	used     atomic.Bool   // a connection was asked for since this was last looked at

	// life is the context of dials and resolutions, which belong to the pool and not to a caller. It ends with Close.
	life       context.Context
	end        context.CancelFunc
	goroutines sync.WaitGroup // started under mu, while closed is false

	roles [numRoles]roleSet[C]

	mu struct {
		sync.Mutex
		closed    bool          // nothing is started any more
		slots     []*slot       // endpoints to dial, in order of preference
		resolving bool          // the resolver is followed
		resolve   attempt       // of the resolver
		changed   chan struct{} // closed and replaced when waiting Gets have to look again
	}
}

// roleSet holds the connections of one role.
type roleSet[C Conn] struct {
	ready atomic.Pointer[[]*entry[C]] // the slice is never changed; a new one is stored under Pool.mu
	full  atomic.Bool                 // a hint: no endpoint may get another connection now
}

// entry is a connection that was established and has not been seen to end.
type entry[C Conn] struct {
	conn  C
	role  Role
	slot  *slot
	since time.Time
}

// New returns a pool for target; the package documentation lists the forms. It does not dial and does not resolve.
// Errors: a target that is not one of the forms, a configuration out of its legal range.
func New[C Conn](target string, cfg Config[C]) (*Pool[C], error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool[C]{target: target, cfg: cfg, log: cfg.Logger, resolver: cfg.Resolver, failure: make(chan struct{}, 1)}
	p.mu.changed = make(chan struct{})
	if p.resolver == nil {
		if p.resolver, err = parseTarget(target); err != nil {
			return nil, err
		}
	}
	if fixed, ok := p.resolver.(staticResolver); ok { // known already, and never changes
		p.resolver = nil
		p.setEndpointsLocked(fixed)
	}
	p.life, p.end = context.WithCancel(context.Background()) // the pool is a root: Close ends it
	return p, nil
}

// Target returns the target that the pool was made for.
func (p *Pool[C]) Target() string { return p.target }

// Get returns the connection of the role with the least load, dialing when there is none. The
// connection belongs to the pool; it may end at any time, also before the caller has used it.
//
// Errors: *[DialError] when the target cannot be reached now; [ErrClosed] after Close; the cause of ctx when it ends
// while Get waits for a handshake, which goes on without it.
func (p *Pool[C]) Get(ctx context.Context, role Role) (C, error) {
	if !p.used.Load() {
		p.used.Store(true)
	}
	e, load := p.roles[role].pick()
	if e == nil {
		return p.wait(ctx, role)
	}
	if load >= p.cfg.GrowAt && role == Main && !p.roles[role].full.Load() {
		p.grow(role)
	}
	return e.conn, nil
}

// Grow asks for another connection of the role, which is opened in the background unless all endpoints have as many as they
// may. It does not block. Main connections grow by themselves.
func (p *Pool[C]) Grow(role Role) {
	if !p.roles[role].full.Load() {
		p.grow(role)
	}
}

// Conns returns the connections of the role that have not ended, draining ones included. The slice is a copy.
func (p *Pool[C]) Conns(role Role) []C {
	list := p.roles[role].list()
	conns := make([]C, len(list))
	for i, e := range list {
		conns[i] = e.conn
	}
	return conns
}

// Close gives up what is being dialed, closes all connections, and returns when every goroutine of the pool has
// ended. It is idempotent, and every call waits.
func (p *Pool[C]) Close() {
	p.mu.Lock()
	p.mu.closed = true
	for role := range Role(numRoles) {
		p.publishLocked(role, nil)
	}
	p.mu.Unlock()
	p.end() // every goroutine watches it
	p.goroutines.Wait()
}

func (r *roleSet[C]) list() []*entry[C] {
	if l := r.ready.Load(); l != nil {
		return *l
	}
	return nil
}

// maxScan bounds how many connections are compared for a call, so that its cost does not grow with the target.
const maxScan = 8

// pick returns the usable connection with the least load, and that load; nil when there is none.
// It begins at a random one, so that equals take turns and, of many, each is compared as often.
func (r *roleSet[C]) pick() (best *entry[C], least int) {
	list := r.list()
	n := len(list)
	at := 0
	if n > 1 {
		at = rand.IntN(n)
	}
	for i := 0; i < n && (i < maxScan || best == nil); i++ {
		e := list[at]
		if at++; at == n {
			at = 0
		}
		if e.conn.Draining() {
			continue
		}
		if load := e.conn.Load(); best == nil || load < least {
			best, least = e, load
		}
	}
	return best, least
}

// wait gets a connection when none is ready.
func (p *Pool[C]) wait(ctx context.Context, role Role) (C, error) {
	var none C
	for {
		p.mu.Lock()
		if e, _ := p.roles[role].pick(); e != nil { // set under mu: nothing is missed between here and changed
			p.mu.Unlock()
			return e.conn, nil
		}
		if err := context.Cause(ctx); err != nil {
			p.mu.Unlock()
			return none, fmt.Errorf("pool: connection to %s: %w", p.target, err)
		}
		err := p.ensureLocked(role, time.Now())
		changed := p.mu.changed
		p.mu.Unlock()
		if err != nil {
			return none, err
		}
		timer := time.NewTimer(tryNextAfter)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (p *Pool[C]) wakeLocked() {
	close(p.mu.changed)
	p.mu.changed = make(chan struct{})
}
