package streams

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	// tick is how often a connection with calls in progress looks after itself. It is also how long the peer may say nothing
	// until it is asked, and how long it may then take to answer, or three round trips if that is more.
	tick = 100 * time.Millisecond
	// askInterval is how often the peer is asked although packets of it arrive: for its load, and because those may be
	// acknowledgements and nothing else.
	askInterval = time.Second
	// deafAfter is how long a question may stay without an answer while packets arrive.
	deafAfter = 2 * time.Second
	// moveAfter is for how long nothing must have arrived until another socket is tried.
	moveAfter = 500 * time.Millisecond
	// moveAgain is how long a connection gives each socket that it tries when its peer is silent. A server sends to where it
	// sees the client only when its question there has been answered, and when a congestion window is full of what was lost,
	// quic-go answers with its next probe timeout, which has doubled several times by then.
	moveAgain = 3 * time.Second
	// restShare is what part of the time that calls have waited, without others and without messages of any size, the peer may say
	// nothing; half of SilenceTimeout at most.
	restShare = 8
	// restBytes is more than what answers to questions have.
	restBytes = 256
)

// movers has room for the connections that try another socket by themselves at a time. When a whole process hears nothing, that
// is hardly because of the sockets of thousands of connections, and opening as many costs what little it gets done.
var movers = make(chan struct{}, 32)

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

// A heartbeat notices that a peer has gone silent while calls wait for it, or that nothing but acknowledgements come from it.
//
// It asks the peer, with a ping, when nothing has arrived for a while, and now and then anyway. A peer that leaves a question
// without an answer, and says nothing else either, counts as silent, and soon another socket is tried; when the silence has lasted
// too long the connection is closed.
type heartbeat struct {
	looked   time.Time     // when last looked at
	wait     time.Duration // until the look after that
	heard    time.Time     // when something last arrived
	received uint64        // packets then
	asked    time.Time     // when the first question without an answer was asked; zero if all have been answered
	nonce    uint64        // of that
	last     time.Time     // when a question was last asked
	moved    time.Time     // when another socket was tried last

	waiting      int64     // calls in progress when last looked at
	calls, bytes uint64    // begun and received then
	active       time.Time // when calls last began, or messages arrived
}

// pause returns how long the peer may be left alone after a look.
func (h *heartbeat) pause(c *Conn) time.Duration {
	h.wait = tick
	if h.asked.IsZero() && !c.leaving.Load() {
		h.wait = h.rest(c)
	}
	return h.wait
}

// rest returns how long the peer may say nothing until it is asked: the longer, the longer calls have done nothing but wait. They
// are subscriptions, of which there may be many.
func (h *heartbeat) rest(c *Conn) time.Duration {
	return max(tick, min(h.looked.Sub(h.active)/restShare, c.cfg.SilenceTimeout/2))
}

// check looks after the connection, and reports false when it has closed it.
func (h *heartbeat) check(c *Conn, s Stats, now time.Time) bool {
	h.look(c, s, now)
	patience := max(tick, 3*s.SmoothedRTT)
	silence := now.Sub(h.heard)
	if h.asked.IsZero() {
		if silence >= max(patience, h.rest(c)) || now.Sub(h.last) >= max(askInterval, h.rest(c)) {
			h.ask(c, now)
		}
		h.forgive(c)
		return true
	}
	unanswered := now.Sub(h.asked)
	deaf := unanswered >= max(deafAfter, 8*s.SmoothedRTT)
	switch {
	case silence >= c.cfg.SilenceTimeout && unanswered >= c.cfg.SilenceTimeout/2: // which is how long nothing may have been asked
		c.abort(violation(wire.CloseTimeout, "nothing received for %v while this side was waiting (SilenceTimeout)", silence.Round(time.Millisecond)))
		return false
	case unanswered >= 2*c.cfg.SilenceTimeout: // longer, as the peer is there
		c.abort(violation(wire.CloseTimeout, "no ping answered for %v while this side was waiting (twice SilenceTimeout)", unanswered.Round(time.Millisecond)))
		return false
	case silence >= 2*patience && unanswered >= patience:
		h.ask(c, now) // again, which the network may let through by now
		h.suspect(c, silence, unanswered)
	case deaf:
		h.suspect(c, unanswered, unanswered)
	default:
		h.forgive(c)
	}
	return true
}

// look takes note of what has happened since the last look.
func (h *heartbeat) look(c *Conn, s Stats, now time.Time) {
	if late := now.Sub(h.looked) - h.wait; !h.looked.IsZero() && late > tick { // this process was not running, so it is not the peer that was silent
		h.heard = h.heard.Add(late)
		if !h.asked.IsZero() {
			h.asked = h.asked.Add(late)
		}
	}
	if h.looked.IsZero() || s.PacketsReceived != h.received {
		h.heard, h.received = now, s.PacketsReceived
	}
	if c.pongs.Load() >= h.nonce {
		h.asked = time.Time{}
	}
	if calls := c.nextCall.Load() + c.streamsBegun.Load(); h.looked.IsZero() || calls != h.calls || s.BytesReceived-h.bytes > restBytes {
		h.active, h.calls = now, calls
	}
	h.looked, h.wait = now, tick
	h.bytes, h.waiting = s.BytesReceived, c.outstanding.Load()
}

// ask sends a question.
func (h *heartbeat) ask(c *Conn, now time.Time) {
	h.last = now
	if nonce := c.ping(); h.asked.IsZero() {
		h.nonce, h.asked = nonce, now
	}
}

// suspect says that the peer is silent, for so long, and has been asked so long ago.
func (h *heartbeat) suspect(c *Conn, silence, unanswered time.Duration) {
	if !c.silent.Swap(true) {
		c.log.Info("peer is silent while calls wait", zap.Stringer("peer", c.t.remoteAddr()), zap.Duration("for", silence))
	}
	if c.cfg.Silent != nil {
		c.cfg.Silent(c)
	}
	due := silence >= moveAfter && unanswered >= moveAfter/2 && h.looked.Sub(h.moved) >= moveAgain
	if c.dialer && due && c.goElsewhere() {
		h.moved = h.looked
	}
}

// goElsewhere tries another socket in the background, unless many connections do so already.
func (c *Conn) goElsewhere() bool {
	select {
	case movers <- struct{}{}:
	default:
		return false
	}
	begun := c.spawn(func() { // ends with its context
		defer func() { <-movers }()
		ctx, cancel := context.WithTimeout(c.ctx, moveAgain)
		defer cancel()
		if err := c.Rebind(ctx); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			c.log.Debug("nothing arrives on another socket either", zap.Stringer("peer", c.t.remoteAddr()), zap.Error(err))
		}
	})
	if !begun {
		<-movers
	}
	return begun
}

// forgive says that the peer is not silent.
func (h *heartbeat) forgive(c *Conn) {
	if c.silent.Load() && c.silent.Swap(false) {
		c.log.Info("peer is heard of again", zap.Stringer("peer", c.t.remoteAddr()))
	}
}
