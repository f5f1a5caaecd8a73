package framework

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/framework/internal/content"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// A dispatcher serves the incoming calls of one side.
type dispatcher struct {
	methods      *registry
	gate         *gate           // unary calls
	streaming    *gate           // streaming calls, which may last: only their number is bounded
	base         context.Context // of handlers; does not end
	maxMessage   int
	limits       ConnLimits
	tableBytes   int // that this side keeps of a peer's messages, for each principal
	objects      *largeobj.Store
	uncompressed atomic.Bool // new connections begin with their messages sent as they are
	log          *zap.Logger
	draining     <-chan struct{} // closed when no new calls are served
}

// A serverCall is a Stream on the callee's side, the context of its handler, and the task that a gate runs. There is
// one for each call, so it is kept small.
type serverCall struct {
	callContext
	d         *dispatcher
	in        *streams.Incoming
	m         *method
	writer    *schema.Schema // of the first message; nil for self-describing CBOR
	packing   uint8          // of the first message: how it is compressed
	arg       []byte         // the first message, part of in.Payload; nil once received, or if there is none
	shared    bool           // arg is in memory that the caller could change
	lost      bool           // arg refers to what this side does not have
	principal uint64         // for whom the call is made
	out       *wire.Buffer   // the response of a unary or client streaming call: the header of a success, then the body

	deltas *content.Deltas                  // of a streaming call
	extra  atomic.Pointer[responseMetadata] // nil until the handler sets some, or streams
}

// responseMetadata is what a handler has set for its caller.
type responseMetadata struct {
	mu struct {
		sync.Mutex
		header, trailer Metadata
		headerSent      bool
	}
}

// serve takes one call: it finds the method and hands the call to a gate. It runs on the goroutine that reads the
// connection.
func (d *dispatcher) serve(in *streams.Incoming, peer *Peer) {
	if peer.refused != "" {
		d.turnAway(in, refusal(Unavailable, "%s", peer.refused))
		return
	}
	var h wire.Request
	n, err := wire.ParseRequest(in.Payload.B, &h)
	if err != nil {
		d.turnAway(in, refusal(InvalidArgument, "%w", err))
		return
	}
	m := d.methods.find(h.MethodNum, h.Name)
	if m == nil {
		name := string(h.Name)
		if h.MethodNum > 0 {
			name = fmt.Sprintf("number %d", h.MethodNum)
		}
		d.turnAway(in, refusal(Unimplemented, "method %s is not served here", name))
		return
	}
	if m.sp.info.Kind != in.Kind {
		d.turnAway(in, refusal(Unimplemented, "method %s is %v here, the caller takes it for %v", m.sp.info.Method, m.sp.info.Kind, in.Kind))
		return
	}
	if !m.sp.info.Idempotent {
		// What came before the handshake was complete may be a copy. A client of ours does not send such calls then; for any
		// other reading stops here, so that what waits is bounded by the windows of its streams and by the handshake timeout.
		if err := in.Conn().Confirmed(d.base); err != nil {
			d.turnAway(in, refusal(Unavailable, "the handshake failed"))
			return
		}
	}
	select {
	case <-d.draining:
		d.turnAway(in, refusal(Unavailable, "server is shutting down"))
		return
	default:
	}
	writer, err := in.Conn().Schema(&h.Schema)
	if err != nil {
		d.turnAway(in, refusal(InvalidArgument, "%s: request: %w", m.sp.info.Method, err))
		return
	}
	c := &serverCall{d: d, in: in, m: m, writer: writer, packing: h.Schema.Codec, principal: h.Principal}
	if in.Kind != KindUnary {
		c.deltas = new(content.Deltas)
	}
	if m.sp.linked {
		c.scope = peer.objects.NewScope(true, in.Kind == KindUnary || in.Kind == KindClientStream)
	}
	if arg, shared := in.Payload.Message(n); len(arg) > 0 {
		c.arg, c.shared = arg, shared
	}
	c.base, c.info, c.peer, c.call, c.received = d.base, &m.sp.info, peer, c, h.Metadata
	if h.Timeout > 0 {
		c.deadline, c.hasDeadline = time.Now().Add(h.Timeout), true
	}
	in.Notify(c)
	if m.sp.inline {
		c.run()
		return
	}
	class := m.sp.info.Class
	if rank(in.Class) > rank(class) {
		class = in.Class // the caller may ask for less than the method is worth, not for more
	}
	if in.Kind == KindUnary {
		d.gate.submit(class, c)
	} else {
		d.streaming.submit(class, c)
	}
}

