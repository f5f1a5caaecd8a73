package framework

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/mycel-rpc/mycel/framework/internal/content"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/codec"
)

// A Registrar serves methods: a [Server], or a [Client] for the calls of the server it is connected to.
type Registrar interface {
	register(sp *spec, run ServerFunc)
}

// A Sender sends the messages of a streaming handler to its caller.
type Sender[T any] interface {
	// Send sends one message; msg may be reused when it returns. It blocks while the caller does not read, and
	// fails once the caller is gone: the handler should then return the error.
	Send(msg *T) error
}

// declare checks a declaration. It panics when it is wrong, because declarations are package variables.
func declare[Req, Resp any](name string, kind CallKind, opts []MethodOption) *spec {
	sp := &spec{info: CallInfo{Method: name, Kind: kind}}
	sp.info.spec = sp
	service, method, ok := strings.Cut(name, "/")
	if !ok || service == "" || method == "" || len(name) > wire.MaxMethodBytes {
		panic(fmt.Sprintf(`framework: method name %q is not of the form "service/Method" with at most %d bytes`, name, wire.MaxMethodBytes))
	}
	for _, o := range opts {
		o.applyMethod(sp)
	}
	if !sp.info.Class.Valid() || sp.info.Timeout < 0 || sp.inline && kind != KindUnary {
		panic(fmt.Sprintf("framework: method %s: the class is unknown, the timeout negative or a streaming method inline", name))
	}
	req, err := codec.Of[Req]()
	if err != nil {
		panic(fmt.Sprintf("framework: method %s: request: %v", name, err))
	}
	rsp, err := codec.Of[Resp]()
	if err != nil {
		panic(fmt.Sprintf("framework: method %s: response: %v", name, err))
	}
	sp.req, sp.rsp = content.NewKind(name+": request", req, sp.content), content.NewKind(name+": response", rsp, sp.content)
	sp.linked = sp.req.Linked() || sp.rsp.Linked()
	sp.newReq = func() any { return new(Req) }
	sp.newRsp = func() any { return new(Resp) }
	sp.setRsp = func(to, from any) { *to.(*Resp) = *from.(*Resp) }
	if err := errors.Join(sp.info.retry.check(), sp.info.hedge.check()); err != nil {
		panic(fmt.Sprintf("framework: method %s: %v", name, err))
	}
	return sp
}

// declared is what the four kinds of methods have in common.
type declared struct{ sp *spec }

// Name returns the name of the method.
func (m declared) Name() string { return m.sp.info.Method }

// Requests returns the requests of the method, to see and to change how they are made smaller.
func (m declared) Requests() Messages { return Messages{m.sp.req} }

// Responses returns the responses of the method, to see and to change how they are made smaller.
func (m declared) Responses() Messages { return Messages{m.sp.rsp} }

// Unary declares a method with one request and one response.
type Unary[Req, Resp any] struct{ declared }

// NewUnary declares a unary method, for both sides. The name has the form "service/Method"; a version in the service
// name leaves room for incompatible changes. It panics if the name, an option or a message type is not usable.
func NewUnary[Req, Resp any](name string, opts ...MethodOption) Unary[Req, Resp] {
	return Unary[Req, Resp]{declared{declare[Req, Resp](name, KindUnary, opts)}}
}

// Call calls the method and waits for the response. It borrows req until it returns.
// The error is an [*Error]: what the handler returned, or why the call did not get that far.
func (m Unary[Req, Resp]) Call(ctx context.Context, c Caller, req *Req, opts ...CallOption) (*Resp, error) {
	rsp := new(Resp)
	if err := callOnce(ctx, c, m.sp, req, rsp, opts); err != nil {
		return nil, err
	}
	return rsp, nil
}

// Handle serves the method with h, which may be called concurrently. The request is h's to keep. It panics if the
// method is served already.
func (m Unary[Req, Resp]) Handle(r Registrar, h func(ctx context.Context, req *Req) (*Resp, error)) {
	r.register(m.sp, func(ctx context.Context, _ *CallInfo, s Stream) error {
		req := new(Req)
		if err := s.Recv(req); err != nil {
			return err
		}
		rsp, err := h(ctx, req)
		return respond(s, m.Name(), rsp, err)
	})
}

// ServerStream declares a method with one request and any number of responses.
type ServerStream[Req, Resp any] struct{ declared }

// NewServerStream declares a server streaming method; see [NewUnary].
func NewServerStream[Req, Resp any](name string, opts ...MethodOption) ServerStream[Req, Resp] {
	return ServerStream[Req, Resp]{declared{declare[Req, Resp](name, KindServerStream, opts)}}
}

// Call calls the method and returns its responses as an iterator, to be used once. The sequence ends after
// the last response or with an error; leaving the loop early cancels the call on the server. It borrows req until
// the first response.
func (m ServerStream[Req, Resp]) Call(ctx context.Context, c Caller, req *Req, opts ...CallOption) iter.Seq2[*Resp, error] {
	return func(yield func(*Resp, error) bool) {
		co, ctx, cancel := prepare(ctx, m.sp, opts)
		defer cancel()
		s, err := open(ctx, c, co)
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.Close(nil)
		defer co.store(s)
		if err := sendOnly(s, req); err != nil {
			yield(nil, err)
			return
		}
		receiveAll(s, yield)
	}
}

