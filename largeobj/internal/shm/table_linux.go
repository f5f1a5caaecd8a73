//go:build amd64 || arm64

package shm

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Tables are how two processes agree on leases without a message. Each has memory that it alone writes, and the other
// reads, with two words for each lease there can be: one as the owner, one as the lessee. A word is a sequence and a bit.
//
//	word of the owner     (sequence, 0) granted     Lease
//	                      (sequence, 1) revoked     Cancel, or the link has ended; the block may be used again
//	word of the lessee    (sequence, 0) open        Open
//	                      (sequence, 1) ended       Release
//
// Open writes its word and then looks whether the lease is still granted; Cancel writes its word and then looks whether it
// is open. So at most one of them takes place. What a hostile lessee writes can only end its own leases, or not end them:
// the owner knows without the table which ones there are.
type tables struct {
	ours, theirs []byte
	grants, ends []atomic.Uint64 // in ours: for leases that we grant, and for those that are granted to us
	peerGrants   []atomic.Uint64 // in theirs: for leases that are granted to us
	peerEnds     []atomic.Uint64 // in theirs: for leases that we grant
	users        atomic.Int64    // the link, and each open lease
}

func granted(sequence uint64) uint64 { return sequence << 1 }
func revoked(sequence uint64) uint64 { return sequence<<1 | 1 }
func opened(sequence uint64) uint64  { return sequence << 1 }
func ended(sequence uint64) uint64   { return sequence<<1 | 1 }

func tableBytes(slots, peerSlots int) int64 { return roundToPages(int64(slots+peerSlots) * 8) }

// newTable makes the memory that this side writes. The caller closes fd and unmaps the memory.
func newTable(slots, peerSlots int) (fd int, mem []byte, err error) {
	fd, mem, err = newMemfd("mycel-leases", tableBytes(slots, peerSlots))
	if err != nil {
		return -1, nil, err
	}
	if err := seal(fd, ownerWrites); err != nil {
		unmap(mem)
		unix.Close(fd)
		return -1, nil, err
	}
	return fd, mem, nil
}

// newTables adds the memory of the peer, which is checked. It borrows fd and takes ownership of ours.
func newTables(ours []byte, fd int, slots, peerSlots int) (*tables, error) {
	size := tableBytes(slots, peerSlots)
	_, seals, err := checkMemfd(fd, size, ownerWrites)
	if err != nil {
		unmap(ours)
		return nil, fmt.Errorf("%w: lease table: %w", ErrPeerViolation, err)
	}
	theirs, err := mapRead(fd, size, seals)
	if err != nil {
		unmap(ours)
		return nil, fmt.Errorf("shm: mapping the lease table of the peer: %w", err)
	}
	w, p := words(ours), words(theirs)
	t := &tables{
		ours: ours, theirs: theirs,
		grants: w[:slots], ends: w[slots : slots+peerSlots],
		peerGrants: p[:peerSlots], peerEnds: p[peerSlots : peerSlots+slots],
	}
	t.users.Store(1)
	return t, nil
}

// open makes a lease of ours of what the peer has granted; false if it has not, or no longer, or we have had it.
func (t *tables) open(slot int, sequence uint64) bool {
	if slot >= len(t.ends) || t.peerGrants[slot].Load() != granted(sequence) {
		return false
	}
	end := &t.ends[slot]
	before := end.Load()
	if before>>1 == sequence || !end.CompareAndSwap(before, opened(sequence)) {
		return false
	}
	if t.peerGrants[slot].Load() != granted(sequence) {
		end.Store(ended(sequence))
		return false
	}
	return true
}

// valid reports whether the peer has not revoked an open lease. What was read before valid is what the lease was for.
func (t *tables) valid(slot int, sequence uint64) bool {
	// The swap, of a value with itself, keeps the processor from reading the data after the grant.
	t.ends[slot].CompareAndSwap(opened(sequence), opened(sequence))
	return t.peerGrants[slot].Load() == granted(sequence)
}

// end ends an open lease. Its slot may have been granted anew, by a peer that has revoked it or a hostile one.
func (t *tables) end(slot int, sequence uint64) {
	t.ends[slot].CompareAndSwap(opened(sequence), ended(sequence))
}

func (t *tables) unref() {
	if t.users.Add(-1) == 0 {
		unmap(t.ours)
		unmap(t.theirs)
	}
}
