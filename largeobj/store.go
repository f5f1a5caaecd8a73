package largeobj

import (
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// A Store holds the objects of a process: those made here, and those received from peers. All methods are safe for
// concurrent use. Servers and clients share [Default] unless they are given one of their own.
type Store struct {
	cfg    Config
	arena  *shm.Arena // nil where memory cannot be shared
	budget *transfer.Budget
	stats  counters

	mu struct {
		sync.Mutex
		closed   bool
		contents map[Key]*content // every content that somebody holds
		partials map[ID]*partial  // what was fetched of an object before its connection was lost
	}
}

// counters are what [Stats] reports.
type counters struct {
	sharedOut, sharedIn, streamedOut, streamedIn atomic.Int64
	bytesOut, bytesIn                            atomic.Int64
	leaked, links                                atomic.Int64
}

// New returns a store. It fails if the configuration is out of range.
func New(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg}
	if s.budget, err = transfer.NewBudget(cfg.MemoryBytes, cfg.InMemoryBytes); err != nil {
		return nil, fmt.Errorf("largeobj: %w", err)
	}
	s.mu.contents = map[Key]*content{}
	s.mu.partials = map[ID]*partial{}
	if cfg.StreamsOnly {
		return s, nil
	}
	s.arena, err = shm.NewArena(shm.ArenaConfig{MaxBytes: cfg.ArenaBytes, SegmentBytes: segmentBytes})
	if errors.Is(err, errors.ErrUnsupported) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("largeobj: %w", err)
	}
	return s, nil
}

var (
	defaultOnce  sync.Once
	defaultStore *Store
)

// Default returns the store that everything in this process shares which was given no other. It takes no memory until an
// object is made or a peer on the same host is met.
func Default() *Store {
	defaultOnce.Do(func() {
		s, err := New(Config{})
		if err != nil { // an arena of no segments cannot fail
			panic("largeobj: " + err.Error())
		}
		defaultStore = s
	})
	return defaultStore
}

// Close frees what the store holds; objects and views of it must not be used any more. It is idempotent.
func (s *Store) Close() {
	s.mu.Lock()
	s.mu.closed = true
	contents, partials := s.mu.contents, s.mu.partials
	s.mu.contents, s.mu.partials = nil, nil
	s.mu.Unlock()
	for _, p := range partials {
		p.discard()
	}
	for _, c := range contents {
		c.free()
	}
	if s.arena != nil {
		s.arena.Close()
	}
}

// Stats are figures of a store.
type Stats struct {
	Objects                int   // that somebody holds: made here or received
	Links                  int   // connections to peers that share memory
	ArenaBytes, ArenaInUse int64 // memory shared with peers, and what of it objects and messages occupy
	MemoryBytes            int64 // of fetched objects, outside of files
	SharedOut, SharedIn    int64 // objects and messages that were handed over in shared memory
	StreamedOut            int64 // objects that peers have fetched, or parts of them
	StreamedIn             int64 // objects fetched from peers
	BytesOut, BytesIn      int64 // of these
	Leaked                 int64 // objects that the garbage collector found unreleased
}

// Stats returns figures of the store.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	n := len(s.mu.contents)
	s.mu.Unlock()
	st := Stats{
		Objects: n, Links: int(s.stats.links.Load()), MemoryBytes: s.budget.Used(), Leaked: s.stats.leaked.Load(),
		SharedOut: s.stats.sharedOut.Load(), SharedIn: s.stats.sharedIn.Load(),
		StreamedOut: s.stats.streamedOut.Load(), StreamedIn: s.stats.streamedIn.Load(),
		BytesOut: s.stats.bytesOut.Load(), BytesIn: s.stats.bytesIn.Load(),
	}
	if s.arena != nil {
		a := s.arena.Stats()
		st.ArenaBytes, st.ArenaInUse = a.SegmentBytes, a.BlockBytes
	}
	return st
}

// ID identifies the content of an object: an unchanged file of a [Dir] has the same one after a restart.
type ID = [16]byte

// Key is what a peer that was sent an object may fetch it with. It is random, so that nobody can guess it.
type Key = [16]byte

func newKey() (k [16]byte) {
	rand.Read(k[:])
	return k
}

// add makes the content known under its key, with one hold.
func (s *Store) add(c *content) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return ErrClosed
	}
	c.holds = 1
	s.mu.contents[c.key] = c
	return nil
}

// lookup returns the content with the key, held once more, or nil.
func (s *Store) lookup(key Key) *content {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.mu.contents[key]
	if c != nil {
		c.holds++
	}
	return c
}

func (s *Store) hold(c *content) {
	s.mu.Lock()
	c.holds++
	s.mu.Unlock()
}

// unhold gives up one hold; the last one frees the content.
func (s *Store) unhold(c *content) {
	s.mu.Lock()
	c.holds--
	last := c.holds == 0 && !s.mu.closed
	if last {
		delete(s.mu.contents, c.key)
	}
	s.mu.Unlock()
	if last {
		c.free()
	}
}

// A hold is one reference of the application to a content; a Ref and an Object share one.
type hold struct {
	c    *content
	done atomic.Bool
}

// A handle is what the application has of a hold. When the application loses it the collector gives the hold back: late,
// which is why Release exists, but not never. It never unmaps anything.
type handle struct {
	*hold
	received bool // from a peer
	kept     atomic.Bool
}

// newHandle returns a handle for a hold that the caller has on c.
func newHandle(c *content, received bool) *handle {
	h := &handle{hold: &hold{c: c}, received: received}
	runtime.AddCleanup(h, func(x *hold) {
		if x.release() && received {
			x.c.store.stats.leaked.Add(1)
		}
	}, h.hold)
	return h
}

// release gives the hold back, once.
func (h *hold) release() bool {
	if !h.done.CompareAndSwap(false, true) {
		return false
	}
	h.c.store.unhold(h.c)
	return true
}

// A partial is what has arrived of an object whose connection was lost.
type partial struct {
	dst   *transfer.Buffer
	timer *time.Timer
}

func (p *partial) discard() {
	p.timer.Stop()
	_ = p.dst.Close() // a temporary file
}

// keepPartial keeps what has arrived of an object for a while.
func (s *Store) keepPartial(id ID, dst *transfer.Buffer) {
	p := &partial{dst: dst}
	s.mu.Lock()
	old := s.mu.partials[id]
	if !s.mu.closed {
		s.mu.partials[id] = p
		p.timer = time.AfterFunc(s.cfg.ResumeWindow, func() {
			if s.takePartialOf(id, p) {
				_ = dst.Close()
			}
		})
	}
	closed := s.mu.closed
	s.mu.Unlock()
	if closed {
		_ = dst.Close()
	}
	if old != nil {
		old.discard()
	}
}

func (s *Store) takePartialOf(id ID, p *partial) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.partials[id] != p {
		return false
	}
	delete(s.mu.partials, id)
	return true
}

// takePartial returns what was kept of the object, or nil.
func (s *Store) takePartial(id ID) *transfer.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.mu.partials[id]
	if p == nil || !p.timer.Stop() {
		return nil
	}
	delete(s.mu.partials, id)
	return p.dst
}

// segmentBytes is how much memory the arena takes from the system at a time, which costs 4 ms; an object of more than half
// of it has memory of its own.
const segmentBytes = 16 << 20
