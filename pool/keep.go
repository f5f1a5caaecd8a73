package pool

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// tick is how often a pool looks after its connections.
	tick = time.Second
	// quietTick is how often it does while nobody uses them and nothing changes by itself.
	quietTick = 30 * time.Second
	// maxDialing is how many endpoints are dialed at once in the background.
	maxDialing = 4
	// hintFor is how long the load that an endpoint has told counts. Without calls it is not told again.
	hintFor = 3 * time.Second
	// unusedAfter is how long a pool that nobody uses goes on replacing connections.
	unusedAfter = 5 * time.Minute
)

// keepLocked starts the goroutine that keeps the connections, once.
func (p *Pool[C]) keepLocked() {
	if p.mu.keeping || p.mu.closed {
		return
	}
	p.mu.keeping = true
	p.mu.lastUse = time.Now()
	p.goroutines.Go(p.keep) // ends with Close, which waits
}

func (p *Pool[C]) wakeKeeper() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// keep looks after the connections: it opens those that the policy wants, closes those that are not needed, and follows how the
// endpoints do.
func (p *Pool[C]) keep() {
	last := time.Now()
	compared := last
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p.mu.Lock()
		now := time.Now()
		if now.Sub(last) >= tick {
			last = now
			p.tickLocked(now)
		}
		if now.Sub(compared) >= rateInterval {
			compared = now
			p.compareLocked(now)
		}
		p.readmitLocked(now)
		next := min(last.Add(tick).Sub(now), p.openLocked(now))
		if p.quietLocked(now) {
			next = quietTick
		}
		p.mu.Unlock()
		timer.Reset(max(next, 0))
		select {
		case <-timer.C:
		case <-p.wake:
		case <-p.life.Done():
			return
		}
	}
}

// quietLocked reports whether each endpoint has one connection, which is idle, and nobody has asked for one for a while. Whoever asks,
// or changes the set, wakes the keeper.
func (p *Pool[C]) quietLocked(now time.Time) bool {
	if p.used.Load() || p.mu.closed || now.Sub(p.mu.lastUse) < hintFor+tick || len(p.mu.slots) == 0 || len(p.mu.gone) > 0 {
		return false
	}
	for _, s := range p.mu.slots {
		main, bulk := s.entries(Main), s.entries(Bulk)
		if s.mu.state != Ready || len(main) != 1 || main[0].conn.Load() > 0 || len(bulk)+len(s.mu.leaving) > 0 {
			return false
		}
		if s.others.Load() > 0 || s.calls.Load() != s.mu.calls { // which has to fade, and to be compared
			return false
		}
	}
	return true
}

// openLocked dials endpoints that should have a connection, and returns the time until the next one may be dialed.
func (p *Pool[C]) openLocked(now time.Time) time.Duration {
	next := tick
	if p.mu.closed || now.Sub(p.mu.lastUse) > unusedAfter && !p.used.Load() {
		return next
	}
	list := p.spreadLocked()
	if p.cfg.Policy == PickFirst { // one after the other
		if len(list) == 1 && len(list[0].entries(Main)) > 0 {
			return next
		}
		running, latest := p.dialingLocked(Main)
		if !running || now.Sub(latest) >= tryNextAfter {
			if s := p.bestSlotLocked(Main, now); s != nil {
				p.dialLocked(s, Main, now)
			}
		}
		return min(next, tryNextAfter)
	}
	running := 0
	for _, s := range list {
		if s.mu.attempts[Main].running {
			running++
		}
	}
	for _, s := range list {
		a := &s.mu.attempts[Main]
		if a.running || len(s.entries(Main)) > 0 || running >= maxDialing {
			continue
		}
		if a.canStart(now) {
			running++
			p.dialLocked(s, Main, now)
		} else {
			next = min(next, a.retryAt.Sub(now))
		}
	}
	return next
}

// tickLocked does what has to be done every tick.
func (p *Pool[C]) tickLocked(now time.Time) {
	if p.used.Swap(false) {
		p.mu.lastUse = now
	}
	for _, list := range [2][]*slot[C]{p.mu.slots, p.mu.gone} {
		for _, s := range list {
			s.hintLocked(now)
		}
	}
	p.shrinkLocked(now)
	p.rebuildLocked(now)
}

// hintLocked takes over what the endpoint has said of its load. It is smoothed, because a count of requests at a moment says little.
func (s *slot[C]) hintLocked(now time.Time) {
	said, latest := 0, time.Time{}
	for _, e := range s.entries(Main) {
		if n, at := e.conn.PeerLoad(); at.After(latest) {
			said, latest = n, at
		}
	}
	old := s.others.Load()
	switch {
	case now.Sub(latest) > hintFor:
		s.others.Store(0)
	case old == 0:
		s.others.Store(int64(said))
	default:
		s.others.Store((2*old + int64(said)) / 3)
	}
}

