//go:build !linux || (!amd64 && !arm64)

package shm

import (
	"context"
	"errors"
	"fmt"
)

// Here memory cannot be shared like this: constructors fail with errors.ErrUnsupported, so no method is ever called.

var errUnsupported = fmt.Errorf("shm: sharing memory: %w", errors.ErrUnsupported)

// An Arena is the memory that a process shares with its peers.
type Arena struct{}

// NewArena fails here.
func NewArena(config ArenaConfig) (*Arena, error) {
	if _, err := config.withDefaults(); err != nil {
		return nil, err
	}
	return nil, errUnsupported
}

// Alloc is not reached.
func (a *Arena) Alloc(n int) (*Block, error) { return nil, errUnsupported }

// AllocSealed is not reached.
func (a *Arena) AllocSealed(n int) (*Block, error) { return nil, errUnsupported }

// Stats is not reached.
func (a *Arena) Stats() Stats { return Stats{} }

// Close is not reached.
func (a *Arena) Close() {}

// A Block is memory of this process that peers can be given leases on.
type Block struct{}

// Bytes is not reached.
func (b *Block) Bytes() []byte { return nil }

// Release is not reached.
func (b *Block) Release() {}

// Seal is not reached.
func (b *Block) Seal() error { return errUnsupported }

// A Listener lets peers attach that hold an offer.
type Listener struct{}

// Listen fails here.
func Listen(config ListenerConfig) (*Listener, error) { return nil, errUnsupported }

// Offer is not reached.
func (l *Listener) Offer(b Binding, accept func(*Link)) (blob []byte, withdraw func(), err error) {
	return nil, nil, errUnsupported
}

// Close is not reached.
func (l *Listener) Close() {}

// Dial fails here.
func Dial(ctx context.Context, blob []byte, b Binding, a *Arena, config LinkConfig) (*Link, error) {
	return nil, &AttachError{"host", errUnsupported}
}

// A Link is one peer process that memory is shared with.
type Link struct{}

// PeerUID is not reached.
func (l *Link) PeerUID() int { return -1 }

// PeerPID is not reached.
func (l *Link) PeerPID() int { return 0 }

// Done is not reached.
func (l *Link) Done() <-chan struct{} { return nil }

// Err is not reached.
func (l *Link) Err() error { return errUnsupported }

// Stats is not reached.
func (l *Link) Stats() LinkStats { return LinkStats{} }

// Close is not reached.
func (l *Link) Close() {}

// TryLease is not reached.
func (l *Link) TryLease(b *Block, off, n int) (Handle, bool) { return Handle{}, false }

// Lease is not reached.
func (l *Link) Lease(ctx context.Context, b *Block, off, n int) (Handle, error) {
	return Handle{}, errUnsupported
}

// Open is not reached.
func (l *Link) Open(h Handle) (*Lease, error) { return nil, errUnsupported }

// Cancel is not reached.
func (l *Link) Cancel(h Handle) bool { return false }

// A Lease is memory of a peer that this process may read.
type Lease struct{}

// Bytes is not reached.
func (le *Lease) Bytes() []byte { return nil }

// Sealed is not reached.
func (le *Lease) Sealed() bool { return false }

// Valid is not reached.
func (le *Lease) Valid() bool { return false }

// Release is not reached.
func (le *Lease) Release() {}
