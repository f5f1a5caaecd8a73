package transfer

import (
	"fmt"
	"sync"
)

// A Budget bounds the bytes of objects that are in memory. What does not fit goes to a temporary file. It is safe for
// concurrent use.
type Budget struct {
	total, object int64
	mu            struct {
		sync.Mutex
		used      int64
		free      []recycled // the oldest first
		freeBytes int64
		timer     bool // age will run
	}
}

// ProcessBudget is the budget for all who do not have one of their own: 512 MiB, 64 MiB for one object.
var ProcessBudget = &Budget{total: 512 << 20, object: 64 << 20}

// NewBudget returns a budget of total bytes, of which one object gets at most the given number. Neither is negative; 0
// means that everything goes to files.
func NewBudget(total, object int64) (*Budget, error) {
	if total < 0 || object < 0 {
		return nil, fmt.Errorf("transfer: budget of %d bytes, %d for an object, want 0 or more", total, object)
	}
	return &Budget{total: total, object: object}, nil
}

// Used returns how many bytes are in use.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// take takes n bytes for an object that has held bytes already, and reports whether it could.
func (b *Budget) take(n, held int64) bool {
	if n > b.object-held {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.total-b.mu.used {
		return false
	}
	b.makeRoomLocked(n)
	b.mu.used += n
	return true
}

func (b *Budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.used -= n; b.mu.used < 0 {
		panic("transfer: more given back to a budget than was taken")
	}
}
