package streams

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/mycel-rpc/mycel/wire"
)

// maxServing bounds the calls of one peer in progress on one connection. Further ones are refused; when as many refusals
// wait because the peer does not read them, the connection is closed.
const maxServing = 4096

// Incoming is the callee's side of one call. Send and Recv may be used by different goroutines at the same time.
// Respond or Refuse ends the call and must be called exactly once.
type Incoming struct {
	Class wire.Class
	Kind  wire.CallKind
	End   bool // no messages follow the request

	// Payload is the request header and the first message. Whoever serves the call owns it.
	Payload *wire.Buffer

	// Undo is called, unless it is nil, when the caller of a call on a lane turns out to have given up before the response
	// that was sent reached it. It must not block.
	Undo func()

	conn *Conn
	lane *lane
	id   uint64
	own  *ownStream

	ended atomic.Bool
	mu    struct {
		sync.Mutex
		notify Canceler
		reason *wire.Cancel // why the caller gave up; set once
	}
}

// A Canceler is told that the caller of a call has given up. Canceled must not block.
type Canceler interface{ Canceled(wire.Cancel) }

// Conn returns the connection that the call came on.
func (in *Incoming) Conn() *Conn { return in.conn }

// serve hands a new call to whoever serves it.
func (c *Conn) serve(in *Incoming) {
	if n := c.serving.Add(1); n > maxServing {
		in.Payload.Release()
		in.Refuse(wire.ResourceExhausted, "more than 4096 calls in progress on one connection")
		if n > 2*maxServing {
			c.abort(violation(wire.CloseLimit, "%d calls in progress or with responses that are not read", n))
		}
		return
	}
	c.cfg.Serve(in)
}

// Notify arranges for n to be told, once, when the caller gives up or the connection ends; at once if it has
// happened already. It must be called by [Config.Serve] before it returns.
func (in *Incoming) Notify(n Canceler) {
	if in.own == nil { // the goroutine that reads the lane, which runs Serve, is also the one that cancels
		in.mu.notify = n
		return
	}
	in.mu.Lock()
	reason := in.mu.reason
	in.mu.notify = n
	in.mu.Unlock()
	if reason != nil {
		n.Canceled(*reason)
	}
}

func (in *Incoming) canceled(reason wire.Cancel) {
	in.mu.Lock()
	n, first := in.mu.notify, in.mu.reason == nil
	if first {
		in.mu.reason = &reason
	}
	in.mu.Unlock()
	if n != nil && first {
		n.Canceled(reason)
	}
}

