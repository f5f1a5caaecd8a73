package streams

import (
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/wire"
)

var (
	// ErrClosed means that the connection was closed by this side.
	ErrClosed = errors.New("streams: connection closed")
	// ErrDraining means that the peer takes no further calls on this connection: it sent goaway. The call did not
	// start and is safe to start elsewhere.
	ErrDraining = errors.New("streams: connection is draining")
	// ErrCrowded means that the peer grants no more streams on this connection for now, and that [Config.Crowded] knows of a
	// better one. The call did not start.
	ErrCrowded = errors.New("streams: the peer grants no more streams on the connection")
	// ErrEnded means that the peer has already ended the call; its response is ready to be received.
	ErrEnded = errors.New("streams: call has ended")
	// ErrSilent means that a call was given up because its peer is silent and the call can be made elsewhere.
	ErrSilent = errors.New("streams: peer is silent")
	// ErrStalled means that a peer stopped in the middle of a request or a response for 30 seconds.
	ErrStalled = errors.New("streams: peer stopped in the middle of a message for 30s")
)

// A ConnError says why a connection ended.
type ConnError struct {
	Code   uint64 // a Close code of package wire
	Text   string
	Remote bool  // the peer said so
	Err    error // the error of the transport, when it was neither side's decision
}

func (e *ConnError) Error() string {
	switch {
	case e.Err != nil:
		return "streams: connection lost: " + e.Err.Error()
	case e.Remote:
		return fmt.Sprintf("streams: peer closed the connection (code %d): %s", e.Code, e.Text)
	}
	return fmt.Sprintf("streams: connection closed (code %d): %s", e.Code, e.Text)
}

func (e *ConnError) Unwrap() error { return e.Err }

// Is makes a connection that this side closed match [ErrClosed].
func (e *ConnError) Is(target error) bool {
	return target == ErrClosed && !e.Remote && e.Err == nil
}

// A ResetError says that one direction of a stream was ended early: by RESET_STREAM or STOP_SENDING when Remote.
type ResetError struct {
	Code   uint64 // a Reset code of package wire
	Remote bool
}

func (e *ResetError) Error() string {
	who := "this side"
	if e.Remote {
		who = "the peer"
	}
	return fmt.Sprintf("streams: stream reset by %s with code %#x (%v)", who, e.Code, wire.CodeOfReset(e.Code))
}

// violation is the error of a peer that broke the protocol; it closes the connection.
func violation(code uint64, format string, args ...any) *ConnError {
	return &ConnError{Code: code, Text: fmt.Sprintf(format, args...)}
}

// violationOf turns an error of package wire, about something that the peer sent, into the error that closes the
// connection.
func violationOf(err error) *ConnError {
	if broken := (*ConnError)(nil); errors.As(err, &broken) {
		return broken
	}
	if limit := (*wire.LimitError)(nil); errors.As(err, &limit) {
		return violation(wire.CloseLimit, "%v", err)
	}
	return violation(wire.CloseProtocol, "%v", err)
}
