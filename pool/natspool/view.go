package natspool

import (
	"cmp"
	"slices"
	"time"

	"github.com/mycel-rpc/mycel/pool"
)

// A view is what one Watch knows of a service. It belongs to one goroutine, which tells it what it hears of the bucket:
//
//	begin --(put | remove)*--> end --(put | remove)*--> begin ...
//
// Between begin and end it hears of all the entries that there are. What it does not hear of then is gone.
type view struct {
	max int
	ttl time.Duration

	entries map[string]*entry // by key
	synced  time.Time         // of the last end
	hold    time.Time         // until then entries that are gone stay; a time in the past if they need not
	check   time.Time         // before it tick has nothing to do
}

type entry struct {
	endpoint pool.Endpoint
	revision uint64
	seen     time.Time // when it was heard of last, for the first time with this revision
	state    entryState
}

type entryState uint8

const (
	current entryState = iota
	unheard            // not heard of since begin
	gone               // not in the bucket; stays until view.hold
)

func newView(limit int) *view { return &view{max: limit, entries: map[string]*entry{}} }

// begin says that all entries follow. After a failure of the engine, nothing is removed for one time to live.
func (v *view) begin(ttl time.Duration, afterFailure bool, now time.Time) {
	v.ttl = ttl
	if afterFailure {
		v.hold = now.Add(ttl)
	}
	for _, e := range v.entries {
		if e.state == current {
			e.state = unheard
		}
	}
}

// put takes over an entry. It reports whether the set has changed, and false in ok if there are too many.
func (v *view) put(key string, revision uint64, endpoint pool.Endpoint, now time.Time) (changed, ok bool) {
	e := v.entries[key]
	if e == nil {
		if len(v.entries) >= v.max {
			return false, false
		}
		v.entries[key] = &entry{endpoint: endpoint, revision: revision, seen: now}
		return true, true
	}
	if e.state = current; e.revision != revision {
		e.revision, e.seen = revision, now
	}
	changed = e.endpoint != endpoint
	e.endpoint = endpoint
	return changed, true
}

// remove takes note that an entry is gone. It reports whether the set has changed.
func (v *view) remove(key string, now time.Time) (changed bool) {
	e := v.entries[key]
	if e == nil {
		return false
	}
	if now.Before(v.hold) {
		e.state = gone
		v.check = earlier(v.check, v.hold)
		return false
	}
	delete(v.entries, key)
	return true
}

// end says that all entries have been heard of.
func (v *view) end(now time.Time) (changed bool) {
	v.synced, v.check = now, now
	for key, e := range v.entries {
		if e.state == unheard {
			changed = v.remove(key, now) || changed
		}
	}
	return changed
}

// tick removes what need not stay any longer. In sync it reports that all entries have to be heard of again, because one has not
// been renewed, or because nothing was heard of at all: a watcher of a bucket that has been made anew hears nothing.
func (v *view) tick(now time.Time) (changed, sync bool) {
	if now.Before(v.check) {
		return false, false
	}
	oldest, held := time.Time{}, false
	for key, e := range v.entries {
		switch {
		case e.state != gone:
			if oldest.IsZero() || e.seen.Before(oldest) {
				oldest = e.seen
			}
		case v.remove(key, now):
			changed = true
		default:
			held = true
		}
	}
	if oldest.IsZero() {
		oldest = v.synced
	}
	v.check = oldest.Add(v.ttl + v.ttl/4)
	if again := v.synced.Add(v.ttl / 4); v.check.Before(again) { // the bucket still had it
		v.check = again
	}
	sync = !now.Before(v.check)
	if held {
		v.check = earlier(v.check, v.hold)
	}
	return changed, sync
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// list returns the endpoints by priority and address.
func (v *view) list() []pool.Endpoint {
	list := make([]pool.Endpoint, 0, len(v.entries))
	for _, e := range v.entries {
		list = append(list, e.endpoint)
	}
	slices.SortFunc(list, func(a, b pool.Endpoint) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Address, b.Address))
	})
	return list
}
