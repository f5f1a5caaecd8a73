package streams

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/wire"
)

// openControl makes s the control stream. It sends our hello first.
func (c *Conn) openControl(s stream, opened bool) {
	s.setClass(wire.ClassControl.Urgency())
	c.control.init(c, s, wire.ClassControl)
	if opened {
		c.control.w.mu.queue = append(c.control.w.mu.queue, prefaceControl)
	}
	c.control.isControl = true
	_ = c.control.w.send(c.ctx, wire.FrameHead{Type: wire.FrameHello}, wire.AppendHello(nil, c.hello())) // fails only when the connection has ended
	close(c.signal.control)
	if opened {
		c.wg.Go(func() { c.control.read(newFrameReader(s, laneReadBytes, wire.MaxHelloBytes, "")) })
	}
}

// sendControl sends one control frame. It gives up when the connection ends.
func (c *Conn) sendControl(t wire.FrameType, payload []byte) {
	select {
	case <-c.signal.control:
		_ = c.control.w.send(c.ctx, wire.FrameHead{Type: t}, payload) // fails only when the connection has ended
	case <-c.ctx.Done():
	}
}

// TrySendNotices sends a block of notices of package dedup without waiting, or reports false, having sent nothing.
// [Conn.SendNotices] waits. Blocks arrive in the order in which they were sent.
func (c *Conn) TrySendNotices(block []byte) bool {
	select {
	case <-c.signal.control:
		return c.control.w.trySend(wire.FrameHead{Type: wire.FrameNotices}, block)
	default:
		return false
	}
}

// SendNotices sends a block of notices of package dedup, of at most [wire.MaxNoticesBytes]. It gives up when the connection
// ends.
func (c *Conn) SendNotices(block []byte) { c.sendControl(wire.FrameNotices, block) }

// handleControl acts on a control frame. Its error closes the connection.
func (c *Conn) handleControl(t wire.FrameType, payload []byte) error {
	switch t {
	case wire.FrameHello:
		return c.handleHello(payload)
	case wire.FrameSchema:
		a, err := wire.ParseSchemaAnswer(payload)
		if err != nil {
			return err
		}
		if a.Refused {
			c.log.Info("peer refused a schema: generic CBOR from now on", zap.String("reason", a.Reason))
		}
		if !c.schemasOut.answer(a.Num, a.Refused) {
			return violation(wire.CloseProtocol, "answer to schema %d, which was never sent", a.Num)
		}
		return nil
	case wire.FrameCredit:
		credit, err := wire.ParseCredit(payload)
		if err == nil {
			c.credits.raise(credit.Stream, credit.Limit)
		}
		return err
	case wire.FrameNotices:
		if c.cfg.Notices == nil {
			return violation(wire.CloseProtocol, "notices for a side that remembers nothing")
		}
		if err := c.cfg.Notices(c, payload); err != nil {
			return violation(wire.CloseProtocol, "notices: %v", err)
		}
		return nil
	case wire.FramePing:
		p, err := wire.ParsePing(payload)
		if err == nil {
			c.loadTold(p.Load)
			c.sendControl(wire.FramePong, wire.AppendPing(nil, wire.Ping{Nonce: p.Nonce, Load: c.ownLoad()}))
		}
		return err
	case wire.FramePong:
		p, err := wire.ParsePing(payload)
		if err == nil {
			c.loadTold(p.Load)
			c.pongs.Store(p.Nonce)
			signal(c.signal.pong)
		}
		return err
	case wire.FrameGoAway:
		g, err := wire.ParseGoAway(payload)
		if err != nil {
			return err
		}
		c.log.Debug("peer sent goaway", zap.String("text", g.Text))
		c.goneAway.Store(true)
		c.signal.leaves.Do(func() { close(c.signal.goneAway) })
		c.checkDrained()
		return nil
	case wire.FrameDrained:
		if err := wire.ParseDrained(payload); err != nil {
			return err
		}
		select {
		case <-c.signal.drained:
			return violation(wire.CloseProtocol, "second drained frame")
		default:
			close(c.signal.drained)
			return nil
		}
	}
	return violation(wire.CloseProtocol, "frame of type %d on the control stream", t)
}

func (c *Conn) handleHello(payload []byte) error {
	h, err := wire.ParseHello(payload)
	if err != nil {
		return err
	}
	if c.mu.hasHello { // only the reader of the control stream touches hasHello
		return violation(wire.CloseProtocol, "second hello")
	}
	c.mu.hasHello = true
	p := &peer{Hello: *h, methods: make(map[string]uint64, len(h.Methods))}
	for i, m := range h.Methods {
		p.methods[m] = uint64(i + 1)
	}
	c.schemasOut.peerKnows(h.Schemas)
	c.peer.Store(p)
	close(c.signal.hello)
	return nil
}

