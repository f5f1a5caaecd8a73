package streams

import (
	"math"
	"slices"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	maxBulkWindow = 16 << 20
	minBulkWindow = 16 << 10

	// What may be queued. On a short path the round trip is nothing and the time goes into processing at both ends, where
	// 2 ms are needed to keep them busy.
	minQueueTime = 2 * time.Millisecond
	maxQueueTime = 5 * time.Millisecond

	// Below shortRTT the round trip says more about the processors than about queues. The window is then what the goodput
	// needs: shortFactor round trips and minQueueTime.
	shortRTT       = time.Millisecond
	shortFactor    = 1.25
	minShortWindow = 256 << 10

	minInterval   = 5 * time.Millisecond // between two looks at the window
	shortInterval = 10 * time.Millisecond
	goodputLooks  = 8           // of which the best counts
	idleAfter     = time.Second // without bytes, what was learned of the goodput is forgotten
	spareFactor   = 2           // how much more than what is used is granted at most, until a queue has been seen
	fullFactor    = 1.1         // from then on: little, because the least round trip does not tell of a queue that comes and goes
	firstGrowth   = 2           // in an interval, until a queue has been seen
	growth        = 1.25        // from then on
	fairBytes     = 512         // more in each, so that processes that have less get more in time
)

// queueTime returns how long the queue may be that this side makes.
func queueTime(base time.Duration) time.Duration {
	return min(minQueueTime+base/16, maxQueueTime)
}

// A window is how many bytes the streams of class bulk that this side reads from a host may have in flight, together. It follows
// LEDBAT (RFC 6817) in what it wants, a queue that is at most queueTime long, and in that it gives way to whoever makes a
// longer one. How it gets there is that of FAST TCP (Wei, Jin, Low, Hegde, 2006): by the ratio of the round trip that is
// wanted to the one that is seen, because the paths of today would take minutes with a packet in each round trip.
type window struct {
	baseline baseline

	bytes   int
	known   bool // a queue was seen since the path is what it is: it was full
	granted int  // bytes, or less while the queue is left to itself
	goodput [goodputLooks]float64
	looks   int
	queued  int // the look at which a queue was seen last

	since time.Time // start of the interval
	last  time.Time // when bytes came last
	read  int       // bytes in the interval
	least time.Duration
}

func (w *window) reset() {
	w.bytes, w.known, w.looks, w.queued, w.since = wire.InitialCreditBytes, false, 0, 0, time.Time{}
	w.granted = w.bytes
	clear(w.goodput[:])
}

// add says that n bytes were read and which round trip was measured last. Whatever the queue, the window is large enough for
// floor bytes per second. It reports whether an interval has ended.
func (w *window) add(now time.Time, n int, rtt time.Duration, floor int) bool {
	if w.since.IsZero() || now.Sub(w.last) > idleAfter {
		w.reset()
		w.since, w.last, w.read, w.least = now, now, 0, rtt
		return true
	}
	w.last = now
	w.read += n
	w.least = min(w.least, rtt)
	elapsed := now.Sub(w.since)
	if elapsed < max(w.least, minInterval) || w.least < shortRTT && elapsed < shortInterval {
		return false
	}
	w.goodput[w.looks%goodputLooks] = float64(w.read) / elapsed.Seconds()
	w.looks++
	w.look(now, float64(floor))
	w.since, w.read, w.least = now, 0, rtt
	return true
}

// look sets the window at the end of an interval.
func (w *window) look(now time.Time, floor float64) {
	before := w.baseline.base
	base, draining := w.baseline.observe(now, w.least)
	if before > 0 && base > before+2*baseNoise {
		w.known = false // a longer path wants a larger window, perhaps a much larger one
	}
	best, queue := slices.Max(w.goodput[:]), queueTime(base)
	if base < shortRTT {
		w.bytes = clampWindow(best*(shortFactor*base.Seconds()+queue.Seconds()), minShortWindow)
		w.granted = w.bytes
		return
	}
	least := max(floor*w.least.Seconds(), minBulkWindow)
	if draining {
		w.granted = clampWindow(best*base.Seconds()/2, least)
		return
	}
	queued := w.least >= base+queue/2
	if queued {
		w.queued = w.looks
	}
	wanted := (base + queue).Seconds()
	factor := math.Sqrt(wanted / w.least.Seconds())
	var most float64
	switch {
	case !w.known && !queued:
		factor = firstGrowth
		most = spareFactor * best * wanted
	case !w.known:
		w.known = true
		factor = 1
		most = best * wanted
	case w.queued > 0 && w.looks-w.queued < goodputLooks:
		most = fullFactor * w.mean() * wanted
	default:
		factor = growth
		most = fullFactor * best * wanted
	}
	w.bytes = clampWindow(min(float64(w.bytes)*factor+fairBytes, max(most, wire.InitialCreditBytes)), least)
	w.granted = w.bytes
}

// mean returns the goodput of the last intervals.
func (w *window) mean() (sum float64) {
	for _, g := range w.goodput {
		sum += g
	}
	return sum / float64(min(w.looks, goodputLooks))
}

func clampWindow(bytes, least float64) int {
	return int(min(max(bytes, least), maxBulkWindow))
}

// A baseline is what the round trip is while nothing waits.
type baseline struct {
	base      time.Duration // the least round trip lately; 0 while there is none
	confirmed time.Time     // when a round trip as short as base was last seen
	drain     time.Time     // until then little is taken, so that the queue is empty for a moment
	least     time.Duration // of the round trips seen while it is, and a little later
}

const (
	// baseLasts is how long a round trip counts as the shortest that the path has. After that the queue is left to
	// itself for a moment, and what is then measured is the new one: so a path that has become longer is learned, and a queue
	// that is always there, made by somebody else, counts as part of the path in the end.
	baseLasts = 10 * time.Second
	// baseNoise is by how much a round trip may be longer than the shortest and still confirm it.
	baseNoise = 500 * time.Microsecond
	// drainTrips is how many round trips the queue is left to itself for: one until the sender has learned that it has less
	// credit, one until that is measured.
	drainTrips = 3
)

// observe takes in a round trip that was measured while data came, and returns the base and whether the queue should be
// left to itself at the moment.
func (m *baseline) observe(now time.Time, rtt time.Duration) (base time.Duration, draining bool) {
	shorter := rtt < m.base-2*baseNoise // what is left of the queue may still be in it
	if m.base == 0 || rtt <= m.base+baseNoise {
		m.confirmed = now
		if m.base == 0 || rtt < m.base {
			m.base = rtt
		}
	}
	switch {
	case !m.drain.IsZero():
		m.least = min(m.least, rtt)
		if now.After(m.drain) {
			m.base, m.confirmed, m.drain = m.least, now, time.Time{}
		}
	case shorter || now.Sub(m.confirmed) >= baseLasts:
		m.drain, m.least = now.Add(drainTrips*rtt), rtt
	}
	return m.base, !m.drain.IsZero()
}
