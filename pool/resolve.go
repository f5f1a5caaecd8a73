package pool

import (
	"cmp"
	"context"
	"fmt"
	"math"
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

// idle reports whether nobody has asked for a connection for a while.
func (p *Pool[C]) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.used.Load() && time.Since(p.mu.lastUse) > p.cfg.ResolveInterval
}

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
		p.setEndpointsLocked(list, time.Now())
	}
	p.wakeLocked()
}

// setEndpointsLocked makes list the endpoints to dial. Those that were known keep their connections and history. Others get no
// more calls as long as there is another one, and end when they are idle.
func (p *Pool[C]) setEndpointsLocked(list []Endpoint, now time.Time) {
	known := map[string]*slot[C]{}
	for _, s := range p.mu.slots {
		known[s.mu.endpoint.Address] = s
	}
	back := map[string]*slot[C]{}
	for _, s := range p.mu.gone {
		back[s.mu.endpoint.Address] = s
	}
	slots := make([]*slot[C], 0, len(list))
	taken := make(map[string]bool, len(list))
	for _, endpoint := range list {
		if taken[endpoint.Address] {
			continue
		}
		taken[endpoint.Address] = true
		s := cmp.Or(known[endpoint.Address], back[endpoint.Address])
		if s == nil {
			s = &slot[C]{}
			s.mu.since = now
			s.limit = int32(min(p.cfg.Ejection.Failures, math.MaxInt32))
			s.trip = func() { p.tripped(s) }
			s.mu.hash = hashOf(endpoint.Address)
		}
		s.mu.endpoint = endpoint
		s.weight.Store(int64(max(endpoint.Weight, 1)))
		s.mu.tier = 2 * endpoint.Priority
		if p.cfg.Zone != "" && endpoint.Zone != p.cfg.Zone {
			s.mu.tier++
		}
		slots = append(slots, s)
	}
	gone := p.mu.gone[:0:0]
	for _, old := range [2][]*slot[C]{p.mu.slots, p.mu.gone} {
		for _, s := range old {
			if !taken[s.mu.endpoint.Address] {
				gone = append(gone, s) // until its connections have ended: rebuildLocked
			}
		}
	}
	if len(gone) > 0 || len(slots) != len(p.mu.slots) {
		p.log.Info("endpoints", zap.Int("found", len(slots)), zap.Int("gone", len(gone)))
	}
	p.mu.slots, p.mu.gone = slots, gone
	p.changedLocked()
}
