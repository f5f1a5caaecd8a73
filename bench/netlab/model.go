package netlab

import (
	"math/rand/v2"
	"time"
)

// A model decides the fate of each packet of one direction. It knows no sockets and no clock: times are nanoseconds
// on a clock of the caller's that never goes back by more than packets of one batch do. One goroutine owns it.
type model struct {
	link   Link
	random *rand.Rand
	stats  Stats
	bad    bool // state of link.Burst

	finish  int64 // when the bottleneck has transmitted all that was accepted
	last    int64 // departure of the last packet that must not be overtaken
	waiting fifo  // packets in front of the bottleneck; their sum is queued
	queued  int   // bytes

	lateness   int64 // sum over stats.PassedPackets
	maxPackets int   // that wait at the bottleneck
}

func newModel(seed uint64, d Direction, maxPackets int) *model {
	return &model{random: rand.New(rand.NewPCG(seed, uint64(d))), maxPackets: maxPackets}
}

// A fate is what happens to a packet: copies 0 means that it is dropped.
type fate struct {
	copies int
	depart int64 // nanoseconds
}

// arrive takes a packet of size bytes that arrived at time now.
func (m *model) arrive(now int64, size int) fate {
	m.stats.Packets++
	m.stats.Bytes += uint64(size)
	l := &m.link
	drop := &m.stats.Dropped
	switch {
	case l.BlackHole:
		drop.BlackHole++
		return fate{}
	case l.MTU > 0 && size > l.MTU:
		drop.MTU++
		return fate{}
	}
	lost := m.draw(l.Loss)
	burst := m.drawBurst()

	sent := now
	if l.Rate > 0 {
		m.settle(now)
		switch {
		case m.queued+size > l.queueBytes():
			drop.Queue++
			return fate{}
		case m.waiting.len() >= m.maxPackets:
			drop.Overflow++
			return fate{}
		}
		transmission := (int64(size)*8*int64(time.Second) + l.Rate - 1) / l.Rate
		sent = max(now, m.finish) + transmission
		m.finish = sent
		m.queued += size
		m.waiting.push(waiting{sent, size})
		m.stats.MaxQueueBytes = max(m.stats.MaxQueueBytes, m.queued)
		m.stats.MaxQueueDelay = max(m.stats.MaxQueueDelay, time.Duration(sent-now))
	}
	switch {
	case lost:
		drop.Loss++
		return fate{}
	case burst:
		drop.Burst++
		return fate{}
	}

	f := fate{copies: 1, depart: sent + int64(l.Delay)}
	if l.Jitter > 0 {
		f.depart += m.random.Int64N(int64(l.Jitter) + 1)
	}
	if !l.JitterReorders {
		f.depart = max(f.depart, m.last)
		m.last = f.depart
	}
	if m.draw(l.Reorder) {
		m.stats.HeldBack++
		f.depart += int64(l.ReorderDelay)
	}
	if m.draw(l.Duplicate) {
		m.stats.Duplicated++
		f.copies = 2
	}
	return f
}

func (m *model) draw(probability float64) bool {
	return probability > 0 && m.random.Float64() < probability
}

func (m *model) drawBurst() bool {
	b := &m.link.Burst
	if b.GoodToBad == 0 {
		m.bad = false
		return false
	}
	if m.bad {
		m.bad = !m.draw(b.BadToGood)
	} else {
		m.bad = m.draw(b.GoodToBad)
	}
	if !m.bad {
		return false
	}
	return b.LossBad == 0 || m.draw(b.LossBad)
}

// settle takes out of the queue what has been transmitted by now.
func (m *model) settle(now int64) {
	for m.waiting.len() > 0 && m.waiting.front().finish <= now {
		m.queued -= m.waiting.front().size
		m.waiting.pop()
	}
}

// departed counts a packet that left at time now instead of depart.
func (m *model) departed(now, depart int64, size int) {
	late := max(0, now-depart)
	m.stats.PassedPackets++
	m.stats.PassedBytes += uint64(size)
	m.lateness += late
	m.stats.MaxLateness = max(m.stats.MaxLateness, time.Duration(late))
	if late > int64(time.Millisecond) {
		m.stats.LatePackets++
	}
}

// snapshot returns the figures at time now.
func (m *model) snapshot(now int64) Stats {
	m.settle(now)
	s := m.stats
	s.QueueBytes = m.queued
	if m.queued > 0 {
		s.QueueDelay = time.Duration(max(0, m.finish-now))
	}
	if s.PassedPackets > 0 {
		s.Lateness = time.Duration(m.lateness / int64(s.PassedPackets))
	}
	return s
}

// waiting is a packet in front of the bottleneck.
type waiting struct {
	finish int64 // when it has been transmitted
	size   int
}

// A fifo is a queue of packets in front of the bottleneck, in a ring whose capacity is a power of two. The bound of the
// queue in bytes and maxPackets bound it.
type fifo struct {
	ring        []waiting
	first, next uint // counted on, never wrapped; next-first packets wait
}

func (q *fifo) len() int       { return int(q.next - q.first) }
func (q *fifo) front() waiting { return q.ring[q.first&uint(len(q.ring)-1)] }
func (q *fifo) pop()           { q.first++ }

func (q *fifo) push(w waiting) {
	if q.len() == len(q.ring) {
		ring := make([]waiting, max(64, 2*len(q.ring)))
		n := uint(0)
		for ; q.len() > 0; q.pop() {
			ring[n] = q.front()
			n++
		}
		q.ring, q.first, q.next = ring, 0, n
	}
	q.ring[q.next&uint(len(q.ring)-1)] = w
	q.next++
}

// A departure is a packet on its way.
type departure struct {
	at   int64  // nanoseconds
	seq  uint64 // of arrival, so that packets that leave at the same time stay in order
	slot int    // where the packet is
}

func (d departure) before(e departure) bool { return d.at < e.at || d.at == e.at && d.seq < e.seq }

// departures is a heap of packets by the time they leave. Its owner bounds it.
type departures []departure

func (h *departures) push(d departure) {
	q := append(*h, d)
	*h = q
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !d.before(q[parent]) {
			break
		}
		q[i] = q[parent]
		i = parent
	}
	q[i] = d
}

// second returns the packet that leaves after the first one.
func (h departures) second() (d departure, ok bool) {
	switch {
	case len(h) < 2:
		return departure{}, false
	case len(h) == 2 || h[1].before(h[2]):
		return h[1], true
	}
	return h[2], true
}

func (h *departures) pop() departure {
	q := *h
	first, last := q[0], q[len(q)-1]
	q = q[:len(q)-1]
	*h = q
	if len(q) == 0 {
		return first
	}
	i := 0
	for {
		child := 2*i + 1
		if child >= len(q) {
			break
		}
		if child+1 < len(q) && q[child+1].before(q[child]) {
			child++
		}
		if !q[child].before(last) {
			break
		}
		q[i] = q[child]
		i = child
	}
	q[i] = last
	return first
}
