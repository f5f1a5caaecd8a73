package wire

// Class is one of the four channel classes. The class of a method decides how urgent its bytes are on the
// wire (RFC 9218), which admission gate its handler passes, and whether it runs on a main or a bulk connection.
type Class uint8

const (
	ClassRPC     Class = iota // ordinary calls; the default
	ClassControl              // critical: health, cancellation, what must get through always
	ClassStream               // high: interactive streams
	ClassBulk                 // background: large transfers, on a connection of their own
)

// NumClasses is the number of channel classes.
const NumClasses = 4

// Valid reports whether c is one of the four classes.
func (c Class) Valid() bool { return c < NumClasses }

// Urgency returns the RFC 9218 urgency of the class: 0 is first. Streams are always incremental, because
// streams that are not can block each other.
func (c Class) Urgency() int8 {
	switch c {
	case ClassControl:
		return 0
	case ClassStream:
		return 2
	case ClassBulk:
		return 7
	}
	return 3
}

// String returns "control", "stream", "rpc" or "bulk".
func (c Class) String() string {
	switch c {
	case ClassControl:
		return "control"
	case ClassStream:
		return "stream"
	case ClassBulk:
		return "bulk"
	case ClassRPC:
		return "rpc"
	}
	return "unknown class"
}
