package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// A Call is the caller's side of one call. Send may be used by one goroutine and Recv by another at the same
// time; Close ends the use of a call by everybody.
//
// A call is bound to the context it was started with: when that ends, the call is canceled and the peer told.
type Call struct {
	conn   *Conn
	ctx    context.Context
	weight int64 // what it adds to the load of the connection

	// On a lane: one request, one response.
	lane *lane
	id   uint64
	done chan struct{} // capacity 1; sent to once, after resp and err are set
	resp *wire.Buffer  // owned by the call until Recv hands it on
	err  error
	got  bool // Recv or Close has taken the result
	// movable is set when the call may end with ErrSilent.
	movable atomic.Bool

	// On a stream of its own.
	own *ownStream
}

// ownStream is the stream of a call that does not share a lane.
type ownStream struct {
	s       stream
	w       *writer
	recv    sync.Mutex // held while r is in use
	r       *frameReader
	stop    func() bool // ends the watch on the context
	ended   atomic.Bool // counted as ended
	sentFin bool
}

// Start starts a call whose request frame has the given payload: the header, then the first message if there is
// one. end says that no further messages follow. It takes ownership of payload, also when it fails.
//
// Errors: [ErrDraining] when the peer takes no more calls, a *[ConnError] when the connection has ended, the cause
// of ctx when that ends first. The call did not start when Start fails.
func (c *Conn) Start(ctx context.Context, class wire.Class, kind wire.CallKind, end bool, payload *wire.Buffer) (*Call, error) {
	if err := c.Confirmed(ctx); err != nil {
		payload.Release()
		return nil, err
	}
	return c.StartEarly(ctx, class, kind, end, payload)
}

// StartEarly is [Conn.Start] for a call that may be repeated: it does not wait until the handshake is complete, so that the
// request can travel as early data, see [Config.EarlyData].
func (c *Conn) StartEarly(ctx context.Context, class wire.Class, kind wire.CallKind, end bool, payload *wire.Buffer) (*Call, error) {
	var shared Memory
	if kind == wire.Unary {
		payload, shared = c.share(payload)
	}
	defer payload.Release()
	call, err := c.startCall(ctx, class, kind, end, shared != nil, payload.B)
	if err != nil && shared != nil {
		shared.Drop(payload.B)
	}
	return call, err
}

func (c *Conn) startCall(ctx context.Context, class wire.Class, kind wire.CallKind, end, shared bool, payload []byte) (*Call, error) {
	weight := int64(1 + len(payload)/weightBytes)
	if err := c.callStarted(weight); err != nil {
		return nil, err
	}
	var call *Call
	var err error
	if kind == wire.Unary && (shared || c.adapt.onLane(len(payload))) {
		call, err = c.startOnLane(ctx, class, weight, shared, payload)
	} else {
		call, err = c.startOnStream(ctx, class, kind, end, weight, payload)
	}
	if err != nil {
		if call == nil { // otherwise it has been closed, and so counted
			c.callEnded(weight)
		}
		return nil, err
	}
	return call, nil
}

// weightBytes of request make a call count for one more. A connection takes in at most 256 packets at a time (quic-go
// drops what exceeds that, and slows down as after a loss), so that bytes in flight are load just as calls are.
const weightBytes = 2 << 10

func (c *Conn) startOnLane(ctx context.Context, class wire.Class, weight int64, shared bool, payload []byte) (*Call, error) {
	id := c.nextCall.Add(1) - 1
	l, err := c.lane(ctx, class, id)
	if err == nil && len(payload) > wire.MaxLaneFrameBytes {
		l, err = c.wideLane(ctx, class)
	}
	if err != nil {
		return nil, err
	}
	call := c.newLaneCall()
	call.conn, call.ctx, call.weight, call.lane, call.id = c, ctx, weight, l, id
	if !c.pending.add(call) {
		call.recycle()
		return nil, c.Err()
	}
	if err := l.w.send(ctx, wire.FrameHead{Type: wire.FrameRequest, End: true, Shared: shared, Call: id}, payload); err != nil {
		if c.pending.remove(id) == nil {
			<-call.done         // the end of the connection finished it,
			call.resp.Release() // or a peer that answers what it was not asked
		}
		call.recycle()
		return nil, err
	}
	return call, nil
}

// finish sets the result of a call on a lane. Only whoever removed it from the table calls this.
func (call *Call) finish(resp *wire.Buffer, err error) {
	call.resp, call.err = resp, err
	call.done <- struct{}{}
}

