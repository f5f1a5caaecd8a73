package framework

import "github.com/mycel-rpc/mycel/wire"

// Class is one of the four channel classes; it decides how urgent a call is on the wire and which admission gate
// its handler passes.
type Class = wire.Class

const (
	ClassControl = wire.ClassControl // critical: health, coordination; never waits for other classes
	ClassStream  = wire.ClassStream  // high: interactive streams
	ClassRPC     = wire.ClassRPC     // normal: ordinary calls; the default
	ClassBulk    = wire.ClassBulk    // background: large transfers, on connections of their own
)

// CallKind is how many messages each side of a call sends.
type CallKind = wire.CallKind

const (
	KindUnary        = wire.Unary
	KindServerStream = wire.ServerStream
	KindClientStream = wire.ClientStream
	KindBidi         = wire.Bidi
)

// rank orders the classes from the most to the least urgent.
func rank(c Class) int8 { return c.Urgency() }
