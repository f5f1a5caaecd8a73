package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/mycel-rpc/mycel/wire"
)

// TestErrorsOfQUICBecomeOurs, in one place and once.
func TestErrorsOfQUICBecomeOurs(t *testing.T) {
	lost := &quic.IdleTimeoutError{}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"no error", nil, nil},
		{"the end of a stream", io.EOF, io.EOF},
		{"a stream reset by the peer", &quic.StreamError{ErrorCode: 0x105, Remote: true}, &ResetError{Code: 0x105, Remote: true}},
		{"a connection closed by the peer", &quic.ApplicationError{ErrorCode: 4, ErrorMessage: "bye", Remote: true}, &ConnError{Code: 4, Text: "bye", Remote: true}},
		{"a read deadline", fmt.Errorf("read: %w", os.ErrDeadlineExceeded), ErrStalled},
		{"the end of a context", context.Canceled, context.Canceled},
		{"a lost connection", lost, &ConnError{Err: lost}},
	} {
		got := quicError(c.err)
		if fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", c.want, c.want) {
			t.Errorf("%s: got %T %v, want %T %v", c.name, got, got, c.want, c.want)
		}
		if again := quicError(got); again != got {
			t.Errorf("%s: converted twice: %v", c.name, again)
		}
	}
	if err := quicError(lost); !errors.As(err, new(*quic.IdleTimeoutError)) {
		t.Error("the cause of a lost connection is lost")
	}
}

// TestWhoClosed: only a connection that this side closed matches ErrClosed.
func TestWhoClosed(t *testing.T) {
	for _, c := range []struct {
		err  *ConnError
		want bool
	}{{&ConnError{}, true}, {&ConnError{Remote: true}, false}, {&ConnError{Err: io.ErrUnexpectedEOF}, false}} {
		if got := errors.Is(c.err, ErrClosed); got != c.want {
			t.Errorf("%v is ErrClosed: %v, want %v", c.err, got, c.want)
		}
	}
	if err := violationOf(&wire.LimitError{What: "frame", Limit: 1, Got: 2}); err.Code != wire.CloseLimit {
		t.Errorf("a limit closes with code %d", err.Code)
	}
	if err := violationOf(&wire.FormatError{What: "frame", Reason: "is odd"}); err.Code != wire.CloseProtocol {
		t.Errorf("a format closes with code %d", err.Code)
	}
}
