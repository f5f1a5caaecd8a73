//go:build amd64 || arm64

package shm

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestABlockIsReadByThePeer(t *testing.T) {
	c, s := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	for _, way := range []struct {
		name     string
		from, to *Link
	}{{"client to server", c, s}, {"server to client", s, c}} {
		t.Run(way.name, func(t *testing.T) {
			b := newBlock(t, way.from.arena, 100_000)
			fill(b.Bytes(), 1)
			h := lease(t, way.from, b)
			le := openLease(t, way.to, h)
			b.Release()
			if !filled(le.Bytes(), 1) || len(le.Bytes()) != 100_000 || le.Sealed() || !le.Valid() {
				t.Error("the peer reads something else")
			}
			if got := way.from.arena.Stats().Blocks; got != 1 {
				t.Errorf("%d blocks are in use during the lease", got)
			}
			le.Release()
			le.Release()
			way.from.sweep()
			if got := way.from.arena.Stats().Blocks; got != 0 {
				t.Errorf("%d blocks are in use after the lease", got)
			}
		})
	}
}

// lease grants a lease on a whole block.
func lease(t testing.TB, l *Link, b *Block) Handle {
	t.Helper()
	h, err := l.Lease(t.Context(), b, 0, len(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func openLease(t testing.TB, l *Link, h Handle) *Lease {
	t.Helper()
	le, err := l.Open(h)
	if err != nil {
		t.Fatal(err)
	}
	return le
}

func TestPartOfABlock(t *testing.T) {
	c, s := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	b := newBlock(t, c.arena, 10_000)
	defer b.Release()
	fill(b.Bytes(), 1)
	for _, part := range [][2]int{{0, 0}, {0, 1}, {1, 9_999}, {10_000, 0}, {5000, 77}} {
		h, err := c.Lease(t.Context(), b, part[0], part[1])
		if err != nil {
			t.Fatal(err)
		}
		le := openLease(t, s, h)
		if string(le.Bytes()) != string(b.Bytes()[part[0]:part[0]+part[1]]) || cap(le.Bytes()) != part[1] {
			t.Errorf("%d bytes at %d are something else", part[1], part[0])
		}
		le.Release()
	}
	for _, part := range [][2]int{{0, 10_001}, {10_001, 0}, {-1, 1}, {1, -1}, {5, 9_996}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d bytes at %d of 10000 are leased", part[1], part[0])
				}
			}()
			c.TryLease(b, part[0], part[1])
		}()
	}
}

func TestTryLeaseStartsPassingTheSegment(t *testing.T) {
	c, _ := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	b := newBlock(t, c.arena, 10_000)
	defer b.Release()
	if _, ok := c.TryLease(b, 0, 1); ok {
		t.Error("leased before the peer can have mapped the segment")
	}
	until(t, "the peer to map the segment", func() bool { _, ok := c.TryLease(b, 0, 1); return ok })
}

func TestSealedBlocksAreSealedForThePeer(t *testing.T) {
	c, s := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	b, err := c.arena.AllocSealed(10_000)
	if err != nil {
		t.Fatal(err)
	}
	fill(b.Bytes(), 1)
	if _, ok := c.TryLease(b, 0, 1); ok {
		t.Error("TryLease takes a block that is not sealed yet")
	}
	if _, err := c.Lease(t.Context(), b, 0, 1); !errors.Is(err, ErrUnsealed) {
		t.Errorf("leasing an unsealed block: %v", err)
	}
	if err := b.Seal(); err != nil {
		t.Fatal(err)
	}
	le := openLease(t, s, lease(t, c, b))
	b.Release()
	if !le.Sealed() || !le.Valid() || !filled(le.Bytes(), 1) {
		t.Error("the peer does not see a sealed block")
	}
	le.Release()
	c.sweep()
	until(t, "the peer to unmap the sealed block", func() bool { return s.arena.Stats().Imports == 0 })
	if got := c.arena.Stats().Segments; got != 0 {
		t.Errorf("%d segments are left of it", got)
	}
}

func TestPeersUnmapWhatIsDropped(t *testing.T) {
	c, s := newPair(t, newArena(t, ArenaConfig{SegmentBytes: 256 << 10, IdleAfter: 10 * time.Millisecond}), newArena(t, ArenaConfig{}), LinkConfig{})
	b := newBlock(t, c.arena, 10_000)
	le := openLease(t, s, lease(t, c, b))
	b.Release()
	if got := s.arena.Stats().Imports; got != 1 {
		t.Errorf("%d segments are mapped", got)
	}
	le.Release() // the owner finds it without being asked for memory
	until(t, "the peer to unmap the segment", func() bool { return s.arena.Stats().Imports == 0 })
	if got := c.Stats().PeerSegments; got != 0 {
		t.Errorf("the peer has %d segments", got)
	}
}

func TestLeasesRunOutAndComeBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		config LinkConfig
		leases int
	}{
		{"slots", LinkConfig{MaxLeases: 10}, 10},
		{"bytes", LinkConfig{MaxLeasedBytes: 10 * 10240}, 10},
		{"one slot", LinkConfig{MaxLeases: 1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), c.config)
			b := newBlock(t, from.arena, 10240)
			defer b.Release()
			lease(t, from, b) // which nobody opens
			for range 3 {
				var leases []*Lease
				for len(leases) < c.leases-1 {
					leases = append(leases, openLease(t, to, lease(t, from, b)))
				}
				if _, ok := from.TryLease(b, 0, 1); ok {
					t.Errorf("a lease more than %d", c.leases)
				}
				if _, err := from.Lease(t.Context(), b, 0, 1); !errors.Is(err, ErrExhausted) {
					t.Errorf("a lease too many: %v", err)
				}
				for _, le := range leases {
					le.Release()
				}
			}
		})
	}
}

func TestAShortArenaTakesBackWhatPeersReleased(t *testing.T) {
	from, to := newPair(t, newArena(t, small), newArena(t, ArenaConfig{}), LinkConfig{MaxLeasedBytes: small.MaxBytes})
	for range 3 {
		var leases []*Lease
		for {
			b, err := from.arena.Alloc(50_000)
			if err != nil {
				break
			}
			leases = append(leases, openLease(t, to, lease(t, from, b)))
			b.Release()
		}
		if len(leases) < 12 {
			t.Errorf("%d blocks until the arena is full", len(leases))
		}
		for _, le := range leases {
			le.Release()
		}
	}
}

func TestCancelTakesBackWhatIsNotOpen(t *testing.T) {
	from, to := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	b := newBlock(t, from.arena, 10_000)
	defer b.Release()
	h := lease(t, from, b)
	if !from.Cancel(h) || from.Stats().Leases != 0 {
		t.Error("a lease that was not sent is not cancelled")
	}
	if from.Cancel(h) {
		t.Error("it is cancelled twice")
	}
	if _, err := to.Open(h); !errors.Is(err, ErrHandle) {
		t.Errorf("opening a cancelled lease: %v", err)
	}
	h = lease(t, from, b)
	le := openLease(t, to, h)
	if from.Cancel(h) || !le.Valid() {
		t.Error("a lease that is open is cancelled")
	}
	le.Release()
	if from.Cancel(h) || from.Stats().Leases != 0 {
		t.Error("a lease that has ended is cancelled, or not found")
	}
}

func TestOneOfOpenAndCancelWins(t *testing.T) {
	from, to := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	b := newBlock(t, from.arena, 10_000)
	defer b.Release()
	var handle atomic.Pointer[Handle]
	result := make(chan *Lease)
	go func() { // ends with a nil handle, which the test gives it
		defer close(result)
		for {
			h := handle.Swap(nil)
			switch {
			case h == nil:
				continue // at once, so that both meet
			case *h == Handle{}:
				return
			}
			le, _ := to.Open(*h)
			result <- le
		}
	}()
	opened, spin := 0, atomic.Int64{}
	for i := range 10_000 {
		h := lease(t, from, b)
		handle.Store(&h)
		for range i % 200 {
			spin.Add(1)
		}
		cancelled := from.Cancel(h)
		le := <-result
		if le != nil {
			opened++
			if cancelled {
				t.Error("a lease is cancelled and open")
			}
			if !le.Valid() {
				t.Error("an open lease is not valid")
			}
			le.Release()
		}
		if t.Failed() {
			break
		}
	}
	handle.Store(&Handle{})
	<-result
	t.Logf("%d were opened", opened)
	from.sweep()
	if got := from.Stats().Leases; got != 0 {
		t.Errorf("%d leases are left", got)
	}
}

