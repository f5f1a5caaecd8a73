package content

import (
	"math"
	"sync/atomic"
	"time"
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
	turn, next, lost  atomic.Int64 // messages; when the next trial begins; trials lost in a row
	remembered, other figure
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
	remembered, ok := w.remembered.cost(perByte)
	other, known := w.other.cost(perByte)
	return ok && (!known || remembered < other)
}

// observe learns from a message: the size of what is sent, and the time to encode it, which its receiver adds a third to.
func (w *ways) observe(remembered bool, bytes int, spent time.Duration) {
	f := &w.other
	if remembered {
		f = &w.remembered
	}
	f.observe(float32(bytes), float32(spent+spent/3))
}

// A figure is the moving averages of one way: bytes and nanoseconds for a message, each a float32. Before the first sample it
// is 0.
type figure struct{ bits atomic.Uint64 }

func (f *figure) cost(perByte float64) (nanos float64, known bool) {
	b := f.bits.Load()
	return float64(math.Float32frombits(uint32(b))) + float64(math.Float32frombits(uint32(b>>32)))*perByte, b != 0
}

func (f *figure) observe(bytes, nanos float32) {
	nanos = max(nanos, 1)
	if b := f.bits.Load(); b != 0 {
		oldBytes, old := math.Float32frombits(uint32(b>>32)), math.Float32frombits(uint32(b))
		bytes = oldBytes + (bytes-oldBytes)/8
		// What makes a sample slow is often something else, such as a thread that had to wait. So the average goes down fast
		// and up slowly.
		if nanos < old {
			nanos = (nanos + old) / 2
		} else {
			nanos = old + (min(nanos, 4*old)-old)/8
		}
	}
	f.bits.Store(uint64(math.Float32bits(bytes))<<32 | uint64(math.Float32bits(nanos)))
}
