//go:build amd64 || arm64

package shm

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// An Arena is the memory that a process shares with its peers. It is safe for concurrent use.
type Arena struct {
	config  ArenaConfig
	imports imports

	grow sync.Mutex // held while segments come and go, which takes milliseconds; taken before mu
	mu   struct {
		sync.Mutex
		closed   bool
		watched  bool // dropIdle will run
		free     freeList
		segments map[uint64]*segment
		number   uint64 // of the segment made last
		bytes    int64  // of all segments
		links    map[*Link]struct{}

		blocks     int
		blockBytes int64
		sweeps     uint64
		fulls      uint64
	}
}

// A segment is one memfd of ours.
type segment struct {
	number uint64
	fd     int
	mem    []byte
	kind   segmentKind
	first  *chunk
	idle   int          // ticks since it was last in use; guarded by Arena.mu
	users  atomic.Int32 // of fd: the arena, and links that are passing it
}

type segmentKind uint8

const (
	shared   segmentKind = iota // has many blocks
	own                         // has one large block at a time
	sealable                    // has one block ever
)

func (s *segment) unused() bool { return s.first.free && s.first.next == nil }

// unref gives the descriptor back, and with the last mapping the memory.
func (s *segment) unref() {
	if s.users.Add(-1) == 0 {
		unix.Close(s.fd)
	}
}

// NewArena returns an arena without any memory yet. Close ends it.
//
// Errors: an option out of range; errors.ErrUnsupported where memory cannot be shared like this.
func NewArena(config ArenaConfig) (*Arena, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Arena{config: config}
	a.mu.segments = map[uint64]*segment{}
	a.mu.links = map[*Link]struct{}{}
	return a, nil
}

// Alloc returns a block of n bytes with arbitrary content. The caller releases it exactly once.
//
// It takes memory from the system when what is there does not suffice: about 15 ms for 64 MiB.
// Errors: *[FullError]; [ErrClosed]; what the system says when it has no memory. n must be positive.
func (a *Arena) Alloc(n int) (*Block, error) {
	if n <= 0 {
		panic("shm: a block must have bytes")
	}
	if int64(n) > a.config.SegmentBytes/2 {
		return a.allocSlow(n, own)
	}
	a.mu.Lock()
	if a.mu.closed {
		a.mu.Unlock()
		return nil, ErrClosed
	}
	c := a.mu.free.take(classFor(int64(n)))
	if c != nil {
		b := a.blockLocked(c, n)
		a.mu.Unlock()
		return b, nil
	}
	a.mu.Unlock()
	return a.allocSlow(n, shared)
}

// AllocSealed returns a block of n bytes, all zero, in memory of its own, which [Block.Seal] makes immutable. Allocating it
// is much slower than Alloc, and its memory is not used again. Errors are those of Alloc.
func (a *Arena) AllocSealed(n int) (*Block, error) {
	if n <= 0 {
		panic("shm: a block must have bytes")
	}
	return a.allocSlow(n, sealable)
}