// newLaneCall returns a call without content, which [Call.recycle] takes back.
func (c *Conn) newLaneCall() *Call {
	if call, _ := c.laneCalls.Get().(*Call); call != nil {
		return call
	}
	return &Call{done: make(chan struct{}, 1)}
}

func (call *Call) recycle() {
	conn := call.conn
	call.conn, call.ctx, call.weight, call.lane, call.id = nil, nil, 0, nil, 0
	call.resp, call.err, call.got = nil, nil, false
	call.movable.Store(false)
	conn.laneCalls.Put(call)
}

func (c *Conn) startOnStream(ctx context.Context, class wire.Class, kind wire.CallKind, end bool, weight int64, payload []byte) (*Call, error) {
	if c.callStreams.Load() >= reserveAt {
		if err := c.reserveLanes(ctx); err != nil {
			return nil, err
		}
	}
	s, err := c.openCallStream(ctx, weight)
	if err != nil {
		return nil, err
	}
	c.callStreams.Add(1)
	c.streamsBegun.Add(1)
	s.setClass(class.Urgency())
	o := &ownStream{s: s, w: newWriter(s, &c.tasks, c.credits.sender(s, class), nil), r: c.callReader(s)}
	o.r.meter = c.credits.receiver(s.id(), class)
	o.w.mu.queue = append(o.w.mu.queue, prefaceCall|byte(class))
	call := &Call{conn: c, ctx: ctx, weight: weight, own: o}
	o.stop = context.AfterFunc(ctx, func() { call.abandon(cancelOf(ctx)) })
	if err := o.w.send(ctx, wire.FrameHead{Type: wire.FrameRequest, Kind: kind, End: end}, payload); err != nil && !isRemoteReset(err) {
		call.Close(cancelOf(ctx))
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return call, err
	}
	if end {
		call.CloseSend()
	}
	return call, nil
}

// openCallStream opens a stream for a call of that weight, or says that another connection is the better one.
func (c *Conn) openCallStream(ctx context.Context, weight int64) (stream, error) {
	if c.cfg.Crowded == nil || c.callStreams.Load() == 0 {
		return c.t.openStream(ctx)
	}
	s, err := c.t.tryOpenStream(ctx)
	if s != nil || err != nil {
		return s, err
	}
	if c.cfg.Crowded(ctx, c, int(c.load.Load()-weight)) {
		return nil, ErrCrowded
	}
	return c.t.openStream(ctx)
}

// callReader reads a stream that carries one call.
func (c *Conn) callReader(s recvStream) *frameReader {
	r := newFrameReader(s, streamReadBytes, c.cfg.MaxMessageBytes+wire.MaxHeaderBytes, "MaxMessageBytes")
	r.pending, r.own = &c.incoming, true
	return r
}

// Movable says that the caller can make the call again elsewhere, so that [Conn.LetGo] may end it.
func (call *Call) Movable() { call.movable.Store(true) }

// OnLane reports whether the call shares a lane with others.
func (call *Call) OnLane() bool { return call.own == nil }

// Send sends one message of a streaming call; payload is the schema reference, then the message body. It borrows
// payload until it returns. It blocks while the peer does not read.
//
// Errors: [ErrEnded] when the call has ended, with a response to receive, and with it a *[ResetError] whose code has
// the status code of the response, unless that is OK; the cause of the context; *[ConnError].
func (call *Call) Send(payload []byte) error {
	err := call.own.w.send(call.ctx, wire.FrameHead{Type: wire.FrameMessage}, payload)
	if err == nil {
		return nil
	}
	if call.ctx.Err() != nil {
		return context.Cause(call.ctx)
	}
	if isRemoteReset(err) {
		return fmt.Errorf("%w: %w", ErrEnded, err)
	}
	return err
}

// CloseSend tells the peer that no more messages follow. It does not block.
func (call *Call) CloseSend() {
	call.own.sentFin = true
	call.own.w.finish()
}

// Recv returns the next frame of the peer: a headers, message or response frame. A response is the last one. The
// caller owns the payload.
//
// Errors: the cause of the context when it ends first; *[ConnError]; *[ResetError] when the peer gave up without
// a response; a *[wire.LimitError] or *[wire.FormatError] when the peer broke the protocol. The call has then ended.
func (call *Call) Recv() (wire.FrameType, *wire.Buffer, error) {
	if call.own != nil {
		return call.recvOwn()
	}
	if call.got {
		return 0, nil, ErrEnded
	}
	select {
	case <-call.done:
	case <-call.ctx.Done():
		if call.conn.pending.remove(call.id) != nil {
			call.got = true
			call.conn.callEnded(call.weight)
			call.lane.cancel(call.id, cancelOf(call.ctx))
			return 0, nil, context.Cause(call.ctx)
		}
		<-call.done // a result that is ready comes first
	}
	call.got = true
	call.conn.callEnded(call.weight)
	resp := call.resp
	call.resp = nil
	return wire.FrameResponse, resp, call.err // ownership of resp passes to the caller
}

