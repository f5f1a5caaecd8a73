package pool

import (
	"context"
	"errors"
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
	seed     uint64        // chooses which of very many endpoints this pool uses

	// life is the context of dials and resolutions, which belong to the pool and not to a caller. It ends with Close.
	life       context.Context
	end        context.CancelFunc
	goroutines sync.WaitGroup // started under mu, while closed is false

	tables [numRoles]atomic.Pointer[table[C]] // stored under mu
	full   [numRoles]atomic.Bool              // a hint: no connection may be opened now, so there is no use in asking
	sparse atomic.Bool                        // a hint: an endpoint in use has no bulk connection
	turn   atomic.Uint64                      // of RoundRobin
	used   atomic.Bool                        // a connection was asked for since this was last looked at

	mu struct {
		sync.Mutex
		closed    bool          // nothing is started any more
		keeping   bool          // the goroutine that keeps the connections runs
		slots     []*slot[C]    // endpoints, in order of preference
		gone      []*slot[C]    // endpoints that the resolver does not find any more, as long as they have connections
		lastUse   time.Time     // when a connection was last asked for, within a tick
		resolving bool          // the resolver is followed
		resolve   attempt       // of the resolver
		changed   chan struct{} // closed and replaced when waiting Gets have to look again
	}
	wake chan struct{} // capacity 1; sent to when there may be something to do for keep
}

// A slot is an endpoint and what is going on with it.
type slot[C Conn] struct {
	Health
	weight atomic.Int64 // of the endpoint, at least 1
	others atomic.Int64 // requests of others that the endpoint works on, smoothed
	conns  [numRoles]atomic.Pointer[[]*entry[C]]

	mu struct { // guarded by Pool.mu
		endpoint Endpoint
		hash     uint64 // of the address
		tier     int    // of priority and zone; smaller is better
		attempts [numRoles]attempt
		leaving  []*entry[C] // established, but for no new calls
		rates
		hintAt time.Time // when the peer last said its load
		err    error     // the last that a dial or a connection ended with
		state  State
		since  time.Time // of state
	}
}

// entry is a connection that was established and has not been seen to end.
type entry[C Conn] struct {
	conn   C
	role   Role
	slot   *slot[C]
	since  time.Time
	idleAt time.Time     // when it was first seen idle, zero while it is not; guarded by Pool.mu
	retire chan struct{} // closed when it is not needed any more
}

