package framework

import "github.com/mycel-rpc/mycel/wire"

// Code is the outcome of a call: one of the sixteen canonical codes of gRPC, with the same numbers and meanings
// (https://grpc.io/docs/guides/status-codes), or OK. A Code other than OK is itself an error: a handler may return
// one, and errors.Is(err, NotFound) holds for every error of a call that ended with NotFound.
type Code = wire.Code

const (
	OK                 = wire.OK                 // no error
	Canceled           = wire.Canceled           // the caller gave up
	Unknown            = wire.Unknown            // a handler returned an error without a code
	InvalidArgument    = wire.InvalidArgument    // wrong whatever the state of the system
	DeadlineExceeded   = wire.DeadlineExceeded   // the time of the call is over
	NotFound           = wire.NotFound           // what was asked for does not exist
	AlreadyExists      = wire.AlreadyExists      // what should be made exists
	PermissionDenied   = wire.PermissionDenied   // the caller is known and may not
	ResourceExhausted  = wire.ResourceExhausted  // a limit or quota is used up; the message names it
	FailedPrecondition = wire.FailedPrecondition // the state of the system must change first
	Aborted            = wire.Aborted            // a conflict; try the whole transaction again
	OutOfRange         = wire.OutOfRange         // beyond the end
	Unimplemented      = wire.Unimplemented      // no such method
	Internal           = wire.Internal           // an invariant is broken, a handler panicked
	Unavailable        = wire.Unavailable        // not now; try again later
	DataLoss           = wire.DataLoss           // data is lost or corrupt
	Unauthenticated    = wire.Unauthenticated    // the caller is not known
)
