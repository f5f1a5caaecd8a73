package streams

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	// tick is how often a connection with calls in progress looks after itself.
	tick = 250 * time.Millisecond
	// hintInterval is how often a side with calls in progress asks its peer for an answer, and for its load.
	hintInterval = time.Second
	// deafAfter is how long a ping may stay without an answer while packets arrive.
	deafAfter = 2 * time.Second
	// restAfter is how long calls must have waited, without others and without messages of any size, until the peer is asked less
	// often: they are subscriptions, of which there may be many.
	restAfter = 5 * time.Second
	// restBytes is more than what answers to pings have.
	restBytes = 256
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
			select {
			case c.signal.pong <- struct{}{}:
			default:
			}
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

// lookAfter has the connection looked after while this side waits for the peer. It costs little when it is already.
func (c *Conn) lookAfter() {
	switch {
	case !c.lookedAt.Load() && c.lookedAt.CompareAndSwap(false, true):
		c.spawn(c.maintain) // ends when there is nothing to wait for, or with the connection
	case c.resting.Load() && c.resting.CompareAndSwap(true, false):
		signal(c.signal.wake)
	}
}

// waits reports whether this side waits for the peer, for calls or for drained.
func (c *Conn) waits() bool {
	return c.outstanding.Load() != 0 || c.leaving.Load() || c.silent.Load()
}

// maintain looks after the connection until there is nothing to wait for: it samples the path and pings a silent peer.
func (c *Conn) maintain() {
	timer := time.NewTimer(tick)
	defer timer.Stop()
	var beat heartbeat
	for {
		if !c.waits() {
			beat = heartbeat{}
			c.lookedAt.Store(false)
			if !c.waits() || !c.lookedAt.CompareAndSwap(false, true) { // what has begun meanwhile may have found it true
				return
			}
		}
		pause := beat.pause(c)
		timer.Reset(pause)
		c.resting.Store(pause > tick)
		if pause > tick && c.outstanding.Load() != beat.waiting { // a call that has begun meanwhile may not have seen that
			signal(c.signal.wake)
		}
		select {
		case <-timer.C:
			c.resting.Store(false)
		case <-c.signal.wake:
			beat.wake(time.Now())
			continue
		case <-c.ctx.Done():
			return
		}
		s := c.t.stats()
		c.adapt.update(s)
		if !beat.check(c, s, time.Now()) {
			return
		}
	}
}

