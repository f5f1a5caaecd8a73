package pool

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Backoff is how long an endpoint that could not be reached is left alone: Base after the first failure, twice as long
// after each further one, at most Max, varied by the fraction Jitter so that clients do not return all at once.
type Backoff struct {
	Base   time.Duration // 0 means 100 ms
	Max    time.Duration // 0 means 30 s; at least Base
	Jitter float64       // 0 means 0.2; below 1
}

func (b *Backoff) setDefaults() error {
	if b.Base == 0 {
		b.Base = 100 * time.Millisecond
	}
	if b.Max == 0 {
		b.Max = max(30*time.Second, b.Base)
	}
	if b.Jitter == 0 {
		b.Jitter = 0.2
	}
	if b.Base < 0 || b.Max < b.Base || b.Jitter < 0 || b.Jitter >= 1 {
		return fmt.Errorf("pool: Backoff %+v: Base must be positive, Max at least Base, Jitter from 0 to below 1", *b)
	}
	return nil
}

// after returns the time to wait after n failures in a row.
func (b *Backoff) after(n int) time.Duration {
	d := b.Max
	if shift := n - 1; shift < 32 && b.Base<<shift < b.Max && b.Base<<shift > 0 {
		d = b.Base << shift
	}
	return time.Duration(float64(d) * (1 + b.Jitter*(2*rand.Float64()-1)))
}

// A failure is what is known of an endpoint that could not be reached.
type failure struct {
	attempts int
	until    time.Time
	err      error
}

// waiting returns the error of an endpoint that is left alone for now, nil if it may be tried.
func (f *failure) waiting(e Endpoint) *DialError {
	if f == nil {
		return nil
	}
	if d := time.Until(f.until); d > 0 {
		return &DialError{Endpoint: e, Attempts: f.attempts, RetryIn: d, Err: f.err}
	}
	return nil
}

// failed records that an endpoint could not be reached.
func (p *Pool[C]) failed(e Endpoint, err error) *DialError {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.failures[e]
	if f == nil {
		f = new(failure)
		p.mu.failures[e] = f
	}
	f.attempts++
	f.err = err
	wait := p.cfg.Backoff.after(f.attempts)
	f.until = time.Now().Add(wait)
	return &DialError{Endpoint: e, Attempts: f.attempts, RetryIn: wait, Err: err}
}
