package streams

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/mycel-rpc/mycel/wire"
)

// Prefaces: the first byte of a stream says what it is. The low bits of a lane, a call stream and a response
// stream hold the class.
const (
	prefaceControl  = 0x00 // bidirectional, the first stream of the dialer
	prefaceLane     = 0x10 // bidirectional: requests of the opener, responses of the other side
	prefaceCall     = 0x20 // bidirectional: one call
	prefaceResponse = 0x30 // unidirectional: one response that is too large for its lane

	prefaceMask = 0xf0

	maxPeerLanes = wire.NumClasses * maxStripes // that a peer may open
)

// A lane is a long-lived bidirectional stream that carries the frames of many calls. Its reader never waits for
// a call: a response goes to the caller that waits for it, a request to a gate that takes or refuses it at once.
type lane struct {
	conn      *Conn
	class     wire.Class
	w         *writer
	isControl bool

	mu struct {
		sync.Mutex
		serving map[uint64]*Incoming // requests of the peer in progress; nil when the lane has ended
	}
}

func (l *lane) init(c *Conn, s stream, class wire.Class) {
	l.conn, l.class = c, class
	l.w = newWriter(s, &c.flushes, nil, c.crowded)
	l.mu.serving = map[uint64]*Incoming{}
}

// crowded reports whether so many calls are in progress that more frames are likely to follow at once.
func (c *Conn) crowded() bool { return c.outstanding.Load()+c.serving.Load() > 2 }

// lane returns the lane that a new call of the class takes, opening it when it is needed for the first time.
func (c *Conn) lane(ctx context.Context, class wire.Class, call uint64) (*lane, error) {
	if class == wire.ClassControl {
		select {
		case <-c.signal.control:
			return &c.control, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-c.ctx.Done():
			return nil, c.Err()
		}
	}
	slot := &c.lanes[class][call%uint64(c.adapt.stripes.Load())]
	if l := slot.Load(); l != nil {
		return l, nil
	}
	s, err := c.t.openStream(ctx)
	if err != nil {
		return nil, err
	}
	s.setClass(class.Urgency())
	l := new(lane)
	l.init(c, s, class)
	l.w.mu.queue = append(l.w.mu.queue, prefaceLane|byte(class))
	if !slot.CompareAndSwap(nil, l) {
		s.resetWrite(wire.ResetNone)
		s.stopRead(wire.ResetNone)
		return slot.Load(), nil
	}
	c.wg.Go(func() { l.read(newFrameReader(s, laneReadBytes, wire.MaxLaneFrameBytes, "")) })
	return l, nil
}

// read handles the frames of the lane until it ends, which only happens together with the connection.
func (l *lane) read(r *frameReader) {
	defer r.release()
	for {
		f, err := r.next()
		if err == nil {
			err = l.handle(&f)
		}
		if err == nil {
			continue
		}
		l.end()
		if reset := (*ResetError)(nil); err == io.EOF || err == io.ErrUnexpectedEOF || errors.As(err, &reset) {
			err = violation(wire.CloseProtocol, "lane of class %v ended", l.class)
		}
		l.conn.abort(violationOf(err))
		return
	}
}

// handle acts on one frame. Its error closes the connection.
func (l *lane) handle(f *frame) error {
	if f.large != nil { // only a hello can be that large
		defer f.large.Release()
		f.payload = f.large.B
	}
	if f.Len > wire.MaxLaneFrameBytes && f.Type != wire.FrameHello {
		return &wire.LimitError{What: "frame on a lane", Limit: wire.MaxLaneFrameBytes, Got: uint64(f.Len)}
	}
	switch f.Type {
	case wire.FrameResponse:
		return l.conn.deliver(f.Call, wire.CopyBuffer(f.payload))
	case wire.FrameRequest:
		return l.request(f)
	case wire.FrameCancel:
		reason, err := wire.ParseCancel(f.payload)
		if err != nil {
			return err
		}
		l.mu.Lock()
		in := l.mu.serving[f.Call]
		l.mu.Unlock()
		if in != nil { // otherwise the response is already on its way
			in.canceled(reason)
		}
		return nil
	}
	if l.isControl {
		return l.conn.handleControl(f.Type, f.payload)
	}
	return violation(wire.CloseProtocol, "frame of type %d on a lane", f.Type)
}

func (l *lane) request(f *frame) error {
	if f.Kind != wire.Unary || !f.End {
		return violation(wire.CloseProtocol, "request of a %v call on a lane, which carries unary calls only", f.Kind)
	}
	in := &Incoming{conn: l.conn, lane: l, id: f.Call, Class: l.class, Kind: wire.Unary, End: true, Payload: wire.CopyBuffer(f.payload)}
	l.mu.Lock()
	if _, twice := l.mu.serving[f.Call]; twice {
		l.mu.Unlock()
		in.Payload.Release()
		return violation(wire.CloseProtocol, "request with the number %d of a call in progress", f.Call)
	}
	l.mu.serving[f.Call] = in
	l.mu.Unlock()
	l.conn.serve(in)
	return nil
}

// end cancels the requests in progress.
func (l *lane) end() {
	l.mu.Lock()
	serving := l.mu.serving
	l.mu.serving = nil
	l.mu.Unlock()
	for _, in := range serving {
		in.canceled(wire.Cancel{Code: wire.Unavailable, Text: "connection lost"})
	}
}

// forget removes a request that has been answered.
func (l *lane) forget(id uint64) {
	l.mu.Lock()
	delete(l.mu.serving, id)
	l.mu.Unlock()
}
