package wire

import (
	"errors"
	"fmt"
)

// ErrTruncated means that the input ends before the item does: read more and call again, or, where the whole
// input is at hand, treat it as a violation of the format.
var ErrTruncated = errors.New("wire: truncated")

// A LimitError says that something was larger than a limit allows. It names what the user would have to change.
type LimitError struct {
	What  string // what was too large, for instance "message"
	Limit uint64 // in bytes, or in pieces when What is counted
	Got   uint64
	Knob  string // the setting that raises the limit; empty when the limit is part of the protocol
}

func (e *LimitError) Error() string {
	s := fmt.Sprintf("wire: %s of %d exceeds the limit of %d", e.What, e.Got, e.Limit)
	if e.Knob != "" {
		s += " (" + e.Knob + ")"
	}
	return s
}

// A FormatError says which part of the input violates the protocol specification, and how.
type FormatError struct {
	What   string // the part, for instance "request header"
	Reason string
}

func (e *FormatError) Error() string { return "wire: " + e.What + ": " + e.Reason }

func malformed(what, reason string) error { return &FormatError{What: what, Reason: reason} }
