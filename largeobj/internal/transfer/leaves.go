package transfer

import (
	"sync"

	"github.com/zeebo/blake3"
)

// Leaves are the leaf hashes of one object, computed while its leaves are sent and kept for later receivers. All methods
// are safe for concurrent use, and all receivers of an object should share one.
type Leaves struct {
	leaf int64
	off  bool // no hashes
	mu   struct {
		sync.Mutex
		sums    map[int64][HashBytes]byte // by index
		started map[int64]*leafHash       // by index, while somebody sends the leaf and it has no sum yet
	}
}

// NewLeaves returns Leaves without hashes yet, for an object with the leaf size of its manifest (0 means the default).
func NewLeaves(leaf int64) (*Leaves, error) {
	m, err := Manifest{Leaf: leaf}.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Leaves{leaf: m.Leaf}
	l.mu.sums = map[int64][HashBytes]byte{}
	l.mu.started = map[int64]*leafHash{}
	return l, nil
}

// NewUnhashed returns Leaves that compute nothing: chunks are sent without hashes, for receivers that do not verify.
func NewUnhashed(leaf int64) (*Leaves, error) {
	l, err := NewLeaves(leaf)
	if err == nil {
		l.off = true
	}
	return l, err
}

// LeafBytes returns the leaf size.
func (l *Leaves) LeafBytes() int64 { return l.leaf }

// A leafHash is the hash of a leaf of which the first bytes have been hashed. Whoever sends a chunk of the leaf hashes
// it, unless another one has done so: each byte is hashed once, and nobody waits for a receiver that is slow.
type leafHash struct {
	leaves *Leaves
	index  int64
	users  int // guarded by leaves.mu; removed when the last one leaves without a sum
	mu     struct {
		sync.Mutex
		hasher *blake3.Hasher // nil when done
		pos    int64          // bytes of the leaf that have been hashed
		sum    [HashBytes]byte
	}
}

// enter returns the hash of a leaf for one that sends it, who must call leave. It is nil when there are no hashes.
func (l *Leaves) enter(index int64) *leafHash {
	if l.off {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sum, ok := l.mu.sums[index]; ok {
		h := &leafHash{leaves: l, index: index, users: 1}
		h.mu.sum = sum
		return h
	}
	h := l.mu.started[index]
	if h == nil {
		h = &leafHash{leaves: l, index: index}
		h.mu.hasher = takeHasher()
		l.mu.started[index] = h
	}
	h.users++
	return h
}

func (h *leafHash) leave() {
	if h == nil {
		return
	}
	l := h.leaves
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.users--; h.users > 0 {
		return
	}
	if l.mu.started[h.index] == h {
		delete(l.mu.started, h.index)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.hasher != nil {
		hashers.Put(h.mu.hasher)
		h.mu.hasher = nil
	}
}

// done reports whether the sum is known.
func (h *leafHash) done() bool {
	if h == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.hasher == nil
}

// write hashes p, which begins at pos in the leaf. It borrows p until it returns. The caller has written everything before.
func (h *leafHash) write(p []byte, pos int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if skip := h.mu.pos - pos; h.mu.hasher != nil && skip < int64(len(p)) {
		h.mu.hasher.Write(p[skip:])
		h.mu.pos = pos + int64(len(p))
	}
}

// sum appends the hash to dst after the whole leaf was written.
func (h *leafHash) sum(dst []byte) []byte {
	if h == nil {
		return dst
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.hasher != nil {
		h.mu.hasher.Sum(h.mu.sum[:0])
		hashers.Put(h.mu.hasher)
		h.mu.hasher = nil
		h.leaves.keep(h.index, h.mu.sum)
	}
	return append(dst, h.mu.sum[:]...)
}

// keep remembers a sum. It is called with the lock of a leafHash, which no method takes while it holds l.mu, except
// leave when nobody else has the leafHash.
func (l *Leaves) keep(index int64, sum [HashBytes]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.sums[index] = sum
	delete(l.mu.started, index)
}
