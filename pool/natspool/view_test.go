package natspool

import (
	"slices"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/pool"
)

// A viewer tells a view of what happens at a time that it sets itself.
type viewer struct {
	*view
	t   *testing.T
	now time.Time
}

func newViewer(t *testing.T) *viewer { return &viewer{newView(10), t, time.Unix(1000, 0)} }

// sync tells of all entries, "address" or "address weight".
func (v *viewer) sync(afterFailure bool, revision uint64, list ...string) {
	v.begin(10*time.Second, afterFailure, v.now)
	for _, a := range list {
		v.put(keyOf("s", a), revision, at(a), v.now)
	}
	v.end(v.now)
}

// after lets time pass, and says what tick should then find.
func (v *viewer) after(d time.Duration, wantChange, wantSync bool, want ...string) {
	v.t.Helper()
	v.now = v.now.Add(d)
	if changed, sync := v.tick(v.now); changed != wantChange || sync != wantSync {
		v.t.Errorf("at %v: changed %v, sync %v", v.now.Unix(), changed, sync)
	}
	if got := describe(v.list()); !slices.Equal(got, want) {
		v.t.Errorf("at %v: got %v, want %v", v.now.Unix(), got, want)
	}
}

func TestAnEntryThatIsNotRenewedIsAskedFor(t *testing.T) {
	v := newViewer(t)
	v.sync(false, 1, "a:1", "b:1")
	v.after(0, false, false, "a:1", "b:1")
	v.after(9*time.Second, false, false, "a:1", "b:1")
	v.put(keyOf("s", "a:1"), 2, at("a:1"), v.now) // renewed
	v.after(3400*time.Millisecond, false, false, "a:1", "b:1")
	v.after(100*time.Millisecond, false, true, "a:1", "b:1")
	// The bucket still has it: it is asked for again, but not at once.
	v.begin(10*time.Second, false, v.now)
	v.put(keyOf("s", "a:1"), 2, at("a:1"), v.now)
	v.put(keyOf("s", "b:1"), 1, at("b:1"), v.now)
	v.end(v.now)
	v.after(2400*time.Millisecond, false, false, "a:1", "b:1")
	v.after(100*time.Millisecond, false, true, "a:1", "b:1")
	v.sync(false, 2, "a:1")
	v.after(0, false, false, "a:1")
}

func TestASilentWatcherIsNotTrusted(t *testing.T) {
	v := newViewer(t)
	v.sync(false, 1)
	v.after(12400*time.Millisecond, false, false)
	v.after(100*time.Millisecond, false, true)
}

func TestNothingLeavesAtOnceAfterAFailure(t *testing.T) {
	v := newViewer(t)
	v.sync(false, 1, "a:1", "b:1", "c:1", "d:1")
	v.sync(true, 2, "a:1", "b:1")
	if v.remove(keyOf("s", "b:1"), v.now) {
		t.Error("b:1 has left at once")
	}
	v.after(9900*time.Millisecond, false, false, "a:1", "b:1", "c:1", "d:1")
	v.put(keyOf("s", "a:1"), 3, at("a:1"), v.now)
	v.put(keyOf("s", "c:1"), 4, at("c:1"), v.now) // it is back
	v.after(100*time.Millisecond, true, false, "a:1", "c:1")
	if !v.remove(keyOf("s", "c:1"), v.now) {
		t.Error("c:1 has not left at once")
	}
	v.after(time.Second, false, false, "a:1")
	// Another failure, which is not over when the entries are read in vain.
	v.begin(10*time.Second, true, v.now)
	v.begin(10*time.Second, true, v.now)
	v.put(keyOf("s", "e:1"), 5, at("e:1"), v.now)
	v.end(v.now)
	v.after(9*time.Second, false, false, "a:1", "e:1")
	v.after(time.Second, true, false, "e:1")
}

func TestAFullViewKeepsWhatItHas(t *testing.T) {
	v := newViewer(t)
	list := addresses(11)
	v.sync(false, 1, list[1:]...)
	if changed, ok := v.put(keyOf("s", list[0]), 2, at(list[0]), v.now); changed || ok {
		t.Error("took one more")
	}
	if changed, ok := v.put(keyOf("s", list[1]), 2, pool.Endpoint{Address: list[1], Priority: 1}, v.now); !changed || !ok {
		t.Error("refused a change")
	}
	v.after(0, false, false, append(list[2:], list[1])...)
	v.remove(keyOf("s", list[5]), v.now)
	if changed, ok := v.put(keyOf("s", list[0]), 2, at(list[0]), v.now); !changed || !ok {
		t.Error("refused one that there was room for")
	}
}