// turnAway ends a call that no handler has seen.
func (d *dispatcher) turnAway(in *streams.Incoming, err *Error) {
	in.Payload.Release()
	in.Refuse(err.Code, err.status().Message)
}

// Canceled implements streams.Canceler.
func (c *serverCall) Canceled(reason wire.Cancel) {
	text := reason.Text
	if text == "" {
		text = "the caller gave up"
	}
	var cause error = &Error{Code: reason.Code, Message: text, Remote: true, ofCall: true}
	c.end(&cause)
	c.scope.GivenUp()
}

// refuse answers a call that the gate turned away.
func (c *serverCall) refuse(err *Error) {
	var cause error = err
	c.end(&cause)
	c.endScope()
	c.in.Payload.Release()
	c.respond(err.status())
}

// run runs the handler and answers the call, also when the handler ends its goroutine, as FailNow of package testing
// does.
func (c *serverCall) run() {
	err := errHandlerExited
	defer func() { c.answer(err) }()
	err = c.handle()
}

// errHandlerExited is what a call ends with whose handler never returned.
var errHandlerExited error = Errorf(Internal, "the handler has ended its goroutine")

// answer answers the call with what handle returned.
func (c *serverCall) answer(err error) {
	if err == errHandlerExited {
		c.d.log.Error("handler ended its goroutine", zap.String("method", c.info.Method))
	}
	c.end(&errHandlerReturned)
	st := wire.Status{}
	if err != nil {
		st = statusOf(err)
		st.Unprocessed = c.lost && st.Code == Aborted // the handler has seen nothing
		c.out.Release()
		c.out = nil
		c.scope.Undo()
	}
	if c.deltas != nil {
		c.deltas.Close()
	}
	c.endScope()
	c.in.Payload.Release()
	if c.scope != nil {
		c.in.Undo = c.scope.GivenUp
	}
	c.respond(st)
	c.scope.Answered()
}

// endScope gives back the large objects of the call, also those in a request that no handler has received.
func (c *serverCall) endScope() {
	if c.scope == nil {
		return
	}
	if c.arg != nil {
		_ = c.Recv(c.m.sp.newReq()) // what it could decode is in the scope
	}
	c.scope.End()
}

// errHandlerReturned is the cause of the context of a handler that has returned.
var errHandlerReturned = errors.New("framework: the handler has returned")

// handle runs the handler behind the interceptors. This is the one place where panics of handlers end.
func (c *serverCall) handle() (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.d.log.Error("handler panicked", zap.String("method", c.info.Method), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = Errorf(Internal, "%s: handler panicked", c.info.Method)
		}
	}()
	if err := c.m.run(c, c.info, c); err != nil {
		return err
	}
	if c.out == nil && (c.info.Kind == KindUnary || c.info.Kind == KindClientStream) {
		return Errorf(Internal, "%s: handler sent no response", c.info.Method)
	}
	return nil
}

// respond ends the call. It takes ownership of c.out.
func (c *serverCall) respond(st wire.Status) {
	b := c.out
	c.out = nil
	extra := c.extra.Load()
	if b != nil && extra == nil {
		c.in.Respond(b) // ownership of b passes to the connection
		return
	}
	r, body := wire.Response{}, []byte(nil)
	if b != nil {
		n, err := wire.ParseResponse(b.B, &r)
		if err != nil {
			panic("framework: a response of ours does not parse: " + err.Error())
		}
		body = b.B[n:]
	}
	r.Status = st
	if extra != nil {
		extra.mu.Lock()
		r.Trailer = extra.mu.trailer.pairs
		if !extra.mu.headerSent {
			r.Headers = extra.mu.header.pairs
		}
		extra.mu.headerSent = true
		extra.mu.Unlock()
	}
	whole := wire.NewBuffer(content.HeaderRoom + len(body))
	whole.B = wire.AppendResponse(whole.B, &r)
	whole.Body = len(whole.B)
	whole.B = append(whole.B, body...)
	b.Release()
	c.in.Respond(whole) // ownership of whole passes to the connection
}

