package pool

import (
	"context"
	"slices"
	"time"
)

// resolveLocked starts a resolution of the target when there is something to resolve and it is time. It reports
// whether one is running.
func (p *Pool[C]) resolveLocked(now time.Time) bool {
	a := &p.mu.resolve
	if p.resolver == nil || p.mu.closed {
		return false
	}
	recent := !p.mu.resolvedAt.IsZero() && now.Sub(p.mu.resolvedAt) < resolveInterval
	if recent || !a.canStart(now) {
		return a.running
	}
	a.start(now)
	// Ends with the resolution, which Close gives up; Close waits.
	p.goroutines.Go(func() {
		ctx, cancel := context.WithTimeout(p.life, p.cfg.DialTimeout)
		defer cancel()
		list, err := p.resolver.Resolve(ctx)
		if err == nil && len(list) == 0 {
			err = errNoEndpoints
		}
		p.resolved(list, err)
	})
	return true
}

// resolved takes over the result of a resolution. After a failure the endpoints stay as they were.
func (p *Pool[C]) resolved(list []Endpoint, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if err != nil {
		p.mu.resolve.fail(now, err, p.cfg.Backoff)
	} else {
		p.mu.resolve = attempt{}
		p.mu.resolvedAt = now
		p.setEndpointsLocked(list)
	}
	p.wakeLocked()
}

// setEndpointsLocked makes list the endpoints to dial. Those that were known keep their history. Connections to
// others stay in use until they end, and are not replaced then.
func (p *Pool[C]) setEndpointsLocked(list []Endpoint) {
	slots := make([]*slot, 0, len(list))
	for _, endpoint := range list {
		is := func(s *slot) bool { return s.endpoint == endpoint }
		if slices.ContainsFunc(slots, is) {
			continue
		}
		if i := slices.IndexFunc(p.mu.slots, is); i >= 0 {
			slots = append(slots, p.mu.slots[i])
			continue
		}
		slots = append(slots, &slot{endpoint: endpoint})
	}
	p.mu.slots = slots
	for role := range Role(numRoles) {
		p.updateFullLocked(role)
	}
}
