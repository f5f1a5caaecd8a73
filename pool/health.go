package pool

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Ejection says when an endpoint is taken out of use for a while although it can be reached: because its calls fail, and those
// to other endpoints do not. It is ejected when it has answered Failures calls in a row with the code Unavailable, or when of at least 20 calls
// within 5 s the share that succeeded is 20 points below that of all other endpoints together. When its time is over it is used
// again; the next such answer then ejects it anew, for twice the time. A new connection to an endpoint that had none is a new beginning.
type Ejection struct {
	// Failures is the number of answers in a row after which an endpoint is ejected. Default 5; negative means that no endpoint is ever ejected.
	Failures int
	// Pause is the length of the first ejection; each further one takes twice as long, up to 5 min. Default 10 s.
	Pause time.Duration
	// MaxShare is the largest share of the endpoints that may be ejected at once, 0 to 1. One always stays. Default 0.5.
	MaxShare float64
}

const (
	rateInterval = 5 * time.Second
	minRateCalls = 20
	maxRateGap   = 0.2
	maxPause     = 5 * time.Minute
)

// A Health takes note of how the calls to one endpoint end, and stands for the endpoint in a [Pick]. Its methods are safe for concurrent
// use; the zero value is ready but belongs to no endpoint.
type Health struct {
	calls    atomic.Uint64 // that have ended
	failures atomic.Uint64 // of them
	inARow   atomic.Int32  // answers that it is unavailable, since the last other one
	trip     func()        // called when there are too many in a row
	limit    int32         // that many
}

// Succeeded says that a call has reached a result, be it an error that any endpoint would have answered with.
func (h *Health) Succeeded() {
	h.calls.Add(1)
	if h.inARow.Load() != 0 {
		h.inARow.Store(0)
	}
}

// Failed says that a call has failed in a way that another endpoint may not have. unavailable means that the endpoint has said
// that it cannot serve such calls. (That its connection was lost the pool sees by itself.)
func (h *Health) Failed(unavailable bool) {
	h.calls.Add(1)
	h.failures.Add(1)
	if unavailable && h.limit > 0 && h.inARow.Add(1) >= h.limit {
		h.trip()
	}
}

// rates are the figures of an endpoint at the start of an interval, and its ejections. They belong to Pool.mu.
type rates struct {
	calls, failures uint64
	ejected         bool
	ejections       int // lately
	readmitAt       time.Time
	reason          string
}

// tripped is called when too many calls to s have failed in a row.
func (p *Pool[C]) tripped(s *slot[C]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.inARow.Load() >= s.limit {
		p.ejectLocked(s, time.Now(), "calls failed one after the other")
	}
}

// ejectLocked takes s out of use, unless too many are already or it is not in use.
func (p *Pool[C]) ejectLocked(s *slot[C], now time.Time, reason string) {
	others, ejected := 0, 1
	for _, x := range p.mu.slots {
		switch {
		case x == s:
		case x.mu.ejected:
			ejected++
		case x.conns[Main].Load() != nil && len(*x.conns[Main].Load()) > 0:
			others++
		}
	}
	if s.mu.ejected || others == 0 || float64(ejected) > p.cfg.Ejection.MaxShare*float64(len(p.mu.slots)) {
		return
	}
	s.mu.ejected = true
	s.mu.reason = reason
	b := Backoff{Base: p.cfg.Ejection.Pause, Max: max(maxPause, p.cfg.Ejection.Pause), Jitter: 0.2}
	s.mu.ejections++
	s.mu.readmitAt = now.Add(b.after(s.mu.ejections))
	p.rebuildLocked(now)
}

// forgiveLocked forgets how calls have ended so far.
func (s *slot[C]) forgiveLocked() {
	s.mu.ejected = false
	s.inARow.Store(0)
	s.mu.calls, s.mu.failures = s.calls.Load(), s.failures.Load()
}

// readmitLocked puts endpoints back whose time is over. The first failure ejects them again.
func (p *Pool[C]) readmitLocked(now time.Time) {
	for _, s := range p.mu.slots {
		if s.mu.ejected && !now.Before(s.mu.readmitAt) {
			s.mu.ejected = false
			s.inARow.Store(max(s.limit-1, 0))
			s.mu.calls, s.mu.failures = s.calls.Load(), s.failures.Load()
			p.rebuildLocked(now)
		}
	}
}

// compareLocked ejects endpoints that do worse than the others.
func (p *Pool[C]) compareLocked(now time.Time) {
	type sample struct{ calls, failed float64 }
	samples := make([]sample, len(p.mu.slots))
	var all sample
	for i, s := range p.mu.slots {
		calls, failures := s.calls.Load(), s.failures.Load()
		samples[i] = sample{float64(calls - s.mu.calls), float64(failures - s.mu.failures)}
		s.mu.calls, s.mu.failures = calls, failures
		all.calls += samples[i].calls
		all.failed += samples[i].failed
	}
	if p.cfg.Ejection.Failures < 0 {
		return
	}
	for i, s := range p.mu.slots {
		own := samples[i]
		others := sample{all.calls - own.calls, all.failed - own.failed}
		if own.calls < minRateCalls || others.calls < minRateCalls {
			continue
		}
		if own.failed/own.calls-others.failed/others.calls > maxRateGap {
			p.log.Debug("more calls fail than elsewhere", zap.String("endpoint", s.mu.endpoint.Address),
				zap.Float64("share", own.failed/own.calls), zap.Float64("elsewhere", others.failed/others.calls))
			p.ejectLocked(s, now, "more calls fail than at other endpoints")
		} else if !s.mu.ejected && s.mu.ejections > 0 && own.failed == 0 {
			s.mu.ejections--
		}
	}
}
