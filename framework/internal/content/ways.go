package content

import (
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/wire/compress"
)

const (
	// trial is how many messages are sent to find out whether remembering pays: enough for a few hundred bodies to be seen
	// twice and acknowledged.
	trial = 256
	// Meanwhile one message of compareEvery goes the other way.
	compareEvery = 32
	// probeEvery is how often the other way is looked at afterwards: rarely, because a probe costs as much as many messages
	// where remembering makes those tiny.
	probeEvery = 256
	// After a trial that remembering has lost there is none for eight times as long, then for twice that, and so on up to
	// trial << maxPause: trials are not free.
	firstPause, maxPause = 3, 10
	// leastNanos is what remembering costs both sides at least: measured 0.5 microseconds for a message of 3.6 KB that comes
	// from a slot, 0.86 for a difference of 31 bytes.
	leastNanos = 500
)

// Ways compare the two ways to encode messages of a kind, of which only one can be had: remembering them, which compares plain
// messages, and packing and compressing them as they are, after which nothing resembles anything. The one that costs less is
// taken: encoded and decoded, and sent. While remembering loses it is tried again now and then, less and less often.
// Races between messages only blur it.
type ways struct {
	turn, next, lost  atomic.Int64     // messages; when the next trial begins; trials lost in a row
	remembered, other compress.Average // bytes and nanoseconds for a message
}

// remember reports whether the next message, of about n bytes, is to be remembered where a byte costs so many nanoseconds, and
// whether it is to be observed what comes of it.
func (w *ways) remember(n int, perByte float64) (remember, rated bool) {
	if n == 0 || float64(n)*perByte < leastNanos {
		return false, false
	}
	turn, start := w.turn.Add(1), w.next.Load()
	if start <= turn && turn < start+trial {
		return turn%compareEvery != 0, true
	}
	// What has lost on a fast path may still win on a slow one.
	if w.pay(perByte) {
		if start <= turn {
			w.lost.Store(0)
		}
		return turn%probeEvery != 0, true
	}
	if start <= turn && w.next.CompareAndSwap(start, turn+trial<<min(firstPause+w.lost.Load(), maxPause)) {
		w.lost.Add(1)
	}
	return false, turn%compareEvery == 0
}

// pay reports whether remembering costs less than not to.
func (w *ways) pay(perByte float64) bool {
	remembered, ok := cost(&w.remembered, perByte)
	other, known := cost(&w.other, perByte)
	return ok && (!known || remembered < other)
}

// observe learns from a message: the size of what is sent, and the time to encode it, which its receiver adds a third to.
func (w *ways) observe(remembered bool, bytes int, spent time.Duration) {
	a := &w.other
	if remembered {
		a = &w.remembered
	}
	a.Observe(float32(bytes), float32(spent+spent/3), 1./8, false)
}

// cost returns what a message costs where a byte costs so many nanoseconds.
func cost(a *compress.Average, perByte float64) (nanos float64, known bool) {
	bytes, spent, known := a.Load()
	return float64(spent) + float64(bytes)*perByte, known
}