// awaitHello waits for the hello of the peer, which may fall silent before it. It reports false when the connection has ended, or
// is to end because no hello has come within the handshake timeout.
func (c *Conn) awaitHello() bool {
	var beat heartbeat
	timer := time.NewTimer(tick)
	defer timer.Stop()
	late := time.NewTimer(c.cfg.HandshakeTimeout)
	defer late.Stop()
	for {
		select {
		case <-c.signal.hello:
			return true
		case <-late.C:
			c.abort(violation(wire.CloseHandshake, "no hello within %v (HandshakeTimeout)", c.cfg.HandshakeTimeout))
			return false
		case <-c.ctx.Done():
			return false
		case <-timer.C:
			timer.Reset(tick)
		}
		if c.outstanding.Load() == 0 || c.confirmed != nil && openOrNil(c.confirmed) != nil {
			beat = heartbeat{} // nobody waits, or the handshake is not complete: whether it will be is not up to pings
		} else if !beat.check(c, c.t.stats(), time.Now()) {
			return false
		}
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

// A heartbeat notices that a peer has gone silent while calls wait for it, or answers no more although packets of it arrive, and
// asks it for its load.
type heartbeat struct {
	received uint64    // packets received when last looked at
	since    time.Time // when something last arrived; zero at the start
	looked   time.Time // when last looked at
	asked    time.Time // when the last ping was sent
	nonce    uint64    // of the oldest ping without an answer
	unheard  time.Time // when that was sent; zero if all have been answered
	from     time.Time // when the first ping since then was sent, if one was
	moved    time.Time // when another socket was tried last

	waiting      int64         // calls in progress when last looked at
	calls, bytes uint64        // begun and received when last looked at
	active       time.Time     // when calls last began, or messages arrived
	paused       time.Duration // until the look that comes next
}

// pause returns how long the peer may be left alone after a look.
func (h *heartbeat) pause(c *Conn) time.Duration {
	h.paused = tick
	if heard := !h.looked.IsZero() && h.since.Equal(h.looked) && h.unheard.IsZero(); heard && h.looked.Sub(h.active) >= restAfter && !c.leaving.Load() {
		h.paused = c.cfg.SilenceTimeout / 2
	}
	return h.paused
}

// wake ends a pause because a call has begun. What has not arrived before says nothing.
func (h *heartbeat) wake(now time.Time) {
	h.since, h.looked, h.active, h.paused = now, now.Add(-1), now, tick
}

// check sends a ping when nothing has arrived for a while. When one has stayed without an answer the peer counts as silent, and
// another socket is tried; when the silence has lasted too long the connection is closed, and the result is false.
func (h *heartbeat) check(c *Conn, s Stats, now time.Time) bool {
	usual := max(h.paused, tick)
	if gap := now.Sub(h.looked); !h.looked.IsZero() && gap > usual+tick {
		if !h.unheard.IsZero() {
			h.unheard = h.unheard.Add(gap - usual)
		}
		h.since = h.since.Add(gap - usual) // this process was not running, so it is not the peer that was silent
	}
	h.looked = now
	if calls := c.nextCall.Load() + c.streamsBegun.Load(); h.active.IsZero() || calls != h.calls || s.BytesReceived-h.bytes > restBytes {
		h.active, h.calls = now, calls
	}
	h.bytes, h.waiting = s.BytesReceived, c.outstanding.Load()
	if !h.unheard.IsZero() && c.pongs.Load() >= h.nonce {
		h.unheard = time.Time{}
	}
	heard := h.since.IsZero() || s.PacketsReceived != h.received
	if heard {
		h.since, h.received = now, s.PacketsReceived
	}
	// Acknowledgements are heard even when all that is longer vanishes.
	deaf := !h.unheard.IsZero() && now.Sub(h.unheard) >= max(deafAfter, 8*s.SmoothedRTT)
	if heard && !deaf {
		if c.silent.Swap(false) {
			c.log.Info("peer is heard of again", zap.Stringer("peer", c.t.remoteAddr()))
		}
		if now.Sub(h.asked) >= hintInterval && now.Sub(h.active) < restAfter {
			h.ping(c, now)
		}
		return true
	}
	silence, what := now.Sub(h.since), "nothing received"
	if d := now.Sub(h.unheard); deaf && d > silence {
		silence, what = d, "no ping answered"
	}
	if silence >= c.cfg.SilenceTimeout {
		c.abort(violation(wire.CloseTimeout, "%s for %v while this side was waiting (SilenceTimeout)", what, silence.Round(time.Millisecond)))
		return false
	}
	patience := max(tick, 3*s.SmoothedRTT)
	if silence >= patience {
		if h.from.Before(h.since) {
			h.from = now
		}
		h.ping(c, now)
	}
	if silence >= 2*patience && (deaf || now.Sub(h.from) >= max(tick, patience-tick)) { // later after a pause, in which it was not asked
		if !c.silent.Swap(true) {
			c.log.Info("peer is silent while calls wait", zap.Stringer("peer", c.t.remoteAddr()), zap.Duration("for", silence))
		}
		if c.cfg.Silent != nil {
			c.cfg.Silent(c)
		}
		if c.dialer && now.Sub(h.moved) >= elsewhereAgain {
			h.moved = now
			c.goElsewhere(c.cfg.SilenceTimeout - silence)
		}
	}
	return true
}

func (h *heartbeat) ping(c *Conn, now time.Time) {
	h.asked = now
	if nonce := c.ping(); h.unheard.IsZero() {
		h.nonce, h.unheard = nonce, now
	}
}

// ping sends a ping and returns its nonce; those of later pings are larger.
func (c *Conn) ping() uint64 {
	nonce := c.pings.Add(1)
	c.sendControl(wire.FramePing, wire.AppendPing(nil, wire.Ping{Nonce: nonce, Load: c.ownLoad()}))
	return nonce
}
