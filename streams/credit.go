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
	minShare   = 4 << 10 // of one stream
	grantSteps = 8       // in which a share is granted
	minStep    = 4 << 10 // bytes between two grants, because a frame has its cost
)

// credits manages the credit of one connection in both directions.
type credits struct {
	conn  *Conn
	rtt   func() time.Duration // that was measured last
	route *route               // has the window of what we read

	mu struct {
		sync.Mutex
		gates map[uint64]*creditGate // streams of class bulk that we send on
	}
}

func (c *credits) init(conn *Conn) {
	c.conn = conn
	c.rtt = func() time.Duration { return conn.t.stats().LatestRTT }
	if t, ok := conn.t.(interface{ lastRTT() time.Duration }); ok {
		c.rtt = t.lastRTT
	}
	c.mu.gates = map[uint64]*creditGate{}
	c.route = takeRoute(conn.t.remoteAddr())
}

// end frees what the connection shares with others.
func (c *credits) end() { c.route.release() }

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
	c.route.enter(m)
	return m
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

// A creditMeter grants credit for one stream that this side reads. It belongs to the reader of the stream, but for the
// last three fields, which belong to the route.
type creditMeter struct {
	credits  *credits
	stream   uint64
	last     int // bytes read when last asked for a share
	next     int // bytes read from which to ask again
	granted  int
	lastRead time.Time
	arrived  int     // bytes in the interval
	part     float64 // of the goodput, average
}

// read says that total bytes have been read from the stream, and grants more when an eighth of the share is used. The
// steps must be small: between two of them the sender has that much less than its share, and each measures the round
// trip.
func (m *creditMeter) read(total int) {
	if total < m.next {
		return
	}
	share := m.credits.route.share(m, total-m.last, m.credits.rtt(), m.credits.conn.cfg.BulkFloor)
	m.last = total
	step := max(share/grantSteps, minStep)
	limit := total + share
	if limit-m.granted >= step {
		m.granted = limit
		m.credits.conn.sendControl(wire.FrameCredit, wire.AppendCredit(nil, wire.Credit{Stream: m.stream, Limit: uint64(limit)}))
	}
	m.next = min(m.granted, max(total, m.granted-share)+step)
}

// end says that nothing more is read.
func (m *creditMeter) end() { m.credits.route.leave(m) }

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
