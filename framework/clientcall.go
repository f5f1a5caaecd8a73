package framework

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/mycel-rpc/mycel/framework/internal/content"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// connector finds the connection that a call takes.
type connector interface {
	conn(ctx context.Context, info *CallInfo, avoid []*pool.Health) (*streams.Conn, error)
	retries() *retrier // nil if only calls that were surely not processed are made again
	limit() int        // MaxMessageBytes of this side
	plain() bool       // there are no interceptors, so that nobody but a typed call sees its stream
}

// maxAttempts is how often a call is started that surely has not reached a handler.
const maxAttempts = 5

// A clientCall is a Stream on the caller's side.
type clientCall struct {
	ctx  context.Context
	info *CallInfo
	via  connector
	md   []wire.Pair

	conn      *streams.Conn
	call      *streams.Call // nil until the request has been sent; replaced under mu by another attempt
	request   any           // of a call with one request, until something has been received: to try again
	attempts  int
	avoid     []*pool.Health  // endpoints that have failed the call
	scope     *largeobj.Scope // of conn; nil if messages cannot refer to large objects
	deltas    content.Deltas
	principal uint64 // for whom the call is made, on conn
	whole     bool   // the peer has missed what the request referred to
	pooled    bool   // finishUnary may reuse it

	mu struct {
		sync.Mutex
		header, trailer Metadata
		status          error // how the call ended; io.EOF for well; nil while it has not
		closed          bool
	}
}

var unaryCalls = sync.Pool{New: func() any { return new(clientCall) }}

// finishUnary closes the stream of a unary call, which nobody uses any more.
func finishUnary(s Stream) {
	s.Close(nil)
	if c, ok := s.(*clientCall); ok && c.pooled {
		*c = clientCall{}
		unaryCalls.Put(c)
	}
}

