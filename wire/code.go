package wire

import "strconv"

// Code is the outcome of a call: the sixteen canonical codes of gRPC plus OK, with the same numbers
// (https://grpc.io/docs/guides/status-codes). A Code other than OK is itself an error, so that
// errors.Is(err, NotFound) works on every error that carries one.
type Code uint8

const (
	OK                 Code = 0
	Canceled           Code = 1
	Unknown            Code = 2
	InvalidArgument    Code = 3
	DeadlineExceeded   Code = 4
	NotFound           Code = 5
	AlreadyExists      Code = 6
	PermissionDenied   Code = 7
	ResourceExhausted  Code = 8
	FailedPrecondition Code = 9
	Aborted            Code = 10
	OutOfRange         Code = 11
	Unimplemented      Code = 12
	Internal           Code = 13
	Unavailable        Code = 14
	DataLoss           Code = 15
	Unauthenticated    Code = 16

	maxCode = Unauthenticated
)

var codeNames = [...]string{
	"ok", "canceled", "unknown", "invalid argument", "deadline exceeded", "not found", "already exists",
	"permission denied", "resource exhausted", "failed precondition", "aborted", "out of range",
	"unimplemented", "internal", "unavailable", "data loss", "unauthenticated",
}

// Valid reports whether c is OK or one of the sixteen codes.
func (c Code) Valid() bool { return c <= maxCode }

// String returns the name of the code in lower case, "code 17" for an invalid one.
func (c Code) String() string {
	if c.Valid() {
		return codeNames[c]
	}
	return "code " + strconv.Itoa(int(c))
}

// Error makes a Code an error; it returns the same text as [Code.String].
func (c Code) Error() string { return c.String() }

// Application error codes on QUIC streams (RESET_STREAM and STOP_SENDING). A stream that ends because its
// call ended carries the status code of the call: ResetCall + code.
const (
	ResetNone     uint64 = 0x00  // the reader needs no more; nothing went wrong
	ResetProtocol uint64 = 0x01  // the peer violated this specification on this stream
	ResetTooLarge uint64 = 0x02  // a frame exceeded a limit
	ResetCall     uint64 = 0x100 // ResetCall + Code
)

// ResetFor returns the stream error code that tells the peer a call ended with c.
func ResetFor(c Code) uint64 { return ResetCall + uint64(c) }

// CodeOfReset returns the status code that a stream error code carries; Canceled for [ResetNone] and
// Internal for anything else that is not one.
func CodeOfReset(reset uint64) Code {
	switch {
	case reset == ResetNone:
		return Canceled
	case reset >= ResetCall && reset <= ResetCall+uint64(maxCode):
		return Code(reset - ResetCall)
	}
	return Internal
}

// Application error codes of a closed connection (CONNECTION_CLOSE). The reason phrase says in words what was
// violated or why the peer leaves.
const (
	CloseNone      uint64 = 0 // the application closed the connection
	CloseProtocol  uint64 = 1 // the peer violated this specification
	CloseLimit     uint64 = 2 // the peer exceeded a limit of this specification
	CloseHandshake uint64 = 3 // no acceptable hello arrived in time
	CloseDrained   uint64 = 4 // both sides finished their calls after a goaway
	CloseTimeout   uint64 = 5 // pings went unanswered
	CloseRefused   uint64 = 6 // the acceptor takes no more connections
)
