package framework

import (
	"context"
	"sync"
	"time"
)

// A callContext is the context of a handler. It becomes a real context of package context only when somebody asks
// for Done, a value it does not know, or a derived context: most handlers never do, and a timer, a channel and
// an entry in the children of a parent for every call are not free.
type callContext struct {
	base        context.Context // of the server; has values but does not end
	deadline    time.Time       // zero if none
	info        *CallInfo
	metadata    Metadata
	peer        *Peer
	call        *serverCall // for response metadata
	hasDeadline bool

	mu struct {
		sync.Mutex
		real   context.Context // nil until needed
		cancel context.CancelCauseFunc
		cause  error // why the call was canceled; nil while it is not
	}
}

// Deadline returns the time at which the caller gives up.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, c.hasDeadline }

// Done returns a channel that is closed when the caller has given up, the deadline has passed, the connection has
// ended or the handler has returned.
func (c *callContext) Done() <-chan struct{} { return c.realize().Done() }

// Err returns context.Canceled or context.DeadlineExceeded once Done is closed.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mu.real != nil:
		return c.mu.real.Err()
	case c.mu.cause != nil:
		return context.Canceled
	case c.hasDeadline && !time.Now().Before(c.deadline):
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
		return c.metadata
	case outgoingMetadataKey{}: // nothing that came in goes out by itself
		return nil
	case callInfoKey{}:
		return c.info
	case peerKey{}:
		return c.peer
	case serverCallKey{}:
		return c.call
	}
	return c.realize().Value(key)
}

func (c *callContext) realize() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.real != nil {
		return c.mu.real
	}
	ctx, cancel := context.WithCancelCause(c.base)
	c.mu.cancel = cancel
	if c.hasDeadline {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, c.deadline)
		c.mu.cancel = func(cause error) {
			cancel(cause)
			stop()
		}
	}
	c.mu.real = ctx
	if c.mu.cause != nil {
		c.mu.cancel(c.mu.cause)
	}
	return ctx
}

// end cancels the context. The first cause stays.
func (c *callContext) end(cause error) {
	c.mu.Lock()
	if c.mu.cause != nil {
		c.mu.Unlock()
		return
	}
	c.mu.cause = cause
	cancel := c.mu.cancel
	c.mu.Unlock()
	if cancel != nil { // outside the lock: it runs the callbacks of derived contexts
		cancel(cause)
	}
}

// expired reports whether nobody waits for the call any more.
func (c *callContext) expired() bool {
	if c.hasDeadline && !time.Now().Before(c.deadline) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.cause != nil
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
