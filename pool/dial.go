package pool

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// tryNextAfter is how long a dial may take before another endpoint is tried beside it.
	tryNextAfter = 500 * time.Millisecond
	// stableAfter is how long a connection must have lived for its endpoint to count as working.
	stableAfter = time.Second
	// maxSpread is the number of endpoints that a pool keeps connections to. Each pool draws others of a larger set.
	maxSpread = 32
)

// ensureLocked makes sure that something is on its way to give the role a connection, or returns why not.
func (p *Pool[C]) ensureLocked(role Role, by *Pick, now time.Time) error {
	if p.mu.closed {
		return ErrClosed
	}
	p.keepLocked()
	only := p.wantedLocked(role, by)
	if by.Only != nil && only == nil {
		return &DialError{Target: p.target, Role: role, Err: errNotAnEndpoint}
	}
	if only != nil {
		switch a := &only.mu.attempts[role]; {
		case a.running:
			return nil
		case a.canStart(now):
			p.dialLocked(only, role, now)
			return nil
		case by.Only != nil:
			return p.dialErrorLocked(role, now, []*slot[C]{only})
		}
	}
	running, latest := p.dialingLocked(role)
	if !running || now.Sub(latest) >= tryNextAfter {
		if s := p.bestSlotLocked(role, now); s != nil {
			p.dialLocked(s, role, now)
			return nil
		}
	}
	if p.resolveLocked(now) || running || slices.ContainsFunc(p.mu.slots, func(s *slot[C]) bool { return p.endingLocked(s, role) }) {
		return nil
	}
	return p.dialErrorLocked(role, now, p.mu.slots)
}

// endingLocked reports whether the endpoint has as many connections as it may and one of them is about to be taken out: then it
// is dialed.
func (p *Pool[C]) endingLocked(s *slot[C], role Role) bool {
	list := s.entries(role)
	return len(list) >= p.maxConns(role) && slices.ContainsFunc(list, func(e *entry[C]) bool {
		select {
		case <-e.conn.Done():
			return true
		case <-e.conn.GoneAway():
			return true
		default:
			return false
		}
	})
}

// wantedLocked returns the one endpoint that a call has to go to, nil if there are several.
func (p *Pool[C]) wantedLocked(role Role, by *Pick) *slot[C] {
	switch t := p.tables[role].Load(); {
	case by.Only != nil:
		return p.slotLocked(by.Only)
	case by.Key != "" && t != nil:
		return t.owner(by.Key, by.Avoid)
	}
	return nil
}

// slotLocked returns the endpoint that h is of, nil if it is none any more.
func (p *Pool[C]) slotLocked(h *Health) *slot[C] {
	for _, s := range p.mu.slots {
		if &s.Health == h {
			return s
		}
	}
	return nil
}

// grow opens another connection of the role in the background, unless one is on its way already: to s, or to the
// endpoint that has the fewest when s is nil or has as many as it may.
func (p *Pool[C]) grow(role Role, s *slot[C]) {
	if !p.mu.TryLock() { // somebody else is at it, or the set is changing; the next call looks again
		return
	}
	defer p.mu.Unlock()
	if running, _ := p.dialingLocked(role); running || p.mu.closed {
		return
	}
	now := time.Now()
	if s == nil || s.mu.state == Removed || len(s.entries(role)) >= p.maxConns(role) || !s.mu.attempts[role].canStart(now) {
		s = p.bestSlotLocked(role, now)
	}
	if s != nil {
		p.dialLocked(s, role, now)
	}
}

// spreadLocked returns the endpoints that connections are kept to: those of the best tier in which one can be used, and of better
// ones, which may be again; not more than maxSpread of them. With the policy PickFirst it is only the one in use, or those to try.
func (p *Pool[C]) spreadLocked() []*slot[C] {
	list := p.mu.slots
	if p.cfg.Policy == PickFirst {
		for _, s := range list {
			if len(s.entries(Main)) > 0 {
				return []*slot[C]{s}
			}
		}
		return list
	}
	best := -1
	uniform := true
	for _, s := range list {
		if s.ableLocked() && (best < 0 || s.mu.tier < best) {
			best = s.mu.tier
		}
		uniform = uniform && s.mu.tier == list[0].mu.tier
	}
	if uniform && len(list) <= maxSpread {
		return list
	}
	var out []*slot[C]
	for _, s := range list {
		if best < 0 || s.mu.tier <= best {
			out = append(out, s)
		}
	}
	if len(out) > maxSpread {
		rank := func(s *slot[C]) uint64 {
			r := mix(s.mu.hash^p.seed) >> 1
			if !s.ableLocked() { // another one takes its place meanwhile
				r |= 1 << 63
			}
			return r
		}
		slices.SortFunc(out, func(a, b *slot[C]) int {
			if rank(a) < rank(b) {
				return -1
			}
			return 1
		})
		out = out[:maxSpread]
	}
	return out
}

// ableLocked reports whether the endpoint can be used, as far as is known.
func (s *slot[C]) ableLocked() bool {
	return !s.mu.ejected && (len(s.entries(Main)) > 0 || s.mu.attempts[Main].failures == 0)
}

// dialingLocked reports whether a dial for the role is running, and when the latest began.
func (p *Pool[C]) dialingLocked(role Role) (running bool, latest time.Time) {
	for _, s := range p.mu.slots {
		if a := &s.mu.attempts[role]; a.running {
			running = true
			if a.startedAt.After(latest) {
				latest = a.startedAt
			}
		}
	}
	return running, latest
}