// Send sends a headers or message frame of a streaming call. It borrows payload until it returns. It blocks while
// the caller does not read; it fails when the caller gives up. ctx bounds the wait for other senders.
func (in *Incoming) Send(ctx context.Context, t wire.FrameType, payload []byte) error {
	err := in.own.w.send(ctx, wire.FrameHead{Type: t}, payload)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Recv returns the schema reference and body of the caller's next message; the result belongs to the caller of
// Recv. It returns io.EOF after the last one.
func (in *Incoming) Recv() (*wire.Buffer, error) {
	if in.End || in.own == nil {
		return nil, io.EOF
	}
	o := in.own
	o.recv.Lock()
	defer o.recv.Unlock()
	if o.r == nil {
		return nil, ErrEnded
	}
	f, err := o.r.next()
	if err != nil {
		return nil, err
	}
	if f.Type != wire.FrameMessage {
		f.large.Release()
		return nil, violation(wire.CloseProtocol, "frame of type %d from the caller of a call", f.Type)
	}
	return f.take(), nil
}

// Respond ends the call with a response frame. It takes ownership of payload. It does not block: what the caller
// does not take at once is sent by a goroutine of the connection.
func (in *Incoming) Respond(payload *wire.Buffer) {
	h := wire.FrameHead{Type: wire.FrameResponse, Call: in.id}
	if in.own != nil {
		in.own.stop() // from here on the writer notices a caller that gives up
		h.Call = 0
	} else {
		in.lane.forget(in)
		var shared Memory
		payload, shared = in.conn.share(payload)
		h.Shared = shared != nil
	}
	w := in.responseWriter(len(payload.B))
	if w != nil && w.trySend(h, payload.B) {
		in.responded(payload)
		return
	}
	started := in.conn.spawn(func() { // ends when the caller has taken the response, or the stream or connection ends
		defer in.responded(payload)
		if w != nil {
			_ = w.send(in.conn.ctx, h, payload.B) // fails only when nobody waits any more
		} else {
			in.conn.respondElsewhere(in, h, payload.B)
		}
	})
	if !started {
		in.responded(payload)
	}
}

// responseWriter returns where a response of n bytes goes: to the call's own stream, the lane it came on, or our wide
// lane; nil if a stream has to be opened first.
func (in *Incoming) responseWriter(n int) *writer {
	switch {
	case in.own != nil:
		return in.own.w
	case n <= wire.MaxLaneFrameBytes && in.lane.w != nil:
		return in.lane.w
	case in.takesWideLane(n):
		if l := in.conn.wide[in.Class].Load(); l != nil {
			return l.w
		}
	}
	return nil
}

// takesWideLane reports whether a response of n bytes that does not go back on its lane goes on our wide lane.
func (in *Incoming) takesWideLane(n int) bool {
	return n <= wire.MaxWideFrameBytes && (in.lane.w == nil || in.conn.adapt.onLane(n))
}

// respondElsewhere sends a response on a stream that is opened for it: our wide lane, or a response stream.
func (c *Conn) respondElsewhere(in *Incoming, h wire.FrameHead, payload []byte) {
	if in.takesWideLane(len(payload)) {
		if l, err := c.wideLane(c.ctx, in.Class); err == nil {
			_ = l.w.send(c.ctx, h, payload) // fails only when the connection has ended
		}
		return
	}
	c.respondOnStream(in, h, payload)
}

// responded frees what the call holds once its response is on its way.
func (in *Incoming) responded(payload *wire.Buffer) {
	stop := wire.ResetNone
	if in.own != nil {
		in.own.w.finish()
		if code := wire.ResponseCode(payload.B); code != wire.OK {
			stop = wire.ResetFor(code) // a caller that still sends learns at once how the call ended
		}
	}
	payload.Release()
	in.finish(stop)
}

// respondOnStream sends a response that is too large for its lane on a stream of its own.
func (c *Conn) respondOnStream(in *Incoming, h wire.FrameHead, payload []byte) {
	s, err := c.t.openUniStream(c.ctx)
	if err != nil {
		return // the connection has ended
	}
	s.setClass(in.Class.Urgency())
	w := newWriter(s, &c.tasks, c.credits.sender(s, in.Class), nil)
	w.mu.queue = append(w.mu.queue, prefaceResponse|byte(in.Class))
	_ = w.send(c.ctx, h, payload) // fails only when the caller has gone
	w.finish()
}

// Refuse ends a call that nothing was done for.
func (in *Incoming) Refuse(code wire.Code, text string) {
	b := wire.NewBuffer(64 + len(text))
	b.B = wire.AppendResponse(b.B, &wire.Response{Status: wire.Status{Code: code, Message: text, Unprocessed: true}})
	in.Respond(b) // ownership of b passes to the call
}

// finish frees what the call holds. The caller, if it still sends, is asked to stop with the stream error code stop.
func (in *Incoming) finish(stop uint64) {
	if !in.ended.CompareAndSwap(false, true) {
		panic("streams: call answered twice")
	}
	if o := in.own; o != nil {
		o.stop()
		o.s.stopRead(stop)
		o.recv.Lock()
		o.r.release()
		o.r = nil
		o.recv.Unlock()
		o.s.releaseCredit()
	}
	in.conn.serveEnded()
}
