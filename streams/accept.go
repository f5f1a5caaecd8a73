package streams

import (
	"errors"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// acceptStreams serves the streams that the peer opens.
func (c *Conn) acceptStreams() {
	for {
		s, err := c.t.acceptStream(c.ctx)
		if err != nil {
			return
		}
		c.wg.Go(func() { c.serveStream(s) })
	}
}

// serveStream reads the preface of a stream that the peer opened and the first frame of a call, and serves it.
func (c *Conn) serveStream(s stream) {
	r := c.callReader(s)
	r.idle = s.setReadDeadline
	preface, err := r.readByte()
	if err != nil { // the peer gave the stream up
		c.rejectStream(s, r, wire.ResetNone)
		return
	}
	class := wire.Class(preface &^ prefaceMask)
	switch {
	case preface == prefaceControl && !c.dialer:
		c.becomeControl(s, r)
	case preface&prefaceMask == prefaceLane && class.Valid():
		c.becomeLane(s, r, class)
	case preface&prefaceMask == prefaceCall && class.Valid():
		c.serveCall(s, r, class)
	default:
		c.rejectStream(s, r, wire.ResetProtocol)
		c.abort(violation(wire.CloseProtocol, "stream with the unknown preface %#x", preface))
	}
}

// rejectStream ends a stream of the peer that carries nothing for us.
func (c *Conn) rejectStream(s stream, r *frameReader, code uint64) {
	r.release()
	s.stopRead(code)
	s.resetWrite(code)
	s.releaseCredit()
}

// grow moves what r has read so far into a reader of another size.
func (r *frameReader) grow(size, maxLen int, knob string) *frameReader {
	n := newFrameReader(r.s, size, maxLen, knob)
	if rest := r.buf.B[r.pos:]; len(rest) <= cap(n.buf.B) {
		n.buf.B = append(n.buf.B, rest...)
	} else {
		n.resize(rest, size)
	}
	r.release()
	return n
}

func (c *Conn) becomeControl(s stream, r *frameReader) {
	c.mu.Lock()
	second := c.mu.hasControl
	c.mu.hasControl = true
	c.mu.Unlock()
	if second {
		c.rejectStream(s, r, wire.ResetProtocol)
		c.abort(violation(wire.CloseProtocol, "second control stream"))
		return
	}
	s.setReadDeadline(time.Time{})
	c.openControl(s, false)
	c.control.read(r.grow(laneReadBytes, wire.MaxHelloBytes, ""))
}

func (c *Conn) becomeLane(s stream, r *frameReader, class wire.Class) {
	if !c.countLane() {
		c.rejectStream(s, r, wire.ResetProtocol)
		return
	}
	s.setReadDeadline(time.Time{})
	l := new(lane)
	l.init(c, s, class)
	l.read(r.grow(laneReadBytes, wire.MaxLaneFrameBytes, ""))
}

// countLane counts a lane of the peer. It reports false, having closed the connection, when that is one too many.
func (c *Conn) countLane() bool {
	c.mu.Lock()
	c.mu.peerLanes++
	n := c.mu.peerLanes
	c.mu.Unlock()
	if n > maxPeerLanes {
		c.abort(violation(wire.CloseLimit, "more than %d lanes", maxPeerLanes))
	}
	return n <= maxPeerLanes
}

func (c *Conn) becomeWide(s recvStream, r *frameReader, class wire.Class) {
	if !c.countLane() {
		return
	}
	s.setReadDeadline(time.Time{})
	l := new(lane)
	l.init(c, nil, class)
	l.limit = wire.MaxWideFrameBytes
	wide := r.grow(laneReadBytes, wire.MaxWideFrameBytes, "")
	wide.pending = &c.incoming
	l.read(wide)
}

// serveCall reads the request of a call that has a stream of its own.
func (c *Conn) serveCall(s stream, r *frameReader, class wire.Class) {
	s.setClass(class.Urgency())
	o := &ownStream{s: s, w: newWriter(s, &c.tasks, c.credits.sender(s, class), nil), r: r}
	r.meter = c.credits.receiver(s.id(), class)
	in := &Incoming{conn: c, Class: class, own: o}
	f, err := r.next()
	switch {
	case err == nil && f.Type == wire.FrameRequest:
	case err == nil:
		f.large.Release()
		err = violation(wire.CloseProtocol, "frame of type %d at the start of a call", f.Type)
		fallthrough
	default:
		c.failedRequest(in, err)
		return
	}
	r.idle = nil
	s.setReadDeadline(time.Time{})
	in.Kind, in.End, in.Payload = f.Kind, f.End, f.take()
	o.stop = s.onSendDone(func(err error) { in.canceled(cancelOfStream(err)) })
	c.serve(in)
}

// failedRequest answers a call whose request could not be read.
func (c *Conn) failedRequest(in *Incoming, err error) {
	in.own.stop = func() bool { return true }
	limit := (*wire.LimitError)(nil)
	c.serving.Add(1)
	switch {
	case errors.As(err, &limit):
		in.Refuse(wire.ResourceExhausted, limit.Error())
	case errors.Is(err, ErrStalled):
		in.Refuse(wire.DeadlineExceeded, err.Error())
	case isRemoteReset(err) || c.ctx.Err() != nil:
		in.own.s.resetWrite(wire.ResetNone)
		in.finish(wire.ResetNone)
	default:
		in.Refuse(wire.InvalidArgument, err.Error())
	}
}

// cancelOfStream says why nothing more can be sent on the stream of a call.
func cancelOfStream(err error) wire.Cancel {
	reset := (*ResetError)(nil)
	if errors.As(err, &reset) {
		return wire.Cancel{Code: wire.CodeOfReset(reset.Code)}
	}
	return wire.Cancel{Code: wire.Unavailable, Text: "connection lost"}
}

// acceptUniStreams takes the responses that are too large for their lanes.
func (c *Conn) acceptUniStreams() {
	for {
		s, err := c.t.acceptUniStream(c.ctx)
		if err != nil {
			return
		}
		c.wg.Go(func() { c.readResponse(s) })
	}
}

func (c *Conn) readResponse(s recvStream) {
	r := c.callReader(s)
	r.idle = s.setReadDeadline
	defer func() {
		r.release()
		s.stopRead(wire.ResetNone)
		s.releaseCredit()
	}()
	preface, err := r.readByte()
	if err != nil {
		return // the peer gave the stream up
	}
	class := wire.Class(preface &^ prefaceMask)
	if preface&prefaceMask == prefaceWide && class.Valid() {
		c.becomeWide(s, r, class)
		return
	}
	if preface&prefaceMask != prefaceResponse || !class.Valid() {
		c.abort(violation(wire.CloseProtocol, "unidirectional stream with the unknown preface %#x", preface))
		return
	}
	r.meter = c.credits.receiver(s.id(), class)
	f, err := r.next()
	if err != nil {
		if f.Type != wire.FrameResponse { // nobody can tell which call waits for it
			c.abort(violation(wire.CloseProtocol, "response stream without a response: %v", err))
		} else if call := c.pending.remove(f.Call); call != nil {
			call.finish(nil, err)
		}
		return
	}
	if f.Type != wire.FrameResponse {
		f.large.Release()
		c.abort(violation(wire.CloseProtocol, "frame of type %d on a response stream", f.Type))
		return
	}
	if err := c.deliver(f.Call, f.take()); err != nil {
		c.abort(violationOf(err))
	}
}