// cancel tells the peer that a call is no longer wanted. It does not wait for a full lane: then the peer cannot
// be told in time, and its answer will be dropped here.
func (l *lane) cancel(id uint64, reason wire.Cancel) {
	_ = l.w.send(canceledContext, wire.FrameHead{Type: wire.FrameCancel, Call: id}, wire.AppendCancel(nil, reason)) // see above
}

// canceledContext makes a send give up where it would wait.
var canceledContext = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

func (call *Call) recvOwn() (wire.FrameType, *wire.Buffer, error) {
	o := call.own
	o.recv.Lock()
	defer o.recv.Unlock()
	if o.r == nil || o.ended.Load() {
		if call.ctx.Err() != nil {
			return 0, nil, context.Cause(call.ctx)
		}
		return 0, nil, ErrEnded
	}
	f, err := o.r.next()
	if err == nil {
		switch f.Type {
		case wire.FrameResponse:
			o.stop()
			call.end()
			return f.Type, f.take(), nil
		case wire.FrameHeaders, wire.FrameMessage:
			return f.Type, f.take(), nil
		}
		f.large.Release()
		err = violation(wire.CloseProtocol, "frame of type %d from the callee of a call", f.Type)
	}
	if call.ctx.Err() != nil {
		return 0, nil, context.Cause(call.ctx)
	}
	if err == io.EOF {
		err = violation(wire.CloseProtocol, "stream of a call ended without a response")
	}
	call.abandon(wire.Cancel{Code: wire.Canceled})
	return 0, nil, err
}

// end counts the call as ended, once.
func (call *Call) end() {
	if call.own.ended.CompareAndSwap(false, true) {
		call.conn.callEnded(call.weight)
	}
}

// abandon ends both directions of the call's own stream, so that whoever is blocked on it returns.
func (call *Call) abandon(reason wire.Cancel) {
	o := call.own
	code := wire.ResetFor(reason.Code)
	o.s.resetWrite(code)
	o.s.stopRead(code)
	o.w.fail(&ResetError{Code: code})
	call.end()
}

// Cancel gives a streaming call up and tells the peer the reason. Send and Recv fail from then on.
func (call *Call) Cancel(reason wire.Cancel) {
	if call.own != nil && !call.own.ended.Load() {
		call.abandon(reason)
	}
}

// Close gives the call up if it has not ended, telling the peer the reason, and frees what it holds. It must be called
// exactly once, after which the call must not be used; it may run while Send and Recv of a streaming call are blocked.
func (call *Call) Close(reason wire.Cancel) {
	c := call.conn
	o := call.own
	if o == nil {
		if !call.got {
			if c.pending.remove(call.id) != nil {
				call.lane.cancel(call.id, reason)
			} else {
				<-call.done
				call.resp.Release()
			}
			c.callEnded(call.weight)
		}
		call.recycle()
		return
	}
	if !o.ended.Load() {
		if call.ctx.Err() != nil {
			reason = cancelOf(call.ctx) // which may not have been told yet
		}
		call.abandon(reason)
	}
	o.stop()
	o.s.stopRead(wire.ResetNone)
	if !o.sentFin {
		o.s.resetWrite(wire.ResetNone)
	}
	o.recv.Lock()
	defer o.recv.Unlock()
	if o.r != nil {
		o.r.release()
		o.r = nil
	}
}

// cancelOf says why a context ended.
func cancelOf(ctx context.Context) wire.Cancel {
	err := context.Cause(ctx)
	switch {
	case ctx.Err() == nil:
		return wire.Cancel{Code: wire.Canceled}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return wire.Cancel{Code: wire.DeadlineExceeded, Text: "the caller's deadline passed"}
	case err == context.Canceled:
		return wire.Cancel{Code: wire.Canceled}
	}
	return wire.Cancel{Code: wire.Canceled, Text: err.Error()}
}

func isRemoteReset(err error) bool {
	reset := (*ResetError)(nil)
	return errors.As(err, &reset) && reset.Remote
}

// stallTimeout bounds how long a peer may pause inside the first frame of a stream that it opened.
const stallTimeout = 30 * time.Second