func TestEndOfALinkEndsItsLeases(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(from, to *Link)
		reason error
	}{
		{"the owner closes", func(from, to *Link) { from.Close() }, ErrClosed},
		{"the reader closes", func(from, to *Link) { to.Close() }, ErrPeerGone},
	} {
		t.Run(c.name, func(t *testing.T) {
			owner, reader := newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{})
			from, to := newPair(t, owner, reader, LinkConfig{})
			b := newBlock(t, owner, 10_000)
			fill(b.Bytes(), 1)
			kept, unopened := openLease(t, to, lease(t, from, b)), lease(t, from, b)
			b.Release()
			c.end(from, to)
			receive(t, from.Done(), "the end at the owner")
			receive(t, to.Done(), "the end at the reader")
			if !errors.Is(from.Err(), c.reason) {
				t.Errorf("it ended with: %v", from.Err())
			}
			until(t, "the blocks to be free", func() bool { return owner.Stats().Blocks == 0 })
			if kept.Valid() {
				t.Error("a lease is valid whose block may be used again")
			}
			_ = kept.Bytes()[9999] // mapped still
			if got := reader.Stats().Imports; got != 1 {
				t.Errorf("%d segments are mapped under a reader", got)
			}
			kept.Release()
			kept.Release()
			until(t, "the segment to be unmapped", func() bool { return reader.Stats().Imports == 0 })
			if _, err := to.Open(unopened); err == nil {
				t.Error("a lease of a link that has ended can be opened")
			}
			if _, ok := from.TryLease(b, 0, 1); ok {
				t.Error("a link that has ended grants a lease")
			}
			if _, err := from.Lease(t.Context(), b, 0, 1); !errors.Is(err, c.reason) {
				t.Errorf("leasing on a link that has ended: %v", err)
			}
			from.Cancel(unopened)
		})
	}
}

func TestLeaseEndsWithItsContext(t *testing.T) {
	p := newRawPeer(t, newArena(t, ArenaConfig{}), LinkConfig{})
	b := newBlock(t, p.link.arena, 10_000)
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error, 2)
	go func() {
		_, err := p.link.Lease(ctx, b, 0, 1)
		failed <- err
	}()
	until(t, "the segment to be on its way", func() bool { return p.link.Stats().PeerSegments == 1 })
	cause := errors.New("enough")
	cancel(cause)
	if err := receive(t, failed, "Lease to return"); err != cause {
		t.Errorf("cancelled: %v", err)
	}
	go func() {
		_, err := p.link.Lease(t.Context(), b, 0, 1)
		failed <- err
	}()
	p.conn.Close()
	if err := receive(t, failed, "Lease to return"); !errors.Is(err, ErrPeerGone) {
		t.Errorf("the peer is gone: %v", err)
	}
	b.Release()
}

