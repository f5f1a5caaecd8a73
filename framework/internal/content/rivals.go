package content

import "sync/atomic"

// Rivals compare two ways to encode messages of a kind of which only one can be had: remembering them, which compares plain
// messages, and packing their lists, after which nothing resembles anything. The one with the shorter messages is taken; one
// message of probeEvery is encoded by the other. Races between messages only blur it.
type rivals struct {
	turn               atomic.Uint64
	remembered, packed atomic.Int64 // sizes of messages, smoothed; 0 before the first
}

// probeEvery is rare, because a probe costs as much as many messages where remembering makes those tiny.
const probeEvery = 256

// pack reports whether the next message is to be packed rather than remembered.
func (r *rivals) pack() bool {
	remembered, packed := r.remembered.Load(), r.packed.Load()
	better := packed != 0 && (remembered == 0 || packed < remembered)
	switch turn := r.turn.Add(1); {
	case turn < period: // until a table has had its time, or a stream its first messages
		return turn%64 == 63
	case turn%probeEvery == 0:
		return !better
	}
	return better
}

// observe learns the size of a message.
func observe(size *atomic.Int64, n int) {
	if old := size.Load(); old != 0 {
		n = int(old + (int64(n)-old)/8)
	}
	size.Store(max(int64(n), 1))
}
