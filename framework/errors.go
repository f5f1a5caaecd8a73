package framework

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// Error is the error of a call: a code, a message, and optionally details (typed values, see [Error.WithDetail]).
//
// Handlers return one made by [Errorf] to tell the caller what is wrong. Code, message and details cross the wire,
// so the message must not hold addresses, paths or secrets; the cause stays local. What a handler returns arrives
// at the caller like this:
//
//   - an *Error of its own, also when wrapped: as that *Error (the text of the wrapping does not cross);
//   - a bare [Code], also when wrapped: as that code without a message;
//   - context.Canceled or context.DeadlineExceeded: as [Canceled] or [DeadlineExceeded];
//   - an *Error that a call of the handler ended with: as [Unknown], for NotFound of some other service says
//     nothing about this one; only Canceled and DeadlineExceeded keep their code, because those are shared down
//     the chain of calls. To pass more on, make an error of your own: Errorf(CodeOf(err), "...: %w", err);
//   - any other error: as [Unknown], without its text.
//
// An *Error is not changed after it was made and is safe for concurrent use.
type Error struct {
	Code    Code
	Message string // for people; may be empty
	Remote  bool   // the peer sent this error

	cause   error         // stays local; may be nil
	details []wire.Detail // never changed in place: copies of the Error share it

	unprocessed bool
	ofCall      bool // a call made by this process ended with this error
}

// Errorf returns an error with the code and a message formatted as by fmt.Errorf. What %w wraps is the cause: its
// text becomes part of the message, as written, and errors.Is and errors.As find it on this side of the wire.
// [OK] and numbers that are no code become [Internal].
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
	if _, several := err.(interface{ Unwrap() []error }); several {
		e.cause = err
	}
	if code == OK || !code.Valid() {
		e.Code = Internal
	}
	return e
}

// Error returns code and message, for instance "not found: no such user", after "remote: " when the peer sent it.
func (e *Error) Error() string {
	s := e.Code.String()
	if e.Remote {
		s = "remote: " + s
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap returns the local cause, nil when there is none.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is the code of e. An e with code [Canceled] or [DeadlineExceeded] also is
// context.Canceled or context.DeadlineExceeded, whichever side noticed first.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == Canceled
	case context.DeadlineExceeded:
		return e.Code == DeadlineExceeded
	}
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unprocessed reports whether the call surely never reached a handler, so that making it again is safe whatever
// the method does. False means that nobody knows.
func (e *Error) Unprocessed() bool { return e.unprocessed }

// CodeOf returns the code of err: OK for nil, the code of the outermost *[Error] or [Code] that err is or wraps,
// Canceled and DeadlineExceeded for the errors of package context, and Unknown for everything else.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	code, e := codeOf(err)
	if e != nil {
		code = e.Code
	}
	if code == OK || !code.Valid() {
		return Unknown
	}
	return code
}

// codeOf returns the *Error in err or, when there is none, the code that err stands for.
func codeOf(err error) (Code, *Error) {
	if e, ok := errors.AsType[*Error](err); ok {
		if e == nil { // a nil *Error in an error: nothing in it can be asked
			return Unknown, nil
		}
		return e.Code, e
	}
	if code, ok := errors.AsType[Code](err); ok {
		return code, nil
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded, nil
	case errors.Is(err, context.Canceled):
		return Canceled, nil
	}
	return Unknown, nil
}

// refusal returns the error of a call that this process turns away before any handler sees it.
func refusal(code Code, format string, args ...any) *Error {
	e := Errorf(code, format, args...)
	e.unprocessed = true
	return e
}

// status returns e as it crosses the wire, for errors that the framework itself makes. What a handler returned
// goes through [statusOf]. A message that is too long is cut, and what is not UTF-8 in it is replaced: the peer would
// refuse either.
func (e *Error) status() wire.Status {
	return wire.Status{
		Code:        e.Code,
		Message:     wire.CutText(strings.ToValidUTF8(e.Message, "\uFFFD"), wire.MaxMessageText),
		Details:     e.details,
		Unprocessed: e.unprocessed,
	}
}