// bestSlotLocked returns the endpoint for the next connection of the role: of those that the policy wants connections to and, if there
// is no connection, of all, the first in the best tier that has the fewest. It is nil when all are at their limit, being dialed or left alone.
func (p *Pool[C]) bestSlotLocked(role Role, now time.Time) (best *slot[C]) {
	better := func(a, b *slot[C]) bool {
		if a.mu.ejected != b.mu.ejected {
			return b.mu.ejected
		}
		if a.mu.tier != b.mu.tier {
			return a.mu.tier < b.mu.tier
		}
		return len(a.entries(role)) < len(b.entries(role))
	}
	connected := false
	for i, list := range [2][]*slot[C]{p.spreadLocked(), p.mu.slots} {
		if i == 1 && connected {
			break
		}
		for _, s := range list {
			connected = connected || len(s.entries(role)) > 0
			if len(s.entries(role)) < p.maxConns(role) && s.mu.attempts[role].canStart(now) && (best == nil || better(s, best)) {
				best = s
			}
		}
		if best != nil {
			break
		}
	}
	return best
}

func (p *Pool[C]) maxConns(role Role) int {
	if role == Main {
		return p.cfg.MaxMain
	}
	return p.cfg.MaxBulk
}

// dialLocked starts the goroutine that dials s and then watches the connection.
func (p *Pool[C]) dialLocked(s *slot[C], role Role, now time.Time) {
	s.mu.attempts[role].start(now)
	endpoint := s.mu.endpoint // may change
	p.rebuildLocked(now)
	// Ends when the dial fails or the connection ends; Close makes both happen and waits.
	p.goroutines.Go(func() {
		late := fmt.Errorf("no connection within %v (DialTimeout): %w", p.cfg.DialTimeout, context.DeadlineExceeded)
		ctx, cancel := context.WithTimeoutCause(p.life, p.cfg.DialTimeout, late)
		conn, err := p.cfg.Dial(ctx, endpoint, role, &s.Health)
		cancel()
		if err != nil {
			p.failed(s, role, err)
			return
		}
		e := &entry[C]{conn: conn, role: role, slot: s, since: time.Now(), retire: make(chan struct{})}
		p.add(e)
		p.watch(e)
		conn.Close()
	})
}

// watch follows a connection to its end.
func (p *Pool[C]) watch(e *entry[C]) {
	goneAway, retire := e.conn.GoneAway(), e.retire
	for {
		select {
		case <-goneAway:
			goneAway = nil
			p.leaves(e)
		case <-retire:
			retire = nil
			e.conn.Retire(p.life)
		case <-e.conn.Done():
			p.remove(e)
			return
		case <-p.life.Done():
			return
		}
	}
}

// add makes e available.
func (p *Pool[C]) add(e *entry[C]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.role == Main && len(e.slot.entries(Main)) == 0 {
		e.slot.forgiveLocked() // it may be another process
	}
	e.slot.mu.attempts[e.role].running = false
	e.slot.setEntries(e.role, append(slices.Clone(e.slot.entries(e.role)), e))
	p.changedLocked()
}

func (s *slot[C]) setEntries(role Role, list []*entry[C]) { s.conns[role].Store(&list) }

// take removes e from those that take calls, and reports whether it was one of them.
func (s *slot[C]) take(e *entry[C]) bool {
	list := s.entries(e.role)
	i := slices.Index(list, e)
	if i < 0 {
		return false
	}
	s.setEntries(e.role, slices.Delete(slices.Clone(list), i, i+1))
	return true
}

// leaves takes e, whose peer takes no new calls, or which is not needed any more, out of use, and replaces it.
func (p *Pool[C]) leaves(e *entry[C]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leavesLocked(e)
	p.changedLocked()
}

func (p *Pool[C]) leavesLocked(e *entry[C]) {
	if e.slot.take(e) {
		e.slot.mu.leaving = append(e.slot.mu.leaving, e)
	}
}

// remove takes e, which has ended, out of the set.
func (p *Pool[C]) remove(e *entry[C]) {
	err := e.conn.Err()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	inUse := e.slot.take(e)
	e.slot.mu.leaving = slices.DeleteFunc(e.slot.mu.leaving, func(x *entry[C]) bool { return x == e })
	if a := &e.slot.mu.attempts[e.role]; now.Sub(e.since) >= stableAfter || !inUse {
		a.failures = 0
	} else if !a.running {
		a.fail(now, err, p.cfg.Backoff)
	}
	if inUse {
		e.slot.mu.err = err
		p.askAgain()
	}
	p.changedLocked()
}

// changedLocked is called when connections or endpoints have changed.
func (p *Pool[C]) changedLocked() {
	p.rebuildLocked(time.Now())
	p.wakeLocked()
	p.wakeKeeper()
}

// failed records that s could not be dialed.
func (p *Pool[C]) failed(s *slot[C], role Role, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.mu.attempts[role].fail(time.Now(), err, p.cfg.Backoff)
	s.mu.err = err
	p.changedLocked()
	p.askAgain() // the target may have moved
}

// dialErrorLocked returns the error of the endpoint that is tried again first, or of the resolution without any.
func (p *Pool[C]) dialErrorLocked(role Role, now time.Time, slots []*slot[C]) error {
	e := &DialError{Target: p.target, Role: role}
	first := &p.mu.resolve
	for i, s := range slots {
		if a := &s.mu.attempts[role]; i == 0 || a.retryAt.Before(first.retryAt) {
			first, e.Endpoint = a, s.mu.endpoint
		}
	}
	e.Attempts, e.RetryIn, e.Err = first.failures, max(0, first.retryAt.Sub(now)), first.err
	return e
}
