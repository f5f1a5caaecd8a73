package shm

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of [ArenaConfig], [LinkConfig] and [ListenerConfig].
const (
	DefaultSegmentBytes  = 64 << 20
	DefaultMaxBytes      = 1 << 30
	DefaultMaxSegments   = 64
	DefaultIdleAfter     = 30 * time.Second
	DefaultMaxLeases     = 1024
	DefaultAttachTimeout = time.Second

	minSegmentBytes = 64 << 10
	maxSegmentBytes = 128 << 20 // so that the classes of free chunks fit into the bits of a word
	maxSegmentCount = 256       // as many as an importer takes from one link
	maxLeaseSlots   = 1 << 14   // 128 KiB of table
)

// MinBlockBytes is the memory that the smallest block takes; a shorter one takes as much.
const MinBlockBytes = 4 << 10

// ArenaConfig bounds the memory of an [Arena]. It is copied and never changed afterwards.
type ArenaConfig struct {
	// SegmentBytes is the size of a segment, which holds many blocks. 0 means [DefaultSegmentBytes]; a multiple of
	// 64 KiB up to 128 MiB. A block of more than half of it has a segment of its own.
	SegmentBytes int64

	// MaxBytes is the budget: the size of all segments together, including sealed blocks. 0 means [DefaultMaxBytes];
	// at least SegmentBytes. The memory counts for the control group of the process.
	MaxBytes int64

	// MaxSegments bounds how many segments there are at once, each of which costs a descriptor here and a mapping here
	// and in every peer. 0 means [DefaultMaxSegments]; at most 256.
	MaxSegments int

	// IdleAfter is how long no block of a segment has been in use when its memory is given back. 0 means
	// [DefaultIdleAfter]; at least a millisecond. It is kept to within a quarter.
	IdleAfter time.Duration
}

func (c ArenaConfig) withDefaults() (ArenaConfig, error) {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = DefaultSegmentBytes
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = max(DefaultMaxBytes, c.SegmentBytes)
	}
	if c.MaxSegments == 0 {
		c.MaxSegments = DefaultMaxSegments
	}
	if c.IdleAfter == 0 {
		c.IdleAfter = DefaultIdleAfter
	}
	switch {
	case c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes || c.SegmentBytes%minSegmentBytes != 0:
		return c, fmt.Errorf("shm: SegmentBytes is %d, must be a multiple of %d between it and %d", c.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	case c.MaxBytes < c.SegmentBytes:
		return c, fmt.Errorf("shm: MaxBytes is %d, must be at least SegmentBytes (%d)", c.MaxBytes, c.SegmentBytes)
	case c.MaxSegments < 1 || c.MaxSegments > maxSegmentCount:
		return c, fmt.Errorf("shm: MaxSegments is %d, must be between 1 and %d", c.MaxSegments, maxSegmentCount)
	case c.IdleAfter < time.Millisecond:
		return c, fmt.Errorf("shm: IdleAfter is %v, must be at least 1ms", c.IdleAfter)
	}
	return c, nil
}

// LinkConfig bounds what the peer of a [Link] can hold on to. It is copied and never changed afterwards.
type LinkConfig struct {
	// MaxLeases is how many leases the peer may have at once. 0 means [DefaultMaxLeases]; at most 16384.
	MaxLeases int

	// MaxLeasedBytes bounds the blocks that the peer has leases on, each counted with its whole length and once for
	// each lease. 0 means half of the arena's MaxBytes; negative is an error.
	MaxLeasedBytes int64

	// Ready is called by [Dial] with the link, before the peer can send handles, unless it is nil. A listener calls what
	// [Listener.Offer] was given instead.
	Ready func(*Link)

	// Dir is where [Dial] looks for the socket of a listener that has a Dir, when its abstract name cannot be reached:
	// the same volume, perhaps at another place. Empty means nowhere.
	Dir string
}