// Handle serves the method with h; see [Unary.Handle]. The stream ends when h returns.
func (m ServerStream[Req, Resp]) Handle(r Registrar, h func(ctx context.Context, req *Req, out Sender[Resp]) error) {
	r.register(m.sp, func(ctx context.Context, _ *CallInfo, s Stream) error {
		req := new(Req)
		if err := s.Recv(req); err != nil {
			return err
		}
		return h(ctx, req, sender[Resp]{s})
	})
}

// ClientStream declares a method with any number of requests and one response.
type ClientStream[Req, Resp any] struct{ declared }

// NewClientStream declares a client streaming method; see [NewUnary].
func NewClientStream[Req, Resp any](name string, opts ...MethodOption) ClientStream[Req, Resp] {
	return ClientStream[Req, Resp]{declared{declare[Req, Resp](name, KindClientStream, opts)}}
}

// Open starts a call of the method. The result must be closed.
func (m ClientStream[Req, Resp]) Open(ctx context.Context, c Caller, opts ...CallOption) (*Upload[Req, Resp], error) {
	b, err := openBidi[Req, Resp](ctx, c, m.sp, opts)
	if err != nil {
		return nil, err
	}
	return &Upload[Req, Resp]{b}, nil
}

// Handle serves the method with h; see [Unary.Handle]. The iterator yields the requests and is used once; it
// ends after the last one, or with an error when the caller is gone. h may return before its end.
func (m ClientStream[Req, Resp]) Handle(r Registrar, h func(ctx context.Context, in iter.Seq2[*Req, error]) (*Resp, error)) {
	r.register(m.sp, func(ctx context.Context, _ *CallInfo, s Stream) error {
		rsp, err := h(ctx, received[Req](s))
		return respond(s, m.Name(), rsp, err)
	})
}

// Bidi declares a method with any number of requests and responses.
type Bidi[Req, Resp any] struct{ declared }

// NewBidi declares a bidirectional streaming method; see [NewUnary].
func NewBidi[Req, Resp any](name string, opts ...MethodOption) Bidi[Req, Resp] {
	return Bidi[Req, Resp]{declared{declare[Req, Resp](name, KindBidi, opts)}}
}

// Open starts a call of the method. The result must be closed.
func (m Bidi[Req, Resp]) Open(ctx context.Context, c Caller, opts ...CallOption) (*BidiCall[Req, Resp], error) {
	return openBidi[Req, Resp](ctx, c, m.sp, opts)
}

// Handle serves the method with h; see [Unary.Handle] and [ClientStream.Handle]. The stream ends when h returns.
func (m Bidi[Req, Resp]) Handle(r Registrar, h func(ctx context.Context, in iter.Seq2[*Req, error], out Sender[Resp]) error) {
	r.register(m.sp, func(ctx context.Context, _ *CallInfo, s Stream) error {
		return h(ctx, received[Req](s), sender[Resp]{s})
	})
}

// A BidiCall is the client's side of a bidirectional call. One goroutine may send while another receives.
type BidiCall[Req, Resp any] struct {
	s      Stream
	cancel context.CancelFunc
}

func openBidi[Req, Resp any](ctx context.Context, c Caller, sp *spec, opts []CallOption) (*BidiCall[Req, Resp], error) {
	co, ctx, cancel := prepare(ctx, sp, opts)
	s, err := open(ctx, c, co)
	if err != nil {
		cancel()
		return nil, err
	}
	return &BidiCall[Req, Resp]{s, cancel}, nil
}

// Send sends one request; req may be reused when it returns. It blocks while the server does not read. When the call
// has ended early the error has the code of its status, and Recv returns the whole of it.
func (b *BidiCall[Req, Resp]) Send(req *Req) error { return b.s.Send(req) }

// CloseSend tells the server that no more requests follow.
func (b *BidiCall[Req, Resp]) CloseSend() error { return b.s.CloseSend() }

// Recv returns the next response. It returns io.EOF when the call has ended well.
func (b *BidiCall[Req, Resp]) Recv() (*Resp, error) {
	rsp := new(Resp)
	if err := b.s.Recv(rsp); err != nil {
		return nil, err
	}
	return rsp, nil
}

// All returns the remaining responses as an iterator, to be used once. It ends without an error only when the call
// has ended well.
func (b *BidiCall[Req, Resp]) All() iter.Seq2[*Resp, error] {
	return func(yield func(*Resp, error) bool) { receiveAll(b.s, yield) }
}

// Header returns the response metadata sent before the first response, once one has been received.
func (b *BidiCall[Req, Resp]) Header() Metadata { return b.s.Header() }

// Trailer returns the response metadata sent with the status, once Recv has returned an error.
func (b *BidiCall[Req, Resp]) Trailer() Metadata { return b.s.Trailer() }

