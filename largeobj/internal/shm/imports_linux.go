//go:build amd64 || arm64

package shm

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Bounds of what one peer can make us map. It must hold the memory itself.
const (
	maxImports     = maxSegmentCount
	maxImportBytes = 1 << 40
)

// imports has the segments of peers that are mapped here, each once for all links.
type imports struct {
	mu   sync.Mutex
	byID map[memfdID]*imported
}

// An imported segment stays mapped until the last link that names it has ended, or dropped it, and the last lease in it
// has been released: never under a reader.
type imported struct {
	all    *imports
	id     memfdID
	mem    []byte
	sealed bool // nobody can write any more
	users  atomic.Int64
}

// add checks and maps memory that a peer has passed, or finds it mapped. It borrows fd. The caller releases the result.
func (m *imports) add(fd int, size int64) (*imported, error) {
	id, seals, err := checkMemfd(fd, size, fixed)
	if err != nil {
		return nil, fmt.Errorf("%w: segment: %w", ErrPeerViolation, err)
	}
	if seals&(unix.F_SEAL_WRITE|unix.F_SEAL_FUTURE_WRITE) == 0 { // anybody may punch holes into it
		return nil, fmt.Errorf("%w: segment: seals %#x let everybody write", ErrPeerViolation, seals)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := m.byID[id]; i != nil {
		i.users.Add(1) // not zero before: who lets it become zero holds mu
		return i, nil
	}
	mem, err := mapRead(fd, size, seals)
	if err != nil {
		return nil, fmt.Errorf("shm: mapping a segment of the peer: %w", err)
	}
	i := &imported{all: m, id: id, mem: mem, sealed: seals&unix.F_SEAL_WRITE != 0}
	i.users.Store(1)
	if m.byID == nil {
		m.byID = map[memfdID]*imported{}
	}
	m.byID[id] = i
	return i, nil
}

func (i *imported) unref() {
	for n := i.users.Load(); n > 1; n = i.users.Load() {
		if i.users.CompareAndSwap(n, n-1) {
			return
		}
	}
	i.all.mu.Lock()
	defer i.all.mu.Unlock()
	if i.users.Add(-1) == 0 {
		delete(i.all.byID, i.id)
		unmap(i.mem)
	}
}

func (m *imports) count() (n int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.byID {
		bytes += id.size
	}
	return len(m.byID), bytes
}