func (c LinkConfig) withDefaults(budget int64) (LinkConfig, error) {
	if c.MaxLeases == 0 {
		c.MaxLeases = DefaultMaxLeases
	}
	if c.MaxLeasedBytes == 0 {
		c.MaxLeasedBytes = budget / 2
	}
	switch {
	case c.MaxLeases < 1 || c.MaxLeases > maxLeaseSlots:
		return c, fmt.Errorf("shm: MaxLeases is %d, must be between 1 and %d", c.MaxLeases, maxLeaseSlots)
	case c.MaxLeasedBytes < 0:
		return c, fmt.Errorf("shm: MaxLeasedBytes is %d, must not be negative", c.MaxLeasedBytes)
	}
	return c, nil
}

// ListenerConfig says where a [Listener] is reached, and what its links are like.
type ListenerConfig struct {
	// Arena is required: the memory of this process.
	Arena *Arena

	// Link is what the links have, except for its Dir.
	Link LinkConfig

	// Dir is a directory in which the socket also gets a name, for peers in another network namespace that share the
	// directory. Empty means an abstract name only.
	Dir string

	// AttachTimeout bounds the time a peer has to prove itself. 0 means [DefaultAttachTimeout]; negative is an error.
	AttachTimeout time.Duration
}

// Binding is one TLS connection, as *tls.ConnectionState is.
type Binding interface {
	// ExportKeyingMaterial returns a secret that only the two ends of the connection have (RFC 5705).
	ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error)
}

// Reasons why something cannot be had. They are returned as they are or wrapped.
var (
	// ErrClosed: the arena, the listener or the link has been closed on this side.
	ErrClosed = errors.New("shm: closed")
	// ErrPeerGone: the peer has closed the link, or its process has ended.
	ErrPeerGone = errors.New("shm: the peer is gone")
	// ErrPeerViolation: the peer has sent what it must not.
	ErrPeerViolation = errors.New("shm: the peer violates the protocol")
	// ErrExhausted: the peer has as many leases, leased bytes or segments as it may have.
	ErrExhausted = errors.New("shm: the peer has as many leases as it may")
	// ErrRefused: the peer does not map the segment.
	ErrRefused = errors.New("shm: the peer refuses the segment")
	// ErrHandle: a handle does not name a lease that can be opened.
	ErrHandle = errors.New("shm: invalid handle")
	// ErrUnsealed: a block of AllocSealed is leased before it is sealed.
	ErrUnsealed = errors.New("shm: the block is not sealed yet")
	// ErrOffer: an offer is malformed.
	ErrOffer = errors.New("shm: malformed offer")
	// ErrOtherHost: an offer comes from another host, or from before its last boot.
	ErrOtherHost = errors.New("shm: the offer is from another host")
)

// A FullError says that a block does not fit into an arena.
type FullError struct {
	Knob  string // the field of [ArenaConfig] that is the limit
	Limit int64  // its value: bytes, or segments
	InUse int64  // how much of it is used
	Size  int64  // of the block, in bytes
}

func (e *FullError) Error() string {
	return fmt.Sprintf("shm: no room for a block of %d bytes: %d of %s (%d) are in use", e.Size, e.InUse, e.Knob, e.Limit)
}

// An AttachError says at which step attaching to a peer failed.
type AttachError struct {
	Step string // "offer", "host", "connect", "user", "proof" or "table"
	Err  error
}

func (e *AttachError) Error() string { return fmt.Sprintf("shm: attach: %s: %v", e.Step, e.Err) }
func (e *AttachError) Unwrap() error { return e.Err }

// Stats is what an [Arena] holds.
type Stats struct {
	Segments      int   // memory of our own
	SegmentBytes  int64 // how much of the budget they use
	Blocks        int   // in use, by us or by leases
	BlockBytes    int64
	Imports       int // segments of peers that are mapped here
	ImportBytes   int64
	Links         int
	Sweeps, Fulls uint64 // how often memory was short, and how often a block was refused
}

// LinkStats is what the two ends of a [Link] hold of each other.
type LinkStats struct {
	Leases       int // of the peer on our blocks, including those it has ended and we have not looked at since
	LeasedBytes  int64
	PeerSegments int // of ours that the peer has mapped or has been sent
	Imports      int // of the peer's that are mapped here
}
