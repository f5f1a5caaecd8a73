package compress

import "testing"

func TestAverageGoesDownFastAndUpSlowly(t *testing.T) {
	var a Average
	want := func(size, nanos float32) {
		t.Helper()
		if s, n, ok := a.Load(); !ok || s != size || n != nanos {
			t.Errorf("averages are %v and %v, %v; want %v and %v", s, n, ok, size, nanos)
		}
	}
	if _, _, ok := a.Load(); ok {
		t.Error("there is an average of nothing")
	}
	a.Observe(8, 100, 0.25, true)
	want(8, 100)
	a.Observe(16, 400, 0.25, true) // of the first the fastest counts
	want(10, 100)
	a.Observe(10, 20, 0.25, false)
	want(10, 60)
	a.Observe(10, 140, 0.25, false)
	want(10, 70)
	a.Observe(10, 1e9, 0.25, false) // counts as four times the average
	want(10, 70+3*70./8)
}
