package pool

import (
	"math/rand/v2"
	"time"
)

// Backoff is an exponentially growing pause: Base after the first failure, twice as long after each further one
// in a row, Max at most, each time longer or shorter by a random part of up to Jitter.
type Backoff struct {
	Base   time.Duration // default 100 ms; negative is refused
	Max    time.Duration // default 30 s; refused when it is smaller than Base
	Jitter float64       // default 0.2, legal 0 to 1; 0 means the default
}

// after returns the pause after the given number of failures in a row, at least 1.
func (b Backoff) after(failures int) time.Duration {
	d := b.Max
	if shift := failures - 1; shift < 32 && b.Base <= b.Max>>shift {
		d = b.Base << shift
	}
	return d + time.Duration(b.Jitter*(2*rand.Float64()-1)*float64(d))
}

// attempt is the state of something that is tried again when it fails:
//
//	idle --start--> running --succeed--> idle
//	                running --fail-----> left alone until retryAt, then idle
type attempt struct {
	running   bool
	startedAt time.Time
	failures  int       // in a row
	retryAt   time.Time // not to be started before
	err       error     // of the last failure
}

func (a *attempt) canStart(now time.Time) bool { return !a.running && !now.Before(a.retryAt) }

func (a *attempt) start(now time.Time) { a.running, a.startedAt = true, now }

func (a *attempt) fail(now time.Time, err error, b Backoff) {
	a.running = false
	a.failures++
	a.err = err
	a.retryAt = now.Add(b.after(a.failures))
}
