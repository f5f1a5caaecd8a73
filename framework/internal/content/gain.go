package content

import "sync/atomic"

const (
	// What a table costs both sides: measured 0.5 microseconds for a message of 3.6 KB that comes from a slot, hashed and
	// compared by the sender, copied and summed by the receiver, and 1.2 for one that has nothing in common.
	tableNanos        = 600.0
	tableNanosPerByte = 0.4

	// period is how many messages are looked at before it is decided whether a table pays: enough for a few hundred bodies to
	// be seen twice and acknowledged.
	period = 256
	// maxPause is the longest time that a table which does not pay is left alone, in periods, as a power of two.
	maxPause = 10
)

// A gain tells whether the tables have paid lately for a kind of messages: what they saved against what they cost. While
// they do not, they are tried again for a period now and then, less and less often. Races between messages only blur it.
type gain struct {
	count  atomic.Int64 // messages looked at
	saved  atomic.Int64 // bytes in this period
	cost   atomic.Int64 // bytes that would have had to be saved in this period
	pause  atomic.Int64 // messages to leave alone
	failed atomic.Int64 // periods in a row that have not paid
}

// use reports whether to use a table for a message of about n bytes where a byte costs so many nanoseconds to send.
func (g *gain) use(n int, perByte float64) bool {
	if float64(n)*perByte < tableNanos+tableNanosPerByte*float64(n) {
		return false
	}
	return g.pause.Load() <= 0 || g.pause.Add(-1) <= 0
}

// pays reports whether tables are in use.
func (g *gain) pays() bool { return g.pause.Load() <= 0 }

// observe learns from a message for which a table was used.
func (g *gain) observe(plain, sent int, perByte float64) {
	g.saved.Add(int64(plain - sent))
	g.cost.Add(int64((tableNanos + tableNanosPerByte*float64(plain)) / perByte))
	if g.count.Add(1)%period != 0 {
		return
	}
	if g.saved.Swap(0) > g.cost.Swap(0) {
		g.failed.Store(0)
		return
	}
	g.pause.Store(period << min(g.failed.Add(1), maxPause))
}