// shrinkLocked retires connections that are not needed: those that have been idle for long, but for one main connection of each
// endpoint, and idle ones of endpoints that the resolver does not find any more.
func (p *Pool[C]) shrinkLocked(now time.Time) {
	t := p.tables[Main].Load()
	for i, list := range [2][]*slot[C]{p.mu.slots, p.mu.gone} {
		for _, s := range list {
			for role := range Role(numRoles) {
				keep := 1
				if role == Bulk || i == 1 && t != nil && len(t.first) > 0 {
					keep = 0
				}
				for _, e := range s.entries(role) {
					if e.conn.Load() > 0 {
						e.idleAt = time.Time{}
						continue
					}
					if e.idleAt.IsZero() {
						e.idleAt = now
					}
					if (i == 1 || now.Sub(e.idleAt) >= p.cfg.ShrinkAfter) && len(s.entries(role)) > keep {
						p.leavesLocked(e)
						close(e.retire)
					}
				}
			}
		}
	}
}

// rebuildLocked makes the tables that calls choose from, and takes note of the states.
func (p *Pool[C]) rebuildLocked(now time.Time) {
	p.mu.gone = slices.DeleteFunc(p.mu.gone, func(s *slot[C]) bool {
		return len(s.entries(Main))+len(s.entries(Bulk))+len(s.mu.leaving) == 0
	})
	for role := range Role(numRoles) {
		var t *table[C]
		if !p.mu.closed {
			t = p.tableLocked(role)
		}
		p.tables[role].Store(t)
		running, _ := p.dialingLocked(role)
		p.full[role].Store(running || p.bestSlotLocked(role, now) == nil)
		if role == Bulk {
			p.sparse.Store(!running && slices.ContainsFunc(p.mu.slots, func(s *slot[C]) bool {
				return len(s.entries(Main)) > 0 && len(s.entries(Bulk)) == 0 && s.mu.attempts[Bulk].canStart(now)
			}))
		}
	}
	for _, s := range p.mu.slots {
		p.noteLocked(s, s.stateLocked(), now)
	}
	for _, s := range p.mu.gone {
		p.noteLocked(s, Removed, now)
	}
}

// tableLocked returns what calls of the role choose from now.
func (p *Pool[C]) tableLocked(role Role) *table[C] {
	t := new(table[C])
	tier, ableTier := -1, -1
	for _, s := range p.mu.slots {
		if s.mu.ejected {
			continue
		}
		if len(s.entries(role)) > 0 && (tier < 0 || s.mu.tier < tier) {
			tier = s.mu.tier
		}
		if s.ableLocked() && (ableTier < 0 || s.mu.tier < ableTier) {
			ableTier = s.mu.tier
		}
	}
	uniform, weight := true, int64(0)
	for _, s := range p.mu.slots {
		if s.ableLocked() && s.mu.tier == ableTier {
			t.able = append(t.able, s)
			t.hashes = append(t.hashes, s.mu.hash)
		}
		switch {
		case len(s.entries(role)) == 0:
		case s.mu.ejected || s.mu.tier != tier:
			t.rest = append(t.rest, s)
		default:
			t.first = append(t.first, s)
		}
	}
	for _, s := range p.mu.gone {
		if len(s.entries(role)) > 0 {
			t.rest = append(t.rest, s)
		}
	}
	sum := 0
	for _, s := range t.first {
		w := s.weight.Load()
		uniform = uniform && (weight == 0 || w == weight)
		weight = w
		sum += int(w)
		t.sum = append(t.sum, sum)
	}
	if uniform {
		t.sum = nil
	}
	uniform, weight = true, 0
	for _, s := range t.able {
		w := s.weight.Load()
		uniform = uniform && (weight == 0 || w == weight)
		weight = w
		t.weights = append(t.weights, int(w))
	}
	if uniform {
		t.weights = nil
	}
	return t
}

// noteLocked takes note of the state of an endpoint and logs a change that matters.
func (p *Pool[C]) noteLocked(s *slot[C], state State, now time.Time) {
	if s.mu.state == state {
		return
	}
	old := s.mu.state
	fields := []zap.Field{
		zap.String("endpoint", s.mu.endpoint.Address), zap.Stringer("from", old), zap.Stringer("to", state), zap.Duration("after", now.Sub(s.mu.since)),
	}
	s.mu.state, s.mu.since = state, now
	switch state {
	case Failing:
		p.log.Warn("endpoint cannot be reached", append(fields, zap.Int("attempts", s.mu.attempts[Main].failures), zap.Error(s.mu.err))...)
	case Ejected:
		p.log.Warn("endpoint is ejected", append(fields, zap.String("reason", s.mu.reason), zap.Duration("for", s.mu.readmitAt.Sub(now)))...)
	case Silent, Removed:
		p.log.Info("endpoint gets no calls", fields...)
	default:
		p.log.Debug("endpoint", fields...)
	}
}
