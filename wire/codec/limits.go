package codec

import "fmt"

// Limits bounds what decoding one message may cost. A zero field takes its value from [DefaultLimits]. The size of
// the message itself is bounded by whoever reads it from the network.
type Limits struct {
	// MaxDepth is how many arrays, maps and tags may be nested. Legal 1 to 1024; default 128; negative is an error.
	MaxDepth int
	// MaxElements is how many list elements and map entries a message may have in all, not counting the numbers of
	// typed arrays, whose size the size of the message bounds. Default 1 Mi; negative is an error.
	MaxElements int
	// MaxMemoryBytes is how much Go memory the lists, maps and pointers of a message may take in all, not counting
	// text, bytes and typed arrays that are not packed, which are no larger than the message. It matters because one byte of message can
	// be one empty struct of hundreds of bytes. Default 64 MiB; negative is an error.
	MaxMemoryBytes int
	// MaxMessageBytes is how many bytes what is packed in a message may stand for, in all and unpacked. Whoever bounds
	// messages that arrive gives the same bound here. Default 64 MiB; negative is an error.
	MaxMessageBytes int

	// Link is no limit, but what the values of types with DecodeLinked are decoded with; see [Codec.AppendLinked].
	Link any
}

// DefaultLimits are the limits of a zero [Limits].
var DefaultLimits = Limits{MaxDepth: 128, MaxElements: 1 << 20, MaxMemoryBytes: 64 << 20, MaxMessageBytes: 64 << 20}

// maxDepth bounds recursion in both directions, so that neither a message nor a cyclic value exhausts the stack.
const maxDepth = 1024

// limit gives d the budgets of lim, in which it replaces zeros with the defaults.
func (d *decoder) limit(lim Limits) error {
	if lim == (Limits{}) {
		lim = DefaultLimits
	} else if err := lim.complete(); err != nil {
		return err
	}
	d.lim, d.depth, d.items, d.room = lim, lim.MaxDepth, lim.MaxElements, lim.MaxMemoryBytes
	d.unpacked = lim.MaxMessageBytes
	return nil
}

func (l *Limits) complete() error {
	if l.MaxDepth < 0 || l.MaxDepth > maxDepth || l.MaxElements < 0 || l.MaxMemoryBytes < 0 || l.MaxMessageBytes < 0 {
		return fmt.Errorf("codec: illegal limits %+v: MaxDepth is 0 to %d, the others are not negative", *l, maxDepth)
	}
	if l.MaxDepth == 0 {
		l.MaxDepth = DefaultLimits.MaxDepth
	}
	if l.MaxElements == 0 {
		l.MaxElements = DefaultLimits.MaxElements
	}
	if l.MaxMemoryBytes == 0 {
		l.MaxMemoryBytes = DefaultLimits.MaxMemoryBytes
	}
	if l.MaxMessageBytes == 0 {
		l.MaxMessageBytes = DefaultLimits.MaxMessageBytes
	}
	return nil
}