func (c *serverCall) Recv(msg any) error {
	if c.arg != nil {
		arg := c.arg
		c.arg = nil
		defer c.in.Payload.ReleaseBody()
		if enterDecode(c.m.sp.req, c.in.Class, c.packing, len(arg)) {
			defer leaveBackground()
		}
		in := c.decoder()
		in.Deltas = nil // it is no message of a stream
		if c.m.sp.inline {
			in.Wait = nil
		}
		err := in.Decode(c.writer, c.packing, arg, c.shared, msg)
		_, c.lost = errors.AsType[*content.LostError](err)
		return messageError(c, InvalidArgument, err)
	}
	b, err := c.in.Recv()
	if err == io.EOF {
		return io.EOF
	}
	if err != nil {
		return convert(c, err)
	}
	defer b.Release()
	ref, n, err := wire.ParseSchemaRef(b.B)
	if err != nil {
		return Errorf(InvalidArgument, "%s: request: %w", c.info.Method, err)
	}
	writer, err := c.in.Conn().Schema(&ref)
	if err != nil {
		return Errorf(InvalidArgument, "%s: request: %w", c.info.Method, err)
	}
	in := c.decoder()
	return messageError(c, InvalidArgument, in.Decode(writer, ref.Codec, b.B[n:], false, msg))
}

// decoder returns what decodes requests.
func (c *serverCall) decoder() content.In {
	return content.In{
		Kind: c.m.sp.req, Link: c.peer.content, Scope: c.scope, Deltas: c.deltas, Principal: c.principal, Limit: c.d.maxMessage, Wait: c,
	}
}

func (c *serverCall) Send(msg any) error {
	sp := c.m.sp
	o := content.Out{Kind: sp.rsp, Link: c.peer.content, Scope: c.scope, Deltas: c.deltas, Principal: c.principal}
	if c.info.Kind == KindUnary || c.info.Kind == KindClientStream {
		if c.out != nil {
			return Errorf(Internal, "%s: handler sent a second response", c.info.Method)
		}
		if enterBackground(sp.rsp, c.in.Class, sp.rsp.ExpectedBytes()) {
			defer leaveBackground()
		}
		o.Deltas = nil // it is no message of a stream
		err := o.Prepare(msg)
		if err == nil {
			b := o.Payload()
			b.B = wire.AppendResponse(b.B, &wire.Response{Schema: o.Ref})
			c.out, err = o.Append(b, msg)
		}
		return messageError(c, Internal, err)
	}
	if err := c.sendHeader(); err != nil {
		return err
	}
	b, err := o.Message(msg)
	if err != nil {
		return messageError(c, Internal, err)
	}
	defer b.Release()
	if err := c.in.Send(c, wire.FrameMessage, b.B); err != nil {
		c.scope.Undo()
		return c.sendError(err)
	}
	return nil
}

// metadata returns what the handler has set for its caller, to be added to.
func (c *serverCall) metadata() *responseMetadata {
	if extra := c.extra.Load(); extra != nil {
		return extra
	}
	c.extra.CompareAndSwap(nil, new(responseMetadata))
	return c.extra.Load()
}

// sendHeader sends the response metadata ahead of the first message, if there is any.
func (c *serverCall) sendHeader() error {
	extra := c.metadata()
	extra.mu.Lock()
	defer extra.mu.Unlock()
	if extra.mu.headerSent {
		return nil
	}
	extra.mu.headerSent = true
	if extra.mu.header.Len() == 0 {
		return nil
	}
	b := wire.NewBuffer(wire.MetadataBytes(extra.mu.header.pairs))
	defer b.Release()
	b.B = wire.AppendMetadata(b.B, extra.mu.header.pairs)
	return c.sendError(c.in.Send(c, wire.FrameHeaders, b.B))
}

// sendError says why the caller could not be sent anything.
func (c *serverCall) sendError(err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(c); cause != nil {
		return convert(c, err)
	}
	return convert(context.WithoutCancel(c), err)
}

func (c *serverCall) CloseSend() error  { return nil }
func (c *serverCall) Close(error)       {}
func (c *serverCall) Header() Metadata  { return Metadata{} }
func (c *serverCall) Trailer() Metadata { return Metadata{} }

func (c *serverCall) setHeader(key, value string) error {
	extra := c.metadata()
	extra.mu.Lock()
	defer extra.mu.Unlock()
	if extra.mu.headerSent {
		return Errorf(FailedPrecondition, "SetHeader: the first message has been sent")
	}
	return addChecked(&extra.mu.header, key, value)
}

func (c *serverCall) setTrailer(key, value string) error {
	extra := c.metadata()
	extra.mu.Lock()
	defer extra.mu.Unlock()
	return addChecked(&extra.mu.trailer, key, value)
}

// addChecked adds a pair unless the result could not be sent.
func addChecked(md *Metadata, key, value string) error {
	next := *md
	next.Add(key, value)
	if err := next.check(); err != nil {
		return err
	}
	*md = next
	return nil
}
