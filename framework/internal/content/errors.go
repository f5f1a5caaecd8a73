package content

import (
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/codec"
)

// An EncodeError says that a message cannot be encoded: a mistake of whoever made it.
type EncodeError struct {
	Name string // of the kind
	Err  error
}

func (e *EncodeError) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap returns what the codec says.
func (e *EncodeError) Unwrap() error { return e.Err }

// A SizeError says that a message is larger than one of the sides accepts.
type SizeError struct {
	Name  string // of the kind
	Bytes int    // 0 if it is not known: the message could not be decompressed within the limit
	Limit int
	Peer  bool // the limit is that of the other side
	Err   error
}

func (e *SizeError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("%s: %v (MaxMessageBytes)", e.Name, e.Err)
	case e.Peer:
		return fmt.Sprintf("%s of %d bytes exceeds the receiver's limit of %d (its MaxMessageBytes); larger data belongs into a large object or a stream", e.Name, e.Bytes, e.Limit)
	}
	return fmt.Sprintf("%s of %d bytes exceeds the limit of %d (MaxMessageBytes)", e.Name, e.Bytes, e.Limit)
}

// Unwrap returns what the decompression says.
func (e *SizeError) Unwrap() error { return e.Err }

// A LostError says that a message refers to something which this side does not have and will not get: the call may be tried
// again with the whole message.
type LostError struct {
	Name string // of the kind
	Err  error
}

func (e *LostError) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *LostError) Unwrap() error { return e.Err }

// isLimit reports whether a message was refused because of its size.
func isLimit(err error) bool {
	if _, ok := errors.AsType[*wire.LimitError](err); ok {
		return true
	}
	if limit, ok := errors.AsType[*codec.LimitError](err); ok && limit.Limit == "MaxMessageBytes" {
		return true // of what is packed
	}
	_, ok := errors.AsType[*dedup.LimitError](err)
	return ok
}
