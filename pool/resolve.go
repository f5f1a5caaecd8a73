package pool

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// resolveGap is the shortest time between two resolutions that failures of endpoints cause.
	resolveGap = 5 * time.Second
	// maxEndpoints bounds what a resolver can make a pool hold.
	maxEndpoints = 4096
)

// resolveLocked makes sure that the resolver is followed, and that it is asked again when nothing is known and it is time. It
// reports whether a result is on its way.
func (p *Pool[C]) resolveLocked(now time.Time) bool {
	if p.resolver == nil || p.mu.closed {
		return false
	}
	if !p.mu.resolving {
		p.mu.resolving = true
		p.mu.resolve.start(now)
		p.goroutines.Go(p.followResolver) // ends with Close, which waits
	} else if len(p.mu.slots) == 0 && p.mu.resolve.canStart(now) {
		p.mu.resolve.start(now)
		p.askAgain()
	}
	return p.mu.resolve.running
}

// askAgain wakes whoever waits until the resolver is asked again.
func (p *Pool[C]) askAgain() {
	select {
	case p.failure <- struct{}{}:
	default:
	}
}

// followResolver watches the target, again and again, until the pool closes.
func (p *Pool[C]) followResolver() {
	for {
		err := p.watchOnce()
		if p.life.Err() != nil {
			return
		}
		p.mu.Lock()
		wait := p.cfg.ResolveInterval
		gap := resolveGap
		if err != nil {
			wait = max(0, time.Until(p.mu.resolve.retryAt))
			gap = wait // failures of endpoints are no reason to ask sooner
		}
		p.mu.Unlock()
		if !p.pauseResolving(wait, min(gap, wait)) {
			return
		}
		p.mu.Lock()
		p.mu.resolve.start(time.Now())
		p.mu.Unlock()
	}
}

// pauseResolving waits for the given time, or until an endpoint fails, but then for gap at least. While nobody uses the pool it
// goes on waiting. It reports false when the pool has closed.
func (p *Pool[C]) pauseResolving(wait, gap time.Duration) bool {
	start := time.Now()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.failure: // of before the last resolution
	default:
	}
	for {
		select {
		case <-timer.C:
			if p.idle() {
				timer.Reset(p.cfg.ResolveInterval)
				continue
			}
			return true
		case <-p.failure:
			timer.Reset(max(0, gap-time.Since(start)))
		case <-p.life.Done():
			return false
		}
	}
}

// idle reports whether nobody has asked for a connection since it was called last.
func (p *Pool[C]) idle() bool { return !p.used.Swap(false) }

// watchOnce follows one sequence of the resolver to its end. Its error is that of the last result.
func (p *Pool[C]) watchOnce() (last error) {
	ctx, cancel := context.WithCancelCause(p.life)
	defer cancel(nil)
	late := fmt.Errorf("no answer within %v (DialTimeout)", p.cfg.DialTimeout)
	limit := time.AfterFunc(p.cfg.DialTimeout, func() { cancel(late) })
	defer limit.Stop()
	yielded := false
	for list, err := range p.resolver.Watch(ctx, p.target) {
		limit.Stop()
		yielded = true
		if err == nil && len(list) == 0 {
			err = errNoEndpoints
		}
		if err == nil && len(list) > maxEndpoints {
			err = fmt.Errorf("%d endpoints exceed the limit of %d", len(list), maxEndpoints)
		}
		if last = err; context.Cause(ctx) == late && err != nil {
			last = late
		}
		p.resolved(list, last)
	}
	if !yielded {
		if last = errNoEndpoints; context.Cause(ctx) == late {
			last = late
		}
		p.resolved(nil, last)
	}
	return last
}

// resolved takes over a result of the resolver. After a failure the endpoints stay as they were.
func (p *Pool[C]) resolved(list []Endpoint, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return
	}
	if err != nil {
		p.mu.resolve.fail(time.Now(), err, p.cfg.Backoff)
		p.log.Warn("resolving failed; the endpoints stay as they were", zap.String("target", p.target),
			zap.Int("endpoints", len(p.mu.slots)), zap.Int("failures", p.mu.resolve.failures), zap.Error(err))
	} else {
		p.mu.resolve = attempt{}
		p.setEndpointsLocked(list)
	}
	p.wakeLocked()
}

// setEndpointsLocked makes list the endpoints to dial. Those that were known keep their history. Connections to
// others stay in use until they end, and are not replaced then.
func (p *Pool[C]) setEndpointsLocked(list []Endpoint) {
	slots := make([]*slot, 0, len(list))
	for _, endpoint := range list {
		is := func(s *slot) bool { return s.endpoint.Address == endpoint.Address }
		if slices.ContainsFunc(slots, is) {
			continue
		}
		if i := slices.IndexFunc(p.mu.slots, is); i >= 0 {
			p.mu.slots[i].endpoint = endpoint
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