// New returns a pool for target; the package documentation lists the forms. It does not dial and does not resolve.
// Errors: a target that is not one of the forms, a configuration out of its legal range.
func New[C Conn](target string, cfg Config[C]) (*Pool[C], error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Pool[C]{
		target: target, cfg: cfg, log: cfg.Logger.With(zap.String("target", target)), resolver: cfg.Resolver, seed: rand.Uint64(),
		failure: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	p.turn.Store(rand.Uint64())
	p.mu.changed = make(chan struct{})
	if p.resolver == nil {
		if p.resolver, err = parseTarget(target); err != nil {
			return nil, err
		}
	}
	if fixed, ok := p.resolver.(staticResolver); ok { // known already, and never changes
		p.resolver = nil
		p.setEndpointsLocked(fixed, time.Now()) // nobody else has p
	}
	p.life, p.end = context.WithCancel(context.Background()) // the pool is a root: Close ends it
	return p, nil
}

// Target returns the target that the pool was made for.
func (p *Pool[C]) Target() string { return p.target }

// Get returns a connection of the role for one call, to the endpoint that by and the policy say, dialing when there is none. The
// connection belongs to the pool; it may end at any time, also before the caller has used it.
//
// Errors: *[DialError] when the target cannot be reached now, unless by says to wait; [ErrClosed] after Close; the cause of ctx
// when it ends while Get waits for a handshake, which goes on without it, or for an endpoint, together with the last *DialError.
func (p *Pool[C]) Get(ctx context.Context, role Role, by Pick) (C, error) {
	if !p.used.Load() {
		p.used.Store(true)
		p.wakeKeeper() // who may be waiting for longer than a tick
	}
	e, load := p.pick(role, &by)
	if e == nil {
		return p.wait(ctx, role, by)
	}
	if role == Main && load >= p.cfg.GrowAt && !p.full[role].Load() || role == Bulk && load > 0 && p.sparse.Load() {
		s := e.slot
		if role == Bulk {
			s = nil // to an endpoint that has none
		}
		p.grow(role, s)
	}
	return e.conn, nil
}

// Elsewhere reports whether there is a connection of the role that takes calls, to another endpoint than that of h, whose peer
// is not silent.
func (p *Pool[C]) Elsewhere(role Role, h *Health) bool {
	avoid := [1]*Health{h}
	t := p.tables[role].Load()
	if t == nil {
		return false
	}
	e, _ := t.any(role, avoid[:])
	return e != nil && &e.slot.Health != h && !e.conn.Silent()
}

// Grow asks for another connection of the role, which is opened in the background unless all endpoints have as many as they
// may. It does not block. Main connections grow by themselves.
func (p *Pool[C]) Grow(role Role) {
	if !p.full[role].Load() {
		p.grow(role, nil)
	}
}

// GrowWait is [Pool.Grow] for somebody who waits until the connection is there. It reports false when there is none: because
// all endpoints have as many as they may, because it could not be opened, or because ctx has ended.
func (p *Pool[C]) GrowWait(ctx context.Context, role Role) bool {
	before := len(p.Conns(role))
	for {
		p.Grow(role)
		p.mu.Lock()
		running, _ := p.dialingLocked(role)
		changed := p.mu.changed
		p.mu.Unlock()
		if len(p.Conns(role)) > before {
			return true
		}
		if !running {
			return false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Relieve returns true once there is a connection of the role with less load than that to the endpoint of h, and opens another one if
// there is none. It reports false when the endpoint has as many as it may, when none could be opened, or when ctx has ended.
func (p *Pool[C]) Relieve(ctx context.Context, role Role, h *Health, load int) bool {
	for ctx.Err() == nil {
		p.mu.Lock()
		changed := p.mu.changed
		found, opening := p.relieveLocked(role, h, load)
		p.mu.Unlock()
		if !opening {
			return found
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// relieveLocked reports whether there is such a connection, or else whether one is being opened.
func (p *Pool[C]) relieveLocked(role Role, h *Health, load int) (found, opening bool) {
	s := p.slotLocked(h)
	if s == nil || p.mu.closed {
		return false, false
	}
	for _, e := range s.entries(role) {
		if e.conn.Load() < load && !e.conn.Draining() {
			return true, false
		}
	}
	now, attempt := time.Now(), &s.mu.attempts[role]
	if !attempt.running && len(s.entries(role)) < p.maxConns(role) && attempt.canStart(now) {
		p.dialLocked(s, role, now)
	}
	return false, attempt.running
}

// Conns returns the connections of the role that have not ended, draining ones included. The slice is a copy.
func (p *Pool[C]) Conns(role Role) []C {
	p.mu.Lock()
	defer p.mu.Unlock()
	var conns []C
	for _, list := range [2][]*slot[C]{p.mu.slots, p.mu.gone} {
		for _, s := range list {
			for _, e := range s.entries(role) {
				conns = append(conns, e.conn)
			}
			for _, e := range s.mu.leaving {
				if e.role == role {
					conns = append(conns, e.conn)
				}
			}
		}
	}
	return conns
}

// entries returns the connections of the role that take calls, as far as is known.
func (s *slot[C]) entries(role Role) []*entry[C] {
	if l := s.conns[role].Load(); l != nil {
		return *l
	}
	return nil
}

// Close gives up what is being dialed, closes all connections, and returns when every goroutine of the pool has
// ended. It is idempotent, and every call waits.
func (p *Pool[C]) Close() {
	p.mu.Lock()
	p.mu.closed = true
	for role := range Role(numRoles) {
		p.tables[role].Store(nil)
	}
	p.wakeLocked()
	p.mu.Unlock()
	p.end() // every goroutine watches it
	p.goroutines.Wait()
}

// wait gets a connection when none is ready.
func (p *Pool[C]) wait(ctx context.Context, role Role, by Pick) (C, error) {
	var none C
	var unready *DialError
	for {
		p.mu.Lock()
		if e, _ := p.pick(role, &by); e != nil { // set under mu: nothing is missed between here and changed
			p.mu.Unlock()
			return e.conn, nil
		}
		if err := context.Cause(ctx); err != nil {
			p.mu.Unlock()
			if unready != nil {
				return none, fmt.Errorf("%w while waiting for a server: %w", err, unready)
			}
			return none, fmt.Errorf("pool: connection to %s: %w", p.target, err)
		}
		err := p.ensureLocked(role, &by, time.Now())
		changed := p.mu.changed
		p.mu.Unlock()
		if err != nil && !(by.Wait && errors.As(err, &unready)) {
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
