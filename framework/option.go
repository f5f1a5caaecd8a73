package framework

import (
	"time"
)

// A MethodOption is a property that a method is declared with; both sides see it.
type MethodOption interface{ applyMethod(*spec) }

// A CallOption changes one call.
type CallOption interface{ applyCall(*callOptions) }

// callOptions is what the options of one call say.
type callOptions struct {
	class   *Class
	timeout time.Duration
	key     string
	retry   *RetryPolicy
	hedge   *Hedge
	wait    bool
	header  *Metadata
	trailer *Metadata
}

type methodOption func(*spec)

func (f methodOption) applyMethod(s *spec) { f(s) }

// Idempotent declares that calling the method twice with the same request is as good as calling it once, so that a
// call whose connection failed may be tried again even when it may have reached a handler.
func Idempotent() MethodOption { return methodOption(func(s *spec) { s.info.Idempotent = true }) }

// Inline declares that the handler is short and never blocks, such as a look-up in memory. It then runs on the
// goroutine that reads the connection, which saves the start of a goroutine; one that does block holds up
// every call of its class on that connection. Unary methods only.
func Inline() MethodOption { return methodOption(func(s *spec) { s.inline = true }) }

// ClassOption is the result of [WithClass].
type ClassOption Class

// WithClass sets the class: of a method when it is declared, of a single call when it is made. A call may be less urgent
// than its method; a more urgent class is used on the wire, but not by the gates of the server.
func WithClass(c Class) ClassOption { return ClassOption(c) }

func (c ClassOption) applyMethod(s *spec)      { s.info.Class = Class(c) }
func (c ClassOption) applyCall(o *callOptions) { o.class = (*Class)(&c) }

// TimeoutOption is the result of [WithTimeout].
type TimeoutOption time.Duration

// WithTimeout bounds the time of a call: of every call when a method is declared with it, of a single one when it
// is made with it. The earliest of this and the deadline of the context counts. It must be positive.
func WithTimeout(d time.Duration) TimeoutOption { return TimeoutOption(d) }

func (d TimeoutOption) applyMethod(s *spec)      { s.info.Timeout = time.Duration(d) }
func (d TimeoutOption) applyCall(o *callOptions) { o.timeout = time.Duration(d) }

// WaitOption is the result of [WaitForReady].
type WaitOption struct{}

// WaitForReady makes a call wait as long as no server can be reached, instead of failing at once with [Unavailable]: every call
// when a method is declared with it, a single one when it is made with it. It waits until its context or its timeout ends; the
// error then says both that and why no server could be reached. It is for clients that start before their servers.
func WaitForReady() WaitOption { return WaitOption{} }

func (WaitOption) applyMethod(s *spec)      { s.info.wait = true }
func (WaitOption) applyCall(o *callOptions) { o.wait = true }

type callOption func(*callOptions)

func (f callOption) applyCall(o *callOptions) { f(o) }

// HeaderInto stores the response metadata that arrived before the first message in md, when the call returns.
// For streaming calls use the Header method of the stream.
func HeaderInto(md *Metadata) CallOption { return callOption(func(o *callOptions) { o.header = md }) }

// TrailerInto stores the response metadata that arrived with the status in md, when the call returns.
// For streaming calls use the Trailer method of the stream.
func TrailerInto(md *Metadata) CallOption { return callOption(func(o *callOptions) { o.trailer = md }) }
