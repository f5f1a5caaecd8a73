package streams

import (
	"errors"
	"io"
	"sync"

	"github.com/mycel-rpc/mycel/wire"
)

// Prefaces: the first byte of a stream says what it is. The low bits hold the class, except on the control stream.
const (
	prefaceControl  = 0x00 // bidirectional, the first stream of the dialer
	prefaceLane     = 0x10 // bidirectional: requests of the opener, responses of the other side
	prefaceCall     = 0x20 // bidirectional: one call
	prefaceResponse = 0x30 // unidirectional: one response that is too large for any lane
	prefaceWide     = 0x40 // unidirectional: requests and responses of the opener that are too large for a lane

	prefaceMask = 0xf0

	maxPeerLanes = wire.NumClasses * (maxStripes + 1) // that a peer may open, wide ones included
)

// A lane is a long-lived bidirectional stream that carries the frames of many calls. Its reader never waits for
// a call: a response goes to the caller that waits for it, a request to a gate that takes or refuses it at once.
type lane struct {
	conn      *Conn
	class     wire.Class
	w         *writer // nil on a wide lane of the peer
	isControl bool
	limit     int // bytes of a frame's payload

	mu struct {
		sync.Mutex
		serving map[uint64]*Incoming // requests of the peer in progress; nil when the lane has ended
		undo    []answered           // ring of undoWindow, made when it is needed: the last ones that were answered and have an Undo
		next    int                  // in undo
	}
}

// undoWindow is how many answered calls a lane remembers, to undo what is attached to responses that crossed a cancel frame.
const undoWindow = 64

type answered struct {
	id   uint64
	undo func()
}

func (l *lane) init(c *Conn, s sendStream, class wire.Class) {
	l.conn, l.class, l.limit = c, class, wire.MaxLaneFrameBytes
	if s != nil {
		s.setClass(class.Urgency())
		l.w = newWriter(s, &c.tasks, nil, c.crowded)
		l.w.shared = true
	}
	l.mu.serving = map[uint64]*Incoming{}
}

// read handles the frames of the lane until it ends, which only happens together with the connection.
func (l *lane) read(r *frameReader) {
	defer r.release()
	err := error(violation(wire.CloseNone, "an inline handler has ended the goroutine that reads a lane"))
	defer func() {
		l.end()
		if err != nil {
			l.conn.abort(violationOf(err))
		}
	}()
	err = l.readFrames(r)
}

// readFrames returns why the lane ended, nil if somebody has closed the connection.
func (l *lane) readFrames(r *frameReader) error {
	for {
		f, err := r.next()
		if err != nil {
			return l.ended(err)
		}
		if err := l.handle(&f); err != nil {
			return err
		}
	}
}

// ended returns what reading a lane ended with as the violation that it is, nil if somebody has closed the connection.
func (l *lane) ended(err error) error {
	if _, over := errors.AsType[*ConnError](err); over {
		return nil
	}
	if _, reset := errors.AsType[*ResetError](err); reset || err == io.EOF || err == io.ErrUnexpectedEOF {
		return violation(wire.CloseProtocol, "lane of class %v ended", l.class)
	}
	return err
}

// handle acts on one frame. Its error closes the connection.
func (l *lane) handle(f *frame) error {
	if l.isControl && f.Type != wire.FrameHello && l.conn.peer.Load() == nil {
		f.large.Release()
		return violation(wire.CloseProtocol, "frame of type %d on the control stream before hello", f.Type)
	}
	if f.Len > l.limit && !(l.isControl && (f.Type == wire.FrameHello || f.Type == wire.FrameNotices && f.Len <= wire.MaxNoticesBytes)) {
		f.large.Release()
		return &wire.LimitError{What: "frame on a lane", Limit: uint64(l.limit), Got: uint64(f.Len)}
	}
	if f.Shared {
		if err := l.takeShared(f); err != nil {
			return err
		}
	}
	switch f.Type {
	case wire.FrameResponse:
		return l.conn.deliver(f.Call, f.take())
	case wire.FrameRequest:
		return l.request(f)
	}
	if f.large != nil {
		defer f.large.Release()
		f.payload = f.large.B
	}
	switch f.Type {
	case wire.FrameCancel:
		reason, err := wire.ParseCancel(f.payload)
		if err != nil {
			return err
		}
		l.mu.Lock()
		in := l.mu.serving[f.Call]
		var undo func()
		if in == nil { // the response is already on its way, and nobody waits for it
			undo = l.takeUndoLocked(f.Call)
		}
		l.mu.Unlock()
		switch {
		case in != nil:
			in.canceled(reason)
		case undo != nil:
			undo()
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
		f.large.Release()
		return violation(wire.CloseProtocol, "request of a %v call on a lane, which carries unary calls only", f.Kind)
	}
	in := &Incoming{conn: l.conn, lane: l, id: f.Call, Class: l.class, Kind: wire.Unary, End: true, Payload: f.take()}
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
func (l *lane) forget(in *Incoming) {
	l.mu.Lock()
	delete(l.mu.serving, in.id)
	if in.Undo != nil {
		if l.mu.undo == nil {
			l.mu.undo = make([]answered, undoWindow)
		}
		l.mu.undo[l.mu.next%undoWindow] = answered{in.id, in.Undo}
		l.mu.next++
	}
	l.mu.Unlock()
}

// takeUndoLocked returns what undoes the response to a call, nil if there is nothing.
func (l *lane) takeUndoLocked(id uint64) func() {
	for i := range l.mu.undo {
		if a := &l.mu.undo[i]; a.id == id && a.undo != nil {
			undo := a.undo
			*a = answered{}
			return undo
		}
	}
	return nil
}
