package framework

import (
	"context"
	"time"

	"github.com/mycel-rpc/mycel/framework/internal/content"
)

// CallInfo describes a call. It must not be modified.
type CallInfo struct {
	Method     string // for instance "greeter.v1/Hello"
	Kind       CallKind
	Class      Class
	Idempotent bool
	Timeout    time.Duration // that the method was declared with, or the call made with; zero means none

	key   string       // calls with the same key go to the same endpoint; "" is none
	retry *RetryPolicy // nil for that of the client
	hedge *Hedge       // nil for no hedging
	wait  bool         // for a server that can be reached
	spec  *spec
}

// A Caller makes calls: a [Client], the peer of a handler ([PeerFrom]), or a fake in a test.
type Caller interface {
	// Open starts the call that info describes. It is bound to ctx: when ctx ends, so does the call. The caller
	// of Open must call Close on the result.
	Open(ctx context.Context, info *CallInfo) (Stream, error)
}

// A Stream is one call with untyped messages: what interceptors see and what typed calls are made of. On the
// client its messages are those of the caller, on the server those of the handler. One goroutine may send while
// another receives; Close and CloseSend may be called at any time.
type Stream interface {
	// Send sends one message, a pointer to the message type of the method. It encodes at once; msg may be reused
	// when Send returns, except in calls with one request, where the client borrows it until Recv returns.
	Send(msg any) error

	// CloseSend says that no more messages follow. On the server it does nothing: returning from the handler does.
	CloseSend() error

	// Recv decodes the next message into msg, a pointer to the message type of the method. It returns io.EOF after
	// the last message, on the client only if the call succeeded; otherwise the error is an [*Error].
	Recv(msg any) error

	// Header returns the response metadata sent before the first message, once that has been received.
	Header() Metadata

	// Trailer returns the response metadata sent with the status, once Recv has returned an error.
	Trailer() Metadata

	// Close ends the call if it has not ended and frees what it holds; the peer gets to know the reason, which may be
	// nil. In a streaming call it may be used at any time to unblock Send and Recv; in a unary call it must not
	// overlap them. On the server it does nothing.
	Close(reason error)
}

// ServerFunc handles one call on the server.
type ServerFunc func(ctx context.Context, info *CallInfo, s Stream) error

// A ServerInterceptor wraps the handling of every call. It runs before the request is decoded, so that it can turn a
// call away cheaply; metadata is in the context ([MetadataFrom]). The returned error is the status of the call.
type ServerInterceptor func(next ServerFunc) ServerFunc

// ClientFunc starts one call on the client.
type ClientFunc func(ctx context.Context, info *CallInfo) (Stream, error)

// A ClientInterceptor wraps the making of every call. To see messages or the outcome it returns a [Stream] of its
// own around that of next.
type ClientInterceptor func(next ClientFunc) ClientFunc

// spec is a declared method. It is immutable once declared.
type spec struct {
	info     CallInfo
	inline   bool
	req, rsp *content.Kind
	content  content.KindOptions
	linked   bool       // messages may refer to large objects
	newReq   func() any // a new request message, for calls of a linked method that no handler takes
	newRsp   func() any // a new response message, for hedges
	setRsp   func(to, from any)
}
