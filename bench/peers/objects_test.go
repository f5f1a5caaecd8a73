package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/largeobj"
)

// dialObjects starts a transport of objects and returns a client that is ready. Both end with the test.
func dialObjects(t *testing.T, tr transport) hander {
	t.Helper()
	_, c := dialTest(t, tr)
	h, ok := c.(hander)
	if !ok {
		t.Fatalf("%s hands no objects over", tr.name)
	}
	if err := h.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEveryTransportOfObjectsHandsThemOver(t *testing.T) {
	for _, tr := range transports() {
		if c := (benchCase{only: hugeTransports}); !c.takes(tr) {
			continue
		}
		t.Run(tr.name, func(t *testing.T) {
			h := dialObjects(t, tr)
			watched := h.watch()
			for n, size := range []int{1 << 20, 5 << 20} {
				before := clock()
				first, last, err := h.hand(t.Context(), uint64(n), size)
				if err != nil || last < before || last > clock() || first != 0 && (first < before || first > last) {
					t.Errorf("%d bytes: first at %v, last at %v of %v to %v, error %v", size, first, last, before, clock(), err)
				}
			}
			if err := watched(2); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestObjectsThatTakeAnotherWayFailTheRow(t *testing.T) {
	for _, shared := range []bool{false, true} {
		_, c := dialTest(t, transport{start: startMycelCopy(largeobj.Config{StreamsOnly: !shared})})
		m := c.(mycelClient)
		if err := m.ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.s.shared = !shared // what the row pretends
		watched := m.watch()
		if _, _, err := m.hand(t.Context(), 1, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := watched(1); err == nil || !strings.Contains(err.Error(), "of 1 objects") {
			t.Errorf("shared %t: error %v, want one that says how the object came", shared, err)
		}
	}
}

func TestADigestTellsObjectsApart(t *testing.T) {
	b := make([]byte, 3*pageBytes)
	want := inspect(b)
	if err := inspect(b).check(0, want, true); err != nil {
		t.Error(err)
	}
	for _, at := range []int{0, endBytes - 1, pageBytes / 4, 2*pageBytes + pageBytes/4, len(b) - 1} {
		b[at]++
		if err := inspect(b).check(0, want, true); !errors.Is(err, errDigest) {
			t.Errorf("byte %d differs: %v", at, err)
		}
		b[at]--
	}
	if err := inspect(b[:len(b)-pageBytes]).check(0, want, true); !errors.Is(err, errDigest) {
		t.Errorf("another size: %v", err)
	}
}

func TestHandoversAreMeasuredBesideSmallCalls(t *testing.T) {
	ep, c := dialTest(t, transports()[0])
	r := round{row: rowKey{Scenario: "handover"}, endpoint: ep, client: c, duration: 20e6}
	cs := handoverLatency(1<<20, 2<<20)
	if _, err := cs.first(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	ms, err := cs.measure(t.Context(), &r)
	if err != nil || len(ms) != 4 {
		t.Fatalf("%d measurements, error %v; want two for each size", len(ms), err)
	}
	for i, m := range ms {
		small := m.row.Transport == smallCall
		if got := m.metrics(); small != (i%2 == 1) || m.row.SizeBytes != (1+i/2)<<20 || got.P50Micros <= 0 || got.MBPerS != 0 {
			t.Errorf("measurement %d: %+v, %+v", i, m.row, got)
		}
	}
}

func TestThePeakOfMemoryIsThatOfTheObject(t *testing.T) {
	if memoryInUse() == 0 {
		t.Log("the system does not tell; there is no figure to check")
		return
	}
	const size = 32 << 20
	for _, tr := range transports()[:3] {
		peak, err := peakOf(context.WithoutCancel(t.Context()), dialObjects(t, tr), size, 1)
		if err != nil || peak < size*8/10 || peak > 24*size { // the race detector has memory of its own, and so has the garbage of other tests
			t.Errorf("%s: an object of %d bytes took %d, error %v", tr.name, size, peak, err)
		}
	}
}

func TestTransfersAreCompleteAndResumed(t *testing.T) {
	r := &report{}
	const size = 48 << 20
	// A leaf of 4 MiB for each stream is sent again, so their number, which is found by measuring, is bounded here.
	if err := transferObjects(t.Context(), &plan{rounds: 1, progress: t.Output()}, r, size, largeobj.Config{StreamsOnly: true, MaxStreams: 2}); err != nil {
		t.Fatal(err)
	}
	r.summarize()
	if len(r.Rows) != 2 {
		t.Fatalf("%d rows, want 2", len(r.Rows))
	}
	whole, resumed := r.Rows[0], r.Rows[1]
	if whole.Scenario != "transfer" || whole.MBPerS <= 0 || whole.ResentBytes != 0 {
		t.Errorf("%+v", whole)
	}
	if resumed.Scenario != "transfer-resume" || resumed.OpenRanges > 2 || resumed.ResentBytes > size/2 {
		t.Errorf("%+v", resumed)
	}
}