// TestManyHandOvers has both sides grant, open, cancel and release at once, with little memory, and content that shows
// whether a block is used while it is leased.
func TestManyHandOvers(t *testing.T) {
	config := ArenaConfig{SegmentBytes: 256 << 10, MaxBytes: 2 << 20, IdleAfter: 5 * time.Millisecond}
	c, s := newPair(t, newArena(t, config), newArena(t, config), LinkConfig{MaxLeases: 20})
	type sent struct {
		h    Handle
		seed uint64
	}
	var wg sync.WaitGroup
	var read atomic.Int64
	for _, way := range [][2]*Link{{c, s}, {s, c}} {
		from, to := way[0], way[1]
		handles := make(chan sent, 8)
		var senders sync.WaitGroup
		for worker := range uint64(3) {
			senders.Go(func() {
				for i := range uint64(1500) {
					seed := worker<<32 + i
					n := 1 + int(seed*7919%30_000)
					if i%50 == 0 {
						n = 200_000
					}
					b, err := from.arena.Alloc(n)
					if err != nil {
						continue
					}
					fill(b.Bytes(), seed)
					h, ok := from.TryLease(b, 0, n)
					if !ok && i%4 == 0 {
						h, err = from.Lease(t.Context(), b, 0, n)
						ok = err == nil
					}
					if ok {
						if i%10 != 0 || !from.Cancel(h) {
							handles <- sent{h, seed}
						}
					}
					b.Release()
				}
			})
		}
		wg.Go(func() { senders.Wait(); close(handles) })
		for range 2 {
			wg.Go(func() {
				for m := range handles {
					le, err := to.Open(m.h)
					if err != nil {
						t.Errorf("opening: %v", err)
						continue
					}
					if !filled(le.Bytes(), m.seed) || !le.Valid() {
						t.Error("a block has been overwritten")
					}
					le.Release()
					read.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if read.Load() < 100 {
		t.Errorf("only %d blocks were handed over", read.Load())
	}
	for _, l := range []*Link{c, s} {
		l.sweep()
		checkArena(t, l.arena)
		if st, a := l.Stats(), l.arena.Stats(); st.Leases != 0 || st.LeasedBytes != 0 || a.Blocks != 0 {
			t.Errorf("left are %+v and %+v", st, a)
		}
	}
}

func TestHandingOverAllocatesLittle(t *testing.T) {
	c, s := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	b := newBlock(t, c.arena, 10_000)
	defer b.Release()
	lease(t, c, b)
	if n := testing.AllocsPerRun(1000, func() {
		h, ok := c.TryLease(b, 0, 100)
		if !ok {
			t.Fatal("no lease")
		}
		le, err := s.Open(h)
		if err != nil {
			t.Fatal(err)
		}
		le.Release()
	}); n > 1 { // the Lease
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHandOver(b *testing.B) {
	c, s := newPair(b, newArena(b, ArenaConfig{}), newArena(b, ArenaConfig{}), LinkConfig{})
	block := newBlock(b, c.arena, 8<<10)
	defer block.Release()
	lease(b, c, block)
	b.ReportAllocs()
	for b.Loop() {
		h, ok := c.TryLease(block, 0, 8<<10)
		if !ok {
			b.Fatal("no lease")
		}
		le, err := s.Open(h)
		if err != nil {
			b.Fatal(err)
		}
		le.Release()
	}
}

func FuzzParseHandle(f *testing.F) {
	f.Add(AppendHandle(nil, Handle{Segment: 1, Slot: 2, Sequence: 3, Offset: 4, Bytes: 5}))
	f.Add(make([]byte, HandleBytes-1))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseHandle(b)
		if err != nil {
			if !errors.Is(err, ErrHandle) || n != 0 || h != (Handle{}) {
				t.Errorf("%+v, %d, %v", h, n, err)
			}
			if len(b) >= HandleBytes && binary.LittleEndian.Uint64(b[8:]) <= maxSequence {
				t.Errorf("refused: %v", err)
			}
			return
		}
		if n != HandleBytes || string(AppendHandle(nil, h)) != string(b[:n]) {
			t.Errorf("%x is %+v", b, h)
		}
	})
}

// FuzzOpen gives a link handles of a hostile peer, as differences to one that is granted: none but that one may be opened,
// and it only once.
func FuzzOpen(f *testing.F) {
	f.Add(uint64(0), uint16(0), uint64(0), uint64(0), uint64(0))
	f.Add(uint64(1), uint16(0), uint64(0), uint64(0), uint64(0))
	f.Add(uint64(0), uint16(1), uint64(0), uint64(0), uint64(0))
	f.Add(uint64(0), uint16(0), ^uint64(0), uint64(0), uint64(0))
	f.Add(uint64(0), uint16(0), uint64(1), uint64(0), uint64(0))
	f.Add(uint64(0), uint16(0), uint64(0), uint64(256<<10), uint64(0))
	f.Add(uint64(0), uint16(0), uint64(0), ^uint64(0), uint64(2))
	f.Add(uint64(0), uint16(0), uint64(0), uint64(1)<<63, uint64(1)<<63)
	f.Add(uint64(0), uint16(0), uint64(0), uint64(0), ^uint64(0)-10_000)
	c, s := newPair(f, newArena(f, ArenaConfig{SegmentBytes: 256 << 10}), newArena(f, ArenaConfig{}), LinkConfig{MaxLeases: 4})
	b := newBlock(f, c.arena, 10_000)
	f.Cleanup(b.Release)
	lease(f, c, b)
	f.Fuzz(func(t *testing.T, segment uint64, slot uint16, sequence, offset, bytes uint64) {
		h := lease(t, c, b)
		hostile := Handle{h.Segment + segment, h.Slot + slot, h.Sequence + sequence, h.Offset + offset, h.Bytes + bytes}
		le, err := s.Open(hostile)
		inside := hostile.Offset <= 256<<10 && hostile.Bytes <= 256<<10-hostile.Offset
		if (err == nil) != (inside && segment == 0 && slot == 0 && sequence == 0) {
			t.Fatalf("opening %+v instead of %+v: %v", hostile, h, err)
		}
		if err != nil {
			if !errors.Is(err, ErrHandle) {
				t.Fatal(err)
			}
			if le, err = s.Open(h); err != nil {
				t.Fatalf("after a hostile handle the right one fails: %v", err)
			}
		}
		var sum byte
		for _, b := range le.Bytes() {
			sum += b
		}
		_ = sum
		if _, err := s.Open(h); !errors.Is(err, ErrHandle) {
			t.Fatalf("opened twice: %v", err)
		}
		le.Release()
		if _, err := s.Open(h); !errors.Is(err, ErrHandle) {
			t.Fatalf("opened after release: %v", err)
		}
	})
}