// statusOf returns what the caller gets to know of err, which a handler returned; the rules stand at [Error].
func statusOf(err error) wire.Status {
	if err == nil {
		return wire.Status{}
	}
	code, e := codeOf(err)
	switch {
	case code == OK || !code.Valid():
		return wire.Status{Code: Unknown, Message: "handler returned an error with code OK or none"}
	case e == nil && code == Unknown:
		return wire.Status{Code: Unknown, Message: "handler returned an error"}
	case e == nil:
		return wire.Status{Code: code}
	case !e.Remote && !e.ofCall:
		st := e.status()
		st.Unprocessed = false // a handler has run
		return st
	case code == Canceled || code == DeadlineExceeded:
		return wire.Status{Code: code, Message: "a call made by the handler ended with it"}
	}
	return wire.Status{Code: Unknown, Message: "handler returned the error of a call it made"}
}

// errorOf returns the error that st, received from the peer, stands for. It takes over st.Details.
// A code that is none, or OK, becomes Unknown.
func errorOf(st wire.Status) *Error {
	if st.Code == OK || !st.Code.Valid() {
		st.Code = Unknown
	}
	return &Error{
		Code: st.Code, Message: st.Message, Remote: true,
		details: st.Details, unprocessed: st.Unprocessed, ofCall: true,
	}
}

// convert returns the error that a call bound to ctx ends with when a lower layer reports err. It is the one
// place where the errors of other packages get a code; an err that holds an *Error stays as it is.
func convert(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	// An ended context explains whatever else went wrong. ctx.Err never changes once it is set; before, a peer
	// that noticed the deadline first is not a cancellation: the time of the caller decides.
	ended := ctx.Err()
	unready, dial := errors.AsType[*pool.DialError](err) // has a context of its own
	if ended == nil && !dial && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		ended = context.Canceled
		if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
			ended = context.DeadlineExceeded
		}
	} else if ended != nil {
		err = context.Cause(ctx)
	}
	e := &Error{Code: Unavailable, Message: "connection failed", cause: err, ofCall: true}
	switch ended {
	case nil:
		e.explain(err)
	case context.DeadlineExceeded:
		e.Code, e.Message = DeadlineExceeded, "the deadline of the call has passed"
	default:
		e.Code, e.Message = Canceled, "the call was canceled"
	}
	if ended != nil && dial { // see WaitForReady
		e.Message += ", and no server could be reached: " + unready.Error()
		e.unprocessed = true
	}
	return e
}

// explain sets code and message for what packages streams and wire report.
func (e *Error) explain(err error) {
	switch {
	case errors.Is(err, streams.ErrDraining):
		e.Message, e.unprocessed = "the peer takes no more calls on this connection", true
		return
	case errors.Is(err, streams.ErrSilent):
		e.Message = "the peer does not answer"
		return
	case errors.Is(err, streams.ErrStalled):
		e.Message = "the peer stopped in the middle of a message"
		return
	case errors.Is(err, streams.ErrEnded):
		e.Code, e.Message = FailedPrecondition, "the call has ended"
		if reset, ok := errors.AsType[*streams.ResetError](err); ok && reset.Code != wire.ResetNone {
			e.Code, e.Remote = wire.CodeOfReset(reset.Code), reset.Remote
		}
		return
	}
	if dial, ok := errors.AsType[*pool.DialError](err); ok {
		e.Message, e.unprocessed = dial.Error(), true
		return
	}
	if errors.Is(err, pool.ErrClosed) {
		e.Code, e.Message, e.unprocessed = Canceled, "the client has been closed", true
		return
	}
	if conn, ok := errors.AsType[*streams.ConnError](err); ok {
		e.unprocessed = conn.Code == wire.CloseRefused && conn.Remote // it serves nothing on such a connection
		if e.Remote = conn.Remote; conn.Text != "" {
			e.Message = "connection closed: " + conn.Text
		} else if conn.Err != nil {
			e.Message = "connection lost: " + conn.Err.Error()
		}
	} else if reset, ok := errors.AsType[*streams.ResetError](err); ok {
		e.Code, e.Message, e.Remote = wire.CodeOfReset(reset.Code), "the peer gave the call up", reset.Remote
	} else if limit, ok := errors.AsType[*wire.LimitError](err); ok {
		e.Code, e.Message = ResourceExhausted, limit.Error()
	} else if format, ok := errors.AsType[*wire.FormatError](err); ok {
		e.Code, e.Message = Internal, "the peer broke the protocol: "+format.Error()
	}
}