// openCall is the innermost ClientFunc.
func openCall(ctx context.Context, info *CallInfo, via connector) (Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, notStarted(ctx, err)
	}
	md := outgoingMetadata(ctx)
	if md.Len() > 0 {
		if err := md.check(); err != nil {
			return nil, notStarted(ctx, err)
		}
	}
	var c *clientCall
	if info.Kind == KindUnary && via.plain() {
		c = unaryCalls.Get().(*clientCall)
		c.pooled = true
	} else {
		c = new(clientCall)
	}
	c.ctx, c.info, c.via, c.md = ctx, info, via, md.pairs
	if info.Kind == KindClientStream || info.Kind == KindBidi {
		if err := c.start(nil); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// start sends the request frame, with a message if there is one, on a connection that takes it.
func (c *clientCall) start(msg any) error {
	for {
		c.attempts++
		conn, err := c.via.conn(c.ctx, c.info, c.avoid)
		if err != nil {
			return notStarted(c.ctx, err)
		}
		b, err := c.encodeRequest(conn, msg)
		if err != nil {
			return notStarted(c.ctx, err)
		}
		start := conn.Start
		if c.info.Idempotent {
			start = conn.StartEarly
		}
		call, err := start(c.ctx, c.info.Class, c.info.Kind, msg != nil, b) // ownership of b passes to the connection
		if err == nil {
			c.letMove(call)
			return c.adopt(conn, call)
		}
		c.scope.Undo()
		if err == streams.ErrCrowded { // there is another connection by now
			c.attempts--
			continue
		}
		c.leave(conn, err)
		if c.ctx.Err() != nil || c.attempts >= maxAttempts {
			return notStarted(c.ctx, err)
		}
	}
}

// adopt makes call the one in progress, in place of one that the peer has refused.
func (c *clientCall) adopt(conn *streams.Conn, call *streams.Call) error {
	c.mu.Lock()
	obsolete, closed := c.call, c.mu.closed
	if closed {
		obsolete = call // Close has seen to the other one
	} else {
		c.conn, c.call = conn, call
	}
	c.mu.Unlock()
	if obsolete != nil {
		obsolete.Close(wire.Cancel{Code: Canceled})
	}
	if closed {
		return Errorf(Canceled, "%s: the call was closed", c.info.Method)
	}
	return nil
}

// notStarted is the error of a call that the peer has not seen.
func notStarted(ctx context.Context, err error) error {
	e, ok := errors.AsType[*Error](convert(ctx, err))
	if !ok {
		return err
	}
	started := *e
	started.unprocessed = true
	return &started
}

func (c *clientCall) encodeRequest(conn *streams.Conn, msg any) (*wire.Buffer, error) {
	sp := c.info.spec
	c.principal = peerOf(conn).content.Principal(principalOf(c.ctx))
	if sp.linked {
		c.scope = peerOf(conn).objects.NewScope(false, false)
	}
	h := wire.Request{MethodNum: conn.MethodNum(sp.info.Method), Timeout: remaining(c.ctx), Metadata: c.md, Principal: c.principal}
	if h.MethodNum == 0 {
		h.Name = []byte(sp.info.Method)
	}
	if msg == nil {
		b := wire.NewBuffer(content.HeaderRoom)
		b.B = wire.AppendRequest(b.B, &h)
		return b, nil
	}
	if enterBackground(sp.req, c.info.Class, sp.req.ExpectedBytes()) {
		defer leaveBackground()
	}
	o := c.encoder(conn)
	o.Deltas = nil // it is no message of a stream
	if err := o.Prepare(msg); err != nil {
		return nil, messageError(c.ctx, InvalidArgument, err)
	}
	h.Schema = o.Ref
	var b *wire.Buffer
	if c.info.Kind == KindUnary {
		b = o.Payload()
	} else {
		b = o.Buffer()
	}
	b.B = wire.AppendRequest(b.B, &h)
	b, err := o.Append(b, msg)
	return b, messageError(c.ctx, InvalidArgument, err)
}

// encoder returns what encodes a request for a connection.
func (c *clientCall) encoder(conn *streams.Conn) content.Out {
	return content.Out{
		Kind: c.info.spec.req, Link: peerOf(conn).content, Scope: c.scope, Deltas: &c.deltas, Principal: c.principal, Whole: c.whole,
	}
}

func (c *clientCall) Send(msg any) error {
	if c.call == nil {
		c.request = msg
		return c.start(msg)
	}
	if c.info.Kind == KindUnary || c.info.Kind == KindServerStream {
		return Errorf(FailedPrecondition, "%s: the call takes one request", c.info.Method)
	}
	o := c.encoder(c.conn)
	b, err := o.Message(msg)
	if err != nil {
		return messageError(c.ctx, InvalidArgument, err)
	}
	defer b.Release()
	if err := c.call.Send(b.B); err != nil {
		c.scope.Undo()
		return c.sendError(err)
	}
	return nil
}

// sendError returns the status of a call that ended before the message could be sent, as far as it is known.
func (c *clientCall) sendError(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	status := c.mu.status
	c.mu.Unlock()
	if status != nil && status != io.EOF {
		return status
	}
	return convert(c.ctx, err)
}

func (c *clientCall) CloseSend() error {
	if c.call != nil && c.info.Kind != KindUnary && c.info.Kind != KindServerStream {
		c.call.CloseSend()
	}
	return nil
}

func (c *clientCall) Recv(msg any) error {
	if c.call == nil {
		return Errorf(FailedPrecondition, "%s: the request has not been sent", c.info.Method)
	}
	for {
		if status := c.ended(); status != nil {
			return status
		}
		t, b, err := c.call.Recv()
		if err != nil {
			err = convert(c.ctx, err)
			if c.again(err) {
				continue
			}
			return c.end(err)
		}
		switch t {
		case wire.FrameHeaders:
			c.request = nil
			err = c.headers(b)
		case wire.FrameMessage:
			c.request = nil
			err = c.message(b, msg)
			if err == nil {
				return nil
			}
		default:
			var again bool
			if again, err = c.response(b, msg); again {
				continue
			}
			if err == nil {
				return nil
			}
			return c.end(err)
		}
		if err != nil {
			c.call.Cancel(wire.Cancel{Code: CodeOf(err)})
			return c.end(err)
		}
	}
}

func (c *clientCall) headers(b *wire.Buffer) error {
	defer b.Release()
	md, _, err := wire.ParseMetadata(b.B)
	if err != nil {
		return convert(c.ctx, err)
	}
	c.mu.Lock()
	c.mu.header = Metadata{md}
	c.mu.Unlock()
	return nil
}

func (c *clientCall) message(b *wire.Buffer, msg any) error {
	defer b.Release()
	ref, n, err := wire.ParseSchemaRef(b.B)
	if err != nil {
		return convert(c.ctx, err)
	}
	return c.decode(&ref, b, n, msg)
}

// decode decodes the message behind n bytes of headers.
func (c *clientCall) decode(ref *wire.SchemaRef, b *wire.Buffer, n int, msg any) error {
	writer, err := c.conn.Schema(ref)
	if err != nil {
		return convert(c.ctx, err)
	}
	body, shared := b.Message(n)
	if enterDecode(c.info.spec.rsp, c.info.Class, ref.Codec, len(body)) {
		defer leaveBackground()
	}
	in := content.In{
		Kind: c.info.spec.rsp, Link: peerOf(c.conn).content, Scope: c.scope, Deltas: &c.deltas, Principal: c.principal,
		Limit: c.via.limit(), Wait: c.ctx,
	}
	if c.info.Kind == KindUnary || c.info.Kind == KindClientStream {
		in.Deltas = nil // it is no message of a stream
	}
	return messageError(c.ctx, InvalidArgument, in.Decode(writer, ref.Codec, body, shared, msg))
}

// response handles the last frame of the call. It reports true when the call has been started again.
func (c *clientCall) response(b *wire.Buffer, msg any) (again bool, err error) {
	defer b.Release()
	var r wire.Response
	n, err := wire.ParseResponse(b.B, &r)
	if err != nil {
		return false, convert(c.ctx, err)
	}
	if r.Status.Code != OK {
		if r.Status.Unprocessed && r.Status.Code == Unavailable {
			c.conn.ExpectGoAway()
		}
		err := errorOf(r.Status)
		if c.again(err) {
			return true, nil
		}
		c.keep(&r)
		return false, err
	}
	c.keep(&r)
	if c.info.Kind == KindServerStream || c.info.Kind == KindBidi {
		return false, io.EOF
	}
	err = c.decode(&r.Schema, b, n, msg)
	if err == nil {
		c.end(io.EOF)
	}
	return false, err
}

// keep stores the metadata of the response.
func (c *clientCall) keep(r *wire.Response) {
	if len(r.Headers) == 0 && len(r.Trailer) == 0 {
		return
	}
	c.mu.Lock()
	if len(r.Headers) > 0 {
		c.mu.header = Metadata{r.Headers}
	}
	c.mu.trailer = Metadata{r.Trailer}
	c.mu.Unlock()
}

// ended returns the status of the call, nil while it goes on.
func (c *clientCall) ended() error {
	if c.info.Kind == KindUnary { // used by one goroutine
		if c.mu.closed && c.mu.status == nil {
			return errClosedCall
		}
		return c.mu.status
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed && c.mu.status == nil {
		return errClosedCall
	}
	return c.mu.status
}

var errClosedCall = Errorf(Canceled, "the call was closed")

// end records how the call ended; the first status stays.
func (c *clientCall) end(status error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.status == nil {
		c.mu.status = status
		noteOutcome(c.conn, status)
	}
	return c.mu.status
}

func (c *clientCall) Header() Metadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.header
}

func (c *clientCall) Trailer() Metadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.trailer
}

func (c *clientCall) Close(reason error) {
	c.mu.Lock()
	closed, call, status := c.mu.closed, c.call, c.mu.status
	c.mu.closed = true
	c.mu.Unlock()
	if closed || call == nil {
		return
	}
	c.deltas.Close()
	if status == nil {
		c.scope.Answered()
		c.scope.GivenUp()
	}
	cancel := wire.Cancel{Code: Canceled}
	if reason != nil {
		cancel.Code, cancel.Text = CodeOf(reason), statusOf(reason).Message
	}
	call.Close(cancel)
}
