package largeobj

import (
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

var (
	// ErrClosed is returned by what a closed store is asked for.
	ErrClosed = errors.New("largeobj: the store has been closed")
	// ErrReleased is returned for an object that its holder has given back.
	ErrReleased = errors.New("largeobj: the object has been released")
	// ErrUnknown is returned for an object that its owner no longer has.
	ErrUnknown = errors.New("largeobj: the owner no longer has the object")
	// ErrLost is wrapped by the errors of a [Peer] whose connection was lost: a fetch may be tried again.
	ErrLost = errors.New("largeobj: the connection to the owner was lost")
	// ErrOtherStore is returned for a [Ref] that is sent over a client or server with another store than its own.
	ErrOtherStore = errors.New("largeobj: the object belongs to another store than the connection")
	// ErrNoConnection is returned for a [Ref] that is encoded outside of a call.
	ErrNoConnection = errors.New("largeobj: a Ref travels in the messages of calls only")
)

// A LimitError says which bound of [Config] an object exceeds.
type LimitError struct {
	Knob       string // the field of Config
	Limit, Got int64
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("largeobj: %d exceeds the limit of %d (%s)", e.Got, e.Limit, e.Knob)
}

// A CorruptError says that the bytes of an object are not what its owner sent.
type CorruptError = transfer.CorruptError
