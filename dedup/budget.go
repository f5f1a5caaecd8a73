package dedup

import (
	"slices"
	"sync"
	"sync/atomic"
)

const (
	maxBudgets = 4
	sweepCount = 64 // accounts looked at for one reservation that does not fit
)

// A Budget bounds the memory that tables and bases use together. When it is spent, those that were not used since it
// last looked give theirs back; if there are none, nothing new is remembered until there is room.
//
// A Budget is safe for concurrent use.
type Budget struct {
	limit int
	mu    struct {
		sync.Mutex
		used int
		held map[*account]int // what each has taken, if anything; used is the sum
	}
}

// NewBudget returns a budget of so many bytes; zero or less allows nothing.
func NewBudget(bytes int) *Budget {
	b := &Budget{limit: bytes}
	b.mu.held = map[*account]int{}
	return b
}

// Used returns how many bytes are in use.
func (b *Budget) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// take reserves n bytes for an account and reports whether they were there.
func (b *Budget) take(a *account, n int) bool {
	if b.tryTake(a, n) {
		return true
	}
	if n > b.limit {
		return false
	}
	for _, other := range b.idle() { // not under b.mu: giving back needs it
		other.shrink()
		if b.tryTake(a, n) {
			return true
		}
	}
	return false
}

func (b *Budget) tryTake(a *account, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.limit-b.mu.used {
		return false
	}
	b.mu.used += n
	b.mu.held[a] += n
	return true
}

func (b *Budget) give(a *account, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used -= n
	b.mu.held[a] -= n
	switch held := b.mu.held[a]; {
	case held < 0:
		panic("dedup: more bytes given back than taken")
	case held == 0:
		delete(b.mu.held, a)
	}
}

// idle returns accounts that hold something and were not used since they were last looked at. It looks at some only, in
// the random order of maps, so that a reservation costs the same however many there are.
func (b *Budget) idle() (found []*account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	looks := sweepCount
	for a := range b.mu.held {
		if looks--; looks < 0 {
			break
		}
		if !a.used.Swap(false) {
			found = append(found, a)
		}
	}
	return found
}

// An account is what one table or base has taken from its budgets. Its owner calls its methods with its own lock held.
type account struct {
	budgets []*Budget
	held    int
	closed  bool        // nothing more is given
	used    atomic.Bool // since a budget last looked
	// shrink gives back what can be spared, unless the owner is locked and therefore not idle. It must not wait: it is
	// called while another owner is locked.
	shrink func()
}

func (a *account) open(budgets []*Budget, shrink func()) {
	a.budgets, a.shrink = slices.Clone(budgets), shrink
	a.used.Store(true)
}

func (a *account) take(n int) bool {
	if a.closed {
		return false
	}
	for i, b := range a.budgets {
		if !b.take(a, n) {
			for _, b := range a.budgets[:i] {
				b.give(a, n)
			}
			return false
		}
	}
	a.held += n
	return true
}

func (a *account) give(n int) {
	if n == 0 {
		return
	}
	a.held -= n
	for _, b := range a.budgets {
		b.give(a, n)
	}
}

// close gives back everything, for good.
func (a *account) close() {
	a.give(a.held)
	a.closed = true
}
