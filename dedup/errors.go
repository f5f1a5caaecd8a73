package dedup

import (
	"errors"
	"fmt"
)

// ErrNoBase means that a delta names the previous message, and this side does not have it: no base was sent, or the
// budgets left no room for it. The stream cannot go on; a new one begins with a whole message.
var ErrNoBase = errors.New("dedup: delta without a base")

// A FormatError says which part of the input violates the protocol specification, and how.
type FormatError struct {
	What   string // the part, for instance "reference"
	Reason string
}

func (e *FormatError) Error() string { return "dedup: " + e.What + ": " + e.Reason }

func malformed(what, reason string) error { return &FormatError{What: what, Reason: reason} }

// A LimitError says that something the peer announced was larger than a limit allows, before anything was allocated.
type LimitError struct {
	What  string // what was too large, for instance "message"
	Limit uint64 // in bytes, or in pieces when What is counted
	Got   uint64
	Knob  string // the setting that raises the limit; empty when the limit is part of the protocol
}

func (e *LimitError) Error() string {
	s := fmt.Sprintf("dedup: %s of %d exceeds the limit of %d", e.What, e.Got, e.Limit)
	if e.Knob != "" {
		s += " (" + e.Knob + ")"
	}
	return s
}

// A ChecksumError says that a message put together from what both sides remember is not the one that was sent: they
// remember different things. None of its bytes are returned.
type ChecksumError struct {
	Want uint32 // what the sender computed
	Got  uint32
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("dedup: message has checksum %08x, the sender says %08x", e.Got, e.Want)
}

// A MissError says that a message refers to a body which the receiver does not have.
type MissError struct {
	Slot, Generation uint64 // the first one that is missing
	// Lost says that the body will not come: fail the call before its handler runs, it may be tried again. Otherwise the
	// body has been asked for: flush the notices, decode the message again once [Decoder.Handle] reports a change.
	Lost bool
}

func (e *MissError) Error() string {
	state := "asked for"
	if e.Lost {
		state = "lost"
	}
	return fmt.Sprintf("dedup: generation %d of slot %d is missing and %s", e.Generation, e.Slot, state)
}