// Close ends the call: it cancels it on the server unless its status has been received. It always returns nil; the
// error is there so that a call is an io.Closer. It may be called more than once.
func (b *BidiCall[Req, Resp]) Close() error {
	b.s.Close(nil)
	b.cancel()
	return nil
}

// An Upload is the client's side of a client streaming call.
type Upload[Req, Resp any] struct{ b *BidiCall[Req, Resp] }

// Send sends one request; see [BidiCall.Send].
func (u *Upload[Req, Resp]) Send(req *Req) error { return u.b.Send(req) }

// CloseAndRecv tells the server that no more requests follow, waits for the response and closes the call.
func (u *Upload[Req, Resp]) CloseAndRecv() (*Resp, error) {
	defer u.b.Close()
	if err := u.b.CloseSend(); err != nil {
		return nil, err
	}
	return u.b.Recv()
}

// Header returns the response metadata sent before the response, once that has been received.
func (u *Upload[Req, Resp]) Header() Metadata { return u.b.Header() }

// Trailer returns the response metadata sent with the status, once that has been received.
func (u *Upload[Req, Resp]) Trailer() Metadata { return u.b.Trailer() }

// Close gives the call up unless its response has been received; see [BidiCall.Close].
func (u *Upload[Req, Resp]) Close() error { return u.b.Close() }

type sender[T any] struct{ s Stream }

func (s sender[T]) Send(msg *T) error { return s.s.Send(msg) }

// respond sends what a handler with one response has returned.
func respond[T any](s Stream, method string, rsp *T, err error) error {
	if err != nil {
		return err
	}
	if rsp == nil {
		return Errorf(Internal, "%s: handler returned neither a response nor an error", method)
	}
	return s.Send(rsp)
}

// received returns the messages of a handler's caller.
func received[T any](s Stream) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) { receiveAll(s, yield) }
}

func receiveAll[T any](s Stream, yield func(*T, error) bool) {
	for {
		msg := new(T)
		switch err := s.Recv(msg); {
		case err == io.EOF:
			return
		case err != nil:
			yield(nil, err)
			return
		}
		if !yield(msg, nil) {
			return
		}
	}
}

// The rest is not generic, so that a method costs little code.

// prepared is a call that is about to be made.
type prepared struct {
	info    *CallInfo
	options *callOptions // nil if there are none
}

// prepare applies the options of a call and its timeout.
func prepare(ctx context.Context, sp *spec, opts []CallOption) (prepared, context.Context, context.CancelFunc) {
	p := prepared{info: &sp.info}
	if len(opts) > 0 {
		p.options = new(callOptions)
		for _, o := range opts {
			o.applyCall(p.options)
		}
		info := sp.info
		if p.options.class != nil {
			info.Class = *p.options.class
		}
		if t := p.options.timeout; t > 0 && (info.Timeout == 0 || t < info.Timeout) {
			info.Timeout = t
		}
		info.key = p.options.key
		info.wait = info.wait || p.options.wait
		info.retry = cmp.Or(p.options.retry, info.retry)
		info.hedge = cmp.Or(p.options.hedge, info.hedge)
		p.info = &info
	}
	if p.info.Timeout == 0 {
		return p, ctx, func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, p.info.Timeout)
	return p, ctx, cancel
}

// store hands the response metadata to whoever asked for it.
func (p *prepared) store(s Stream) {
	if p.options == nil {
		return
	}
	if p.options.header != nil {
		*p.options.header = s.Header()
	}
	if p.options.trailer != nil {
		*p.options.trailer = s.Trailer()
	}
}

func open(ctx context.Context, c Caller, p prepared) (Stream, error) {
	if p.options != nil && (!p.info.Class.Valid() || p.options.timeout < 0) {
		return nil, refusal(InvalidArgument, "%s: the class or the timeout of the call is not valid", p.info.Method)
	}
	if p.options != nil {
		if err := errors.Join(p.options.retry.check(), p.options.hedge.check()); err != nil {
			return nil, refusal(InvalidArgument, "%s: %w", p.info.Method, err)
		}
	}
	return c.Open(ctx, p.info)
}

func callOnce(ctx context.Context, c Caller, sp *spec, req, rsp any, opts []CallOption) error {
	p, ctx, cancel := prepare(ctx, sp, opts)
	defer cancel()
	s, err := open(ctx, c, p)
	if err != nil {
		return err
	}
	defer finishUnary(s)
	if err := sendOnly(s, req); err != nil {
		return err
	}
	err = s.Recv(rsp)
	if err == io.EOF {
		err = Errorf(Internal, "%s: the call ended without a response", sp.info.Method)
	}
	p.store(s)
	return err
}

// sendOnly sends the only request of a call.
func sendOnly(s Stream, req any) error {
	if err := s.Send(req); err != nil {
		return err
	}
	return s.CloseSend()
}

// remaining returns the time until the deadline of ctx, 0 if it has none. It is never negative.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(deadline), time.Microsecond)
}
