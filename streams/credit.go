package streams

import (
	"sync"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// Bulk data is sent only against credit that the receiving side grants stream by stream, because the receiver's
// credit is the one limit that bounds the queues behind the sender: its send queue, the network's, the receiver's.
// A stream that is not read holds its own credit and nobody else's.

const (
	minBulkWindow = wire.InitialCreditBytes // for all streams of a connection together
	maxBulkWindow = 16 << 20
	minShare      = 64 << 10 // of one stream
	// windowFactor x goodput x round trip is what may be in flight: a quarter more than the path holds, so that it
	// is filled while the queue stays short. Measured: 98 % of the goodput, small calls at 1.2 round trips.
	windowFactor = 1.25
	// queueTime is what may be queued besides: on a short path the round trip is nothing, and what takes time is the
	// processing at both ends.
	queueTime  = 2 * time.Millisecond
	grantSteps = 8 // in which a share is granted
)

// credits manages the credit of one connection in both directions.
type credits struct {
	conn *Conn

	mu struct {
		sync.Mutex
		gates  map[uint64]*creditGate  // streams of class bulk that we send on
		meters map[uint64]*creditMeter // streams of class bulk that we read
		window int                     // bytes in flight that we grant, all streams together
		bytes  int                     // read since the last look at the window
		since  time.Time
	}
}

func (c *credits) init(conn *Conn) {
	c.conn = conn
	c.mu.gates, c.mu.meters = map[uint64]*creditGate{}, map[uint64]*creditMeter{}
	c.mu.window = minBulkWindow
}

// sender returns the gate that sending on a stream passes, nil unless it is of class bulk.
func (c *credits) sender(s sendStream, class wire.Class) *creditGate {
	if class != wire.ClassBulk {
		return nil
	}
	g := &creditGate{changed: make(chan struct{}, 1), limit: wire.InitialCreditBytes}
	c.mu.Lock()
	c.mu.gates[s.id()] = g
	c.mu.Unlock()
	// Not earlier: what is queued when a call has ended needs credit as well.
	s.onSendDone(func(err error) {
		g.close(err)
		c.mu.Lock()
		delete(c.mu.gates, s.id())
		c.mu.Unlock()
	})
	return g
}

// receiver returns the meter that reading from a stream feeds, nil unless it is of class bulk.
func (c *credits) receiver(stream uint64, class wire.Class) *creditMeter {
	if class != wire.ClassBulk {
		return nil
	}
	m := &creditMeter{credits: c, stream: stream, granted: wire.InitialCreditBytes}
	c.mu.Lock()
	c.mu.meters[stream] = m
	c.mu.Unlock()
	return m
}

// forget drops a stream from which nothing more is read.
func (c *credits) forget(stream uint64) {
	c.mu.Lock()
	delete(c.mu.meters, stream)
	c.mu.Unlock()
}

// raise acts on a credit frame. Credit for a stream that has ended is ignored.
func (c *credits) raise(stream, limit uint64) {
	c.mu.Lock()
	g := c.mu.gates[stream]
	c.mu.Unlock()
	if g != nil {
		g.raise(limit)
	}
}

func (c *credits) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.mu.gates {
		g.close(err)
	}
}

// share returns how much one stream may have in flight, after n more bytes were read.
func (c *credits) share(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.mu.bytes += n
	if c.mu.since.IsZero() {
		c.mu.since, c.mu.bytes = now, 0
	}
	rtt := c.conn.t.stats().MinRTT
	if elapsed := now.Sub(c.mu.since); elapsed >= max(4*rtt, 10*time.Millisecond) {
		goodput := float64(c.mu.bytes) / elapsed.Seconds()
		c.mu.window = min(max(int(goodput*(windowFactor*rtt.Seconds()+queueTime.Seconds())), minBulkWindow), maxBulkWindow)
		c.mu.since, c.mu.bytes = now, 0
	}
	return max(c.mu.window/max(len(c.mu.meters), 1), minShare)
}

// A creditMeter grants credit for one stream that this side reads. It belongs to the reader of the stream.
type creditMeter struct {
	credits *credits
	stream  uint64
	last    int // bytes read when last asked for a share
	granted int
}

// read says that total bytes have been read from the stream, and grants more when an eighth of the share is used. The
// steps must be small: between two of them the sender has that much less than its share, and a share that was left with
// less than what the path holds would measure a lower goodput and shrink.
func (m *creditMeter) read(total int) {
	if total-m.last < minShare/grantSteps && m.granted-total > minShare/2 {
		return
	}
	share := m.credits.share(total - m.last)
	m.last = total
	if limit := total + share; limit-m.granted >= share/grantSteps {
		m.granted = limit
		m.credits.conn.sendControl(wire.FrameCredit, wire.AppendCredit(nil, wire.Credit{Stream: m.stream, Limit: uint64(limit)}))
	}
}

// A creditGate holds a sender back until the receiver has granted credit. take is called by one goroutine at a time.
type creditGate struct {
	changed chan struct{} // capacity 1; sent to when limit rises or err is set

	mu    sync.Mutex
	sent  uint64
	limit uint64
	err   error
}

// take waits for credit and takes at most n bytes of it.
func (g *creditGate) take(n int) (int, error) {
	for {
		g.mu.Lock()
		free, err := g.limit-g.sent, g.err
		if err == nil && free > 0 {
			n = int(min(uint64(n), free))
			g.sent += uint64(n)
			g.mu.Unlock()
			return n, nil
		}
		g.mu.Unlock()
		if err != nil {
			return 0, err
		}
		<-g.changed
	}
}

func (g *creditGate) raise(limit uint64) {
	g.mu.Lock()
	g.limit = max(g.limit, limit)
	g.mu.Unlock()
	signal(g.changed)
}

func (g *creditGate) close(err error) {
	g.mu.Lock()
	g.err = err
	g.mu.Unlock()
	signal(g.changed)
}
