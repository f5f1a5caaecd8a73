package pool

import (
	"context"
	"slices"
	"time"
)

const (
	// tryNextAfter is how long a dial may take before another endpoint is tried beside it.
	tryNextAfter = 500 * time.Millisecond
	// stableAfter is how long a connection must have lived for its endpoint to count as working.
	stableAfter = time.Second
)

// slot is an endpoint and what is going on with it, by role. Its fields belong to Pool.mu.
type slot struct {
	endpoint Endpoint
	attempts [numRoles]attempt
}

// ensureLocked makes sure that something is on its way to give the role a connection, or returns why not.
func (p *Pool[C]) ensureLocked(role Role, now time.Time) error {
	if p.mu.closed {
		return ErrClosed
	}
	running, latest := p.dialingLocked(role)
	if !running || now.Sub(latest) >= tryNextAfter {
		if s := p.bestSlotLocked(role, now); s != nil {
			p.dialLocked(s, role, now)
			return nil
		}
	}
	if p.resolveLocked(now) || running {
		return nil
	}
	return p.dialErrorLocked(role, now)
}

// grow opens another connection of the role in the background, unless one is on its way already.
func (p *Pool[C]) grow(role Role) {
	if !p.mu.TryLock() { // somebody else is at it, or the set is changing; the next call looks again
		return
	}
	defer p.mu.Unlock()
	if running, _ := p.dialingLocked(role); running || p.mu.closed {
		return
	}
	if now := time.Now(); !p.roles[role].full.Load() {
		if s := p.bestSlotLocked(role, now); s != nil {
			p.dialLocked(s, role, now)
		}
	}
}

// dialingLocked reports whether a dial for the role is running, and when the latest began.
func (p *Pool[C]) dialingLocked(role Role) (running bool, latest time.Time) {
	for _, s := range p.mu.slots {
		if a := &s.attempts[role]; a.running {
			running = true
			if a.startedAt.After(latest) {
				latest = a.startedAt
			}
		}
	}
	return running, latest
}

// bestSlotLocked returns the endpoint for the next connection of the role: the first of those that have the
// fewest. It is nil when all are at their limit, being dialed or left alone.
func (p *Pool[C]) bestSlotLocked(role Role, now time.Time) (best *slot) {
	least := 0
	for _, s := range p.mu.slots {
		usable, all := p.countLocked(s, role)
		if usable < p.maxConns(role) && s.attempts[role].canStart(now) && (best == nil || all < least) {
			best, least = s, all
		}
	}
	return best
}

// countLocked returns how many connections of the role s has, and how many of them take calls.
func (p *Pool[C]) countLocked(s *slot, role Role) (usable, all int) {
	for _, e := range p.roles[role].list() {
		if e.slot == s {
			all++
			if !e.conn.Draining() {
				usable++
			}
		}
	}
	return usable, all
}

func (p *Pool[C]) maxConns(role Role) int {
	if role == Main {
		return p.cfg.MaxMain
	}
	return p.cfg.MaxBulk
}

// dialLocked starts the goroutine that dials s and then watches the connection.
func (p *Pool[C]) dialLocked(s *slot, role Role, now time.Time) {
	s.attempts[role].start(now)
	endpoint := s.endpoint // may change
	p.updateFullLocked(role)
	// Ends when the dial fails or the connection ends; Close makes both happen and waits.
	p.goroutines.Go(func() {
		ctx, cancel := context.WithTimeout(p.life, p.cfg.DialTimeout)
		conn, err := p.cfg.Dial(ctx, endpoint, role)
		cancel()
		if err != nil {
			p.failed(s, role, err)
			return
		}
		e := &entry[C]{conn: conn, role: role, slot: s, since: time.Now()}
		p.add(e)
		select {
		case <-conn.Done():
			p.remove(e)
		case <-p.life.Done():
		}
		conn.Close()
	})
}

// add makes e available.
func (p *Pool[C]) add(e *entry[C]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.slot.attempts[e.role].running = false
	p.publishLocked(e.role, append(slices.Clone(p.roles[e.role].list()), e))
}

// remove takes e, which has ended, out of the set.
func (p *Pool[C]) remove(e *entry[C]) {
	err := e.conn.Err()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if a := &e.slot.attempts[e.role]; now.Sub(e.since) >= stableAfter {
		a.failures = 0
	} else if !a.running {
		a.fail(now, err, p.cfg.Backoff)
	}
	is := func(x *entry[C]) bool { return x == e }
	p.publishLocked(e.role, slices.DeleteFunc(slices.Clone(p.roles[e.role].list()), is))
}

// publishLocked makes list the connections of the role, none once the pool is closed.
func (p *Pool[C]) publishLocked(role Role, list []*entry[C]) {
	if p.mu.closed {
		list = nil
	}
	p.roles[role].ready.Store(&list)
	p.updateFullLocked(role)
	p.wakeLocked()
}

// updateFullLocked is called whenever connections or dials of the role change.
func (p *Pool[C]) updateFullLocked(role Role) {
	running, _ := p.dialingLocked(role)
	full := running || !slices.ContainsFunc(p.mu.slots, func(s *slot) bool {
		usable, _ := p.countLocked(s, role)
		return usable < p.maxConns(role)
	})
	p.roles[role].full.Store(full)
}

// failed records that s could not be dialed.
func (p *Pool[C]) failed(s *slot, role Role, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	s.attempts[role].fail(now, err, p.cfg.Backoff)
	p.updateFullLocked(role)
	p.wakeLocked()
	p.askAgain() // the target may have moved
}

// dialErrorLocked returns the error of the endpoint that is tried again first, or of the resolution without any.
func (p *Pool[C]) dialErrorLocked(role Role, now time.Time) error {
	e := &DialError{Target: p.target, Role: role}
	first := &p.mu.resolve
	for i, s := range p.mu.slots {
		if a := &s.attempts[role]; i == 0 || a.retryAt.Before(first.retryAt) {
			first, e.Endpoint = a, s.endpoint
		}
	}
	e.Attempts, e.RetryIn, e.Err = first.failures, max(0, first.retryAt.Sub(now)), first.err
	return e
}
