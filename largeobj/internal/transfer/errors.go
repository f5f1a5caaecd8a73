package transfer

import (
	"errors"
	"fmt"
)

// ErrChanged means that a file that is served is no longer the one that was opened: it was written to, truncated or
// replaced. Its receivers must start again with the new object.
var ErrChanged = errors.New("transfer: file changed while it was served")

// ErrBusy means that another [Receive] writes to the same file.
var ErrBusy = errors.New("transfer: file is being received already")

// A ProtocolError says which rule the other side violated.
type ProtocolError struct {
	Rule      string // as a sentence: "chunks of a range follow each other"
	Want, Got int64  // the number by the rule, and the one that came; the same when no number is wrong
}

func (e *ProtocolError) Error() string {
	if e.Want == e.Got {
		return "transfer: peer violated: " + e.Rule
	}
	return fmt.Sprintf("transfer: peer violated: %s (want %d, got %d)", e.Rule, e.Want, e.Got)
}

// A CorruptError says that a leaf did not have the hash that came with it, also after it was fetched once more.
type CorruptError struct {
	ID   [16]byte // of the object
	Leaf int64    // index, from 0
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("transfer: leaf %d of object %x is corrupt, twice", e.Leaf, e.ID)
}

// A LimitError says that something was larger than a limit allows.
type LimitError struct {
	What       string // "bytes of an object", with the setting to change where there is one
	Limit, Got int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("transfer: %s: %d exceeds %d", e.What, e.Got, e.Limit)
}

// A SpaceError says that a file system is full.
type SpaceError struct {
	Path string // of the file, or the directory of a temporary file
	Need int64  // bytes of the file
	Free int64  // bytes that the file system has left, -1 when that is unknown
	Err  error  // from the system
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("transfer: no space for %d bytes in %s, %d are free: %v", e.Need, e.Path, e.Free, e.Err)
}

func (e *SpaceError) Unwrap() error { return e.Err }
