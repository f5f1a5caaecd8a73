package transfer

import (
	"math"
	"time"
)

// rateTime is the time constant of the average that Progress.Rate is.
const rateTime = time.Second

// progress reports to Options.Progress. It belongs to the goroutine of Receive.
type progress struct {
	r    *receiver
	last time.Time
	done int64 // then
	rate float64
}

func newProgress(r *receiver) *progress {
	p := &progress{r: r, last: time.Now()}
	p.done, _ = p.now()
	return p
}

func (p *progress) now() (done, total int64) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	return p.r.mu.have.Bytes(), p.r.mu.size
}

// tick reports, unless the last time was just now: a ticker that was delayed catches up.
func (p *progress) tick(now time.Time) {
	if now.Sub(p.last) >= tick {
		p.update(now)
	}
}

// report reports the end.
func (p *progress) report() { p.update(time.Now()) }

func (p *progress) update(now time.Time) {
	done, total := p.now()
	if elapsed := now.Sub(p.last); elapsed > 0 {
		rate := float64(done-p.done) / elapsed.Seconds()
		weight := 1.0
		if p.rate > 0 {
			weight = 1 - math.Exp(-elapsed.Seconds()/rateTime.Seconds())
		}
		p.rate += weight * (rate - p.rate)
	}
	p.last, p.done = now, done
	if p.r.o.Progress != nil {
		p.r.o.Progress(Progress{done, total, p.rate})
	}
}
