package framework

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/wire"
)

// A callContext is the context of a handler. It becomes a real context of package context only when somebody asks
// for Done, a value it does not know, or a derived context: most handlers never do, and a timer, a channel and
// an entry in the children of a parent for every call are not free.
type callContext struct {
	base        context.Context // of the server; has values but does not end
	deadline    time.Time       // zero if none
	info        *CallInfo
	received    []wire.Pair // metadata of the caller
	peer        *Peer
	call        *serverCall     // for response metadata
	scope       *largeobj.Scope // nil if the messages of the method cannot refer to large objects
	hasDeadline bool

	cause atomic.Pointer[error] // why the call was canceled; nil while it is not
	real  atomic.Pointer[realContext]
	mu    sync.Mutex // held to make real
}

// realContext is what a callContext becomes.
type realContext struct {
	context.Context
	cancel context.CancelCauseFunc
}

// Deadline returns the time at which the caller gives up.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, c.hasDeadline }

// Done returns a channel that is closed when the caller has given up, the deadline has passed, the connection has
// ended or the handler has returned.
func (c *callContext) Done() <-chan struct{} { return c.realize().Done() }

// Err returns context.Canceled or context.DeadlineExceeded once Done is closed.
func (c *callContext) Err() error {
	if real := c.real.Load(); real != nil {
		return real.Err()
	}
	if c.cause.Load() != nil {
		return context.Canceled
	}
	if c.hasDeadline && !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Keys of what the context of a handler knows without a chain of contexts.
type (
	callInfoKey   struct{}
	peerKey       struct{}
	serverCallKey struct{}
)

// Value returns what the framework put there, or asks the context of the server. The key by which package context
// finds its own contexts is unknown here, so that asking for it makes one: then [context.Cause] works.
func (c *callContext) Value(key any) any {
	switch key {
	case incomingMetadataKey{}:
		return Metadata{c.received}
	case outgoingMetadataKey{}: // nothing that came in goes out by itself
		return nil
	case callInfoKey{}:
		return c.info
	case peerKey{}:
		return c.peer
	case serverCallKey{}:
		return c.call
	case largeobj.ScopeKey{}:
		return c.scope
	}
	return c.realize().Value(key)
}

func (c *callContext) realize() context.Context {
	if real := c.real.Load(); real != nil {
		return real
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if real := c.real.Load(); real != nil {
		return real
	}
	real := new(realContext)
	real.Context, real.cancel = context.WithCancelCause(c.base)
	if c.hasDeadline {
		cancel := real.cancel
		ctx, stop := context.WithDeadline(real.Context, c.deadline)
		real.Context, real.cancel = ctx, func(cause error) {
			cancel(cause)
			stop()
		}
	}
	c.real.Store(real)
	if cause := c.cause.Load(); cause != nil { // end may have looked before real was there
		real.cancel(*cause)
	}
	return real
}

// end cancels the context. The first cause stays.
func (c *callContext) end(cause *error) {
	if !c.cause.CompareAndSwap(nil, cause) {
		return
	}
	if real := c.real.Load(); real != nil {
		real.cancel(*cause)
	}
}

// expired reports whether nobody waits for the call any more.
func (c *callContext) expired() bool {
	return c.hasDeadline && !time.Now().Before(c.deadline) || c.cause.Load() != nil
}

// CallInfoFrom returns the description of the call that a handler's context belongs to, nil in any other context.
func CallInfoFrom(ctx context.Context) *CallInfo {
	info, _ := ctx.Value(callInfoKey{}).(*CallInfo)
	return info
}

// PeerFrom returns the caller of a handler as somebody to call: the methods it serves on its [Client]. It stays
// usable after the handler has returned, as long as the caller is connected. It is nil in any other context.
func PeerFrom(ctx context.Context) *Peer {
	p, _ := ctx.Value(peerKey{}).(*Peer)
	return p
}

// SetHeader adds response metadata that the caller gets before the first message. It fails with
// [FailedPrecondition] after that, and outside of handlers.
func SetHeader(ctx context.Context, key, value string) error {
	c, _ := ctx.Value(serverCallKey{}).(*serverCall)
	if c == nil {
		return Errorf(FailedPrecondition, "SetHeader: not in the context of a handler")
	}
	return c.setHeader(key, value)
}

// SetTrailer adds response metadata that the caller gets with the status. It fails with [FailedPrecondition] outside
// of handlers.
func SetTrailer(ctx context.Context, key, value string) error {
	c, _ := ctx.Value(serverCallKey{}).(*serverCall)
	if c == nil {
		return Errorf(FailedPrecondition, "SetTrailer: not in the context of a handler")
	}
	return c.setTrailer(key, value)
}
