package pool

import (
	"errors"
	"fmt"
	"time"
)

// ErrClosed is what Get fails with after Close.
var ErrClosed = errors.New("pool: closed")

// errNoEndpoints is why a resolution without a result has failed.
var errNoEndpoints = errors.New("no endpoints")

// errNotAnEndpoint is why there is no connection to an endpoint that the resolver does not find any more.
var errNotAnEndpoint = errors.New("the resolver does not find this endpoint any more")

// A DialError says that the target cannot be reached at the moment. When there are several endpoints it is about
// the one that is tried again first.
type DialError struct {
	Target   string
	Endpoint Endpoint // zero when the target could not be resolved
	Role     Role
	Attempts int           // failures in a row
	RetryIn  time.Duration // until then Get fails without trying again; 0 when the time has come
	Err      error         // of the last attempt
}

func (e *DialError) Error() string {
	what := "resolve " + e.Target
	if e.Endpoint != (Endpoint{}) {
		what = fmt.Sprintf("dial %s (%s)", e.Endpoint.Address, e.Role)
	}
	return fmt.Sprintf("pool: %s: attempt %d failed, next in %v: %v", what, e.Attempts, e.RetryIn.Round(time.Millisecond), e.Err)
}

// Unwrap returns the error of the last attempt.
func (e *DialError) Unwrap() error { return e.Err }
