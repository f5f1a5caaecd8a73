package dedup

import (
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
		used     int
		accounts map[*account]struct{} // of what is open and has this budget
	}
}

// NewBudget returns a budget of so many bytes; zero or less allows nothing.
func NewBudget(bytes int) *Budget {
	b := &Budget{limit: bytes}
	b.mu.accounts = map[*account]struct{}{}
	return b
}

// Used returns how many bytes are in use.
func (b *Budget) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// take reserves n bytes and reports whether they were there.
func (b *Budget) take(n int) bool {
	if b.tryTake(n) {
		return true
	}
	if n > b.limit {
		return false
	}
	for _, a := range b.idle() { // not under b.mu: giving back needs it
		a.shrink()
		if b.tryTake(n) {
			return true
		}
	}
	return false
}

func (b *Budget) tryTake(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.limit-b.mu.used {
		return false
	}
	b.mu.used += n
	return true
}

func (b *Budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used -= n
	if b.mu.used < 0 {
		panic("dedup: more bytes given back than taken")
	}
}

// idle returns accounts that hold something and were not used since they were last looked at. It looks at some only, in
// the random order of maps, so that a reservation costs the same however many there are.
func (b *Budget) idle() (found []*account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	looks := sweepCount
	for a := range b.mu.accounts {
		if looks--; looks < 0 {
			break
		}
		if !a.used.Swap(false) && a.held.Load() > 0 {
			found = append(found, a)
		}
	}
	return found
}

// An account is what one table or base has taken from its budgets. All but shrink is called by its owner only, with the
// owner's lock held.
type account struct {
	budgets []*Budget
	used    atomic.Bool  // since a budget last looked
	held    atomic.Int64 // bytes
	closed  bool         // nothing more is given
	// shrink gives back what can be spared, unless the owner is locked and therefore not idle. It must not wait: it is
	// called while another owner is locked.
	shrink func()
}

func (a *account) open(budgets []*Budget, shrink func()) {
	a.budgets, a.shrink = append([]*Budget(nil), budgets...), shrink
	a.used.Store(true)
	for _, b := range a.budgets {
		b.mu.Lock()
		b.mu.accounts[a] = struct{}{}
		b.mu.Unlock()
	}
}

func (a *account) take(n int) bool {
	if a.closed {
		return false
	}
	for i, b := range a.budgets {
		if !b.take(n) {
			for _, b := range a.budgets[:i] {
				b.give(n)
			}
			return false
		}
	}
	a.held.Add(int64(n))
	return true
}

func (a *account) give(n int) {
	a.held.Add(-int64(n))
	for _, b := range a.budgets {
		b.give(n)
	}
}

// close gives back everything and leaves the budgets.
func (a *account) close() {
	a.give(int(a.held.Load()))
	for _, b := range a.budgets {
		b.mu.Lock()
		delete(b.mu.accounts, a)
		b.mu.Unlock()
	}
	a.budgets, a.closed = nil, true
}