// Role returns what the connection is for: what the dialer's hello says.
func (c *Conn) Role() wire.Role {
	if p := c.peer.Load(); p != nil && !c.dialer {
		return p.Role
	}
	return c.cfg.Role
}

// GoAway tells the peer that calls which arrive from now on are refused. It returns without waiting; see [Conn.Drain].
func (c *Conn) GoAway(text string) {
	if !c.leaving.CompareAndSwap(false, true) {
		return
	}
	c.lookAfter() // from here on we wait for the peer
	payload := wire.AppendGoAway(nil, wire.GoAway{Text: text})
	select {
	case <-c.signal.control:
		if c.control.w.trySend(wire.FrameHead{Type: wire.FrameGoAway}, payload) {
			return
		}
	default:
	}
	c.spawn(func() { c.sendControl(wire.FrameGoAway, payload) }) // ends when the frame is queued or the connection has ended
}

// Leaving reports whether this side has sent goaway.
func (c *Conn) Leaving() bool { return c.leaving.Load() }

// Drain sends goaway, waits until the calls of both sides have ended and their results have arrived, and closes
// the connection. When ctx ends first it closes the connection all the same and returns the cause.
//
// The wait for the peer's drained frame is what keeps results from being lost: quic-go drops what is unsent and
// unread when a connection closes.
func (c *Conn) Drain(ctx context.Context, text string) error {
	c.GoAway(text)
	for {
		wait := c.signal.idle
		if c.serving.Load() == 0 && c.outstanding.Load() == 0 {
			wait = c.signal.drained
		}
		select {
		case <-wait:
			if wait == c.signal.drained {
				c.CloseWith(wire.CloseDrained, text)
				return nil
			}
		case <-c.ctx.Done():
			<-c.signal.closed
			return nil // the peer left first: it had nothing to wait for
		case <-ctx.Done():
			c.CloseWith(wire.CloseNone, "drain took too long")
			return context.Cause(ctx)
		}
	}
}

// Retire is Drain on the side of a dialer that needs the connection no more: it also refuses calls from here, with
// [ErrDraining].
func (c *Conn) Retire(ctx context.Context, text string) error {
	c.retired.Store(true) // before Drain looks at the number of calls, which callStarted raises before it looks here
	return c.Drain(ctx, text)
}

// checkDrained says drained once the peer has sent goaway and our last call has ended.
func (c *Conn) checkDrained() {
	if !c.goneAway.Load() || c.outstanding.Load() != 0 {
		return
	}
	c.mu.Lock()
	first := !c.mu.drained
	c.mu.drained = true
	c.mu.Unlock()
	if first {
		c.sendControl(wire.FrameDrained, wire.AppendDrained(nil))
	}
}

// callStarted counts a call of ours, or refuses it when the peer takes no more.
func (c *Conn) callStarted(weight int64) error {
	n := c.outstanding.Add(1)
	c.load.Add(weight)
	if c.goneAway.Load() || c.retired.Load() {
		c.callEnded(weight)
		return ErrDraining
	}
	if n == 1 || c.resting.Load() {
		c.lookAfter()
	}
	return nil
}

func (c *Conn) callEnded(weight int64) {
	c.load.Add(-weight)
	if c.outstanding.Add(-1) == 0 {
		signal(c.signal.idle)
		if c.goneAway.Load() {
			c.checkDrained()
		}
	}
}

func (c *Conn) serveEnded() {
	if c.serving.Add(-1) == 0 {
		signal(c.signal.idle)
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// maxLoad bounds the load that is believed of a peer.
const maxLoad = 1 << 30

// loadTold takes note of the load of the peer, without the calls of this connection.
func (c *Conn) loadTold(n uint64) {
	others := max(int64(min(n, maxLoad))-c.outstanding.Load(), 0)
	c.peerLoad.Store(&peerLoad{int(others), time.Now()})
}

// ownLoad is what pings and pongs say.
func (c *Conn) ownLoad() uint64 {
	if c.cfg.Load != nil {
		return uint64(max(c.cfg.Load(), 0))
	}
	return uint64(c.serving.Load())
}

// ping sends a ping and returns its nonce; those of later pings are larger.
func (c *Conn) ping() uint64 {
	nonce := c.pings.Add(1)
	c.sendControl(wire.FramePing, wire.AppendPing(nil, wire.Ping{Nonce: nonce, Load: c.ownLoad()}))
	return nonce
}