// allocSlow looks for what peers have released, and makes a segment if that does not help.
func (a *Arena) allocSlow(n int, kind segmentKind) (*Block, error) {
	if kind != sealable {
		if b := a.takeAgain(n, kind); b != nil {
			return b, nil
		}
		a.sweep()
	}
	a.grow.Lock()
	defer a.grow.Unlock()
	if b := a.takeAgain(n, kind); b != nil {
		return b, nil
	}
	size := roundToPages(int64(n))
	if kind == shared {
		size = a.config.SegmentBytes
	}
	if err := a.makeRoom(n, size); err != nil && kind == sealable {
		a.sweep()
		if err := a.makeRoom(n, size); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	fd, mem, err := newMemfd("mycel", size)
	if err == nil && kind != sealable {
		if err = seal(fd, ownerWrites); err != nil {
			unmap(mem)
			unix.Close(fd)
		}
	}
	if err != nil {
		return nil, err
	}
	s := &segment{fd: fd, mem: mem, kind: kind}
	s.users.Store(1)
	s.first = &chunk{seg: s, size: size}

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.closed {
		unmap(mem)
		s.unref()
		return nil, ErrClosed
	}
	a.mu.number++
	s.number = a.mu.number
	a.mu.segments[s.number] = s
	a.mu.bytes += size
	a.watchLocked()
	c := s.first
	if kind == shared {
		a.mu.free.push(c)
		c = a.mu.free.take(classFor(int64(n)))
	}
	return a.blockLocked(c, n), nil
}

// takeAgain takes memory that is there; nil if there is none.
func (a *Arena) takeAgain(n int, kind segmentKind) *Block {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.closed {
		return nil
	}
	switch kind {
	case shared:
		if c := a.mu.free.take(classFor(int64(n))); c != nil {
			return a.blockLocked(c, n)
		}
	case own:
		for _, s := range a.mu.segments {
			if size := s.first.size; s.kind == own && s.first.free && int64(n) <= size && size-int64(n) <= size/5 {
				s.first.free = false
				return a.blockLocked(s.first, n)
			}
		}
	}
	return nil
}

// makeRoom gives up unused segments until one of size bytes for a block of n may be made, or returns a *FullError.
// The caller holds grow.
func (a *Arena) makeRoom(n int, size int64) error {
	a.mu.Lock()
	var dropped []*segment
	var full *FullError
	for {
		full = nil
		if len(a.mu.segments) >= a.config.MaxSegments {
			full = &FullError{Knob: "MaxSegments", Limit: int64(a.config.MaxSegments), InUse: int64(len(a.mu.segments)), Size: int64(n)}
		}
		if size > a.config.MaxBytes-a.mu.bytes {
			full = &FullError{Knob: "MaxBytes", Limit: a.config.MaxBytes, InUse: a.mu.bytes, Size: int64(n)}
		}
		if full == nil || size > a.config.MaxBytes {
			break
		}
		var victim *segment
		for _, s := range a.mu.segments {
			if s.unused() && (victim == nil || s.idle > victim.idle) {
				victim = s
			}
		}
		if victim == nil {
			break
		}
		a.removeLocked(victim)
		dropped = append(dropped, victim)
	}
	if full != nil {
		a.mu.fulls++
	}
	a.mu.Unlock()
	a.drop(dropped)
	if full != nil {
		return full
	}
	return nil
}

// blockLocked makes a block of a chunk that is no longer free.
func (a *Arena) blockLocked(c *chunk, n int) *Block {
	c.seg.idle = 0
	a.mu.blocks++
	a.mu.blockBytes += c.size
	b := &Block{arena: a, chunk: c, bytes: c.seg.mem[c.off : c.off+int64(n) : c.off+int64(n)]}
	b.users.Store(1)
	return b
}

// freeChunk takes the memory of a block that nobody uses any more.
func (a *Arena) freeChunk(c *chunk) {
	a.mu.Lock()
	a.mu.blocks--
	a.mu.blockBytes -= c.size
	s := c.seg
	if s.kind == shared {
		a.mu.free.put(c)
	} else {
		c.free = true
	}
	drop := s.kind == sealable || a.mu.closed && s.unused()
	if drop {
		a.removeLocked(s)
	}
	a.mu.Unlock()
	if drop {
		a.drop([]*segment{s})
	}
}

// removeLocked takes an unused segment out of the arena; what is left to do is drop.
func (a *Arena) removeLocked(s *segment) {
	if s.kind == shared {
		a.mu.free.remove(s.first)
	}
	delete(a.mu.segments, s.number)
	a.mu.bytes -= int64(len(s.mem))
}

// drop tells the peers to unmap segments that were removed, and unmaps them.
func (a *Arena) drop(segments []*segment) {
	if len(segments) == 0 {
		return
	}
	links := a.links()
	for _, s := range segments {
		for _, l := range links {
			l.dropSegment(s)
		}
		unmap(s.mem)
		s.unref()
	}
}

func (a *Arena) links() []*Link {
	a.mu.Lock()
	defer a.mu.Unlock()
	links := make([]*Link, 0, len(a.mu.links))
	for l := range a.mu.links {
		links = append(links, l)
	}
	return links
}

// sweep ends the leases that peers have released.
func (a *Arena) sweep() {
	a.mu.Lock()
	a.mu.sweeps++
	a.mu.Unlock()
	for _, l := range a.links() {
		l.sweep()
	}
}

// idleTicks is how often in IdleAfter the segments are looked at.
const idleTicks = 4

// watchLocked has idle segments dropped from now on. There is a timer only while there are segments.
func (a *Arena) watchLocked() {
	if !a.mu.watched {
		a.mu.watched = true
		time.AfterFunc(a.config.IdleAfter/idleTicks, a.dropIdle) // does nothing after Close
	}
}

// dropIdle gives back the memory of segments that have not been used for a while.
func (a *Arena) dropIdle() {
	a.grow.Lock() // Close waits for it
	defer a.grow.Unlock()
	for _, l := range a.links() {
		l.sweep()
	}
	a.mu.Lock()
	a.mu.watched = false
	var idle []*segment
	for _, s := range a.mu.segments {
		if !s.unused() {
			continue
		}
		if s.idle++; s.idle > idleTicks && !a.mu.closed {
			a.removeLocked(s)
			idle = append(idle, s)
		}
	}
	if len(a.mu.segments) > 0 && !a.mu.closed {
		a.watchLocked()
	}
	a.mu.Unlock()
	a.drop(idle)
}

// Stats counts what there is at the moment.
func (a *Arena) Stats() Stats {
	a.mu.Lock()
	s := Stats{
		Segments: len(a.mu.segments), SegmentBytes: a.mu.bytes, Blocks: a.mu.blocks, BlockBytes: a.mu.blockBytes,
		Links: len(a.mu.links), Sweeps: a.mu.sweeps, Fulls: a.mu.fulls,
	}
	a.mu.Unlock()
	s.Imports, s.ImportBytes = a.imports.count()
	return s
}

// Close ends all links and gives the memory back, of blocks and leases that are still held when they are released. It
// returns after the last goroutine of the arena and of its links. Calls after the first wait as well.
func (a *Arena) Close() {
	a.mu.Lock()
	a.mu.closed = true
	a.mu.Unlock()
	for _, l := range a.links() {
		l.Close()
	}
	a.grow.Lock()
	defer a.grow.Unlock()
	a.mu.Lock()
	var unused []*segment
	for _, s := range a.mu.segments {
		if s.unused() {
			a.removeLocked(s)
			unused = append(unused, s)
		}
	}
	a.mu.Unlock()
	a.drop(unused)
}

// register adds a link that will be swept and told of dropped segments.
func (a *Arena) register(l *Link) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.closed {
		return ErrClosed
	}
	a.mu.links[l] = struct{}{}
	return nil
}

func (a *Arena) unregister(l *Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mu.links, l)
}
