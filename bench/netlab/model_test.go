package netlab

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

func modelOf(l Link) *model {
	m := newModel(1, LeftToRight, 1<<20)
	m.link = l
	return m
}

func TestALinkOutOfRangeIsRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		link Link
	}{
		{"Delay", Link{Delay: -1}},
		{"Delay", Link{Delay: time.Minute + 1}},
		{"Jitter", Link{Jitter: -1}},
		{"ReorderDelay", Link{ReorderDelay: time.Hour}},
		{"Loss", Link{Loss: -0.1}},
		{"Loss", Link{Loss: math.NaN()}},
		{"Duplicate", Link{Duplicate: 1.1}},
		{"Reorder", Link{Reorder: 2}},
		{"GoodToBad", Link{Burst: Burst{GoodToBad: 2, BadToGood: 1}}},
		{"BadToGood", Link{Burst: Burst{GoodToBad: 0.1}}},
		{"LossBad", Link{Burst: Burst{LossBad: math.Inf(1)}}},
		{"Rate", Link{Rate: -1}},
		{"Rate", Link{Rate: maxRate + 1}},
		{"QueueBytes", Link{QueueBytes: -1}},
		{"MTU", Link{MTU: 67}},
	} {
		if err := c.link.Validate(); err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%+v: %v, want an error about %s", c.link, err, c.name)
		}
	}
	if err := (Link{}).Validate(); err != nil {
		t.Errorf("zero link: %v", err)
	}
}

func TestABottleneckLosesNoRateAndBoundsItsQueue(t *testing.T) {
	const size, queue = 1000, 10_000
	m := modelOf(Link{Rate: 8e6, QueueBytes: queue}) // a millisecond for each packet
	for i := range int64(20) {                       // all at once
		f := m.arrive(0, size)
		want := fate{1, (i + 1) * ms}
		if i >= queue/size {
			want = fate{}
		}
		if f != want {
			t.Errorf("packet %d of a burst: %+v, want %+v", i, f, want)
		}
	}
	if f := m.arrive(ms-1, size); f.copies != 0 {
		t.Errorf("a packet is taken while the first one is still in transmission: %+v", f)
	}
	if f := m.arrive(ms, size); f != (fate{1, 11 * ms}) {
		t.Errorf("the packet after the first transmission: %+v", f)
	}
	// The link was never idle, so what arrives later leaves as if it had always waited.
	if f := m.arrive(11*ms-1, size); f.depart != 12*ms {
		t.Errorf("a packet just before the queue is empty leaves at %v", time.Duration(f.depart))
	}
	if f := m.arrive(100*ms, size); f.depart != 101*ms {
		t.Errorf("a packet at an empty queue leaves at %v", time.Duration(f.depart))
	}
	s := m.snapshot(100 * ms)
	if s.QueueBytes != size || s.QueueDelay != time.Millisecond || s.MaxQueueBytes != queue || s.MaxQueueDelay != 10*time.Millisecond || s.Dropped != (Dropped{Queue: 11}) {
		t.Errorf("stats: %+v", s)
	}
	if s := m.snapshot(101 * ms); s.QueueBytes != 0 || s.QueueDelay != 0 {
		t.Errorf("stats of an empty queue: %+v", s)
	}
}

func TestWhatWaitsLeavesAsItWouldHaveWhenTheLinkChanges(t *testing.T) {
	m := modelOf(Link{Rate: 8e6, Delay: time.Millisecond, QueueBytes: 3000})
	for range 3 {
		m.arrive(0, 1000) // leave the bottleneck at 1, 2 and 3 ms
	}
	m.link.Rate = 80e6
	if f := m.arrive(0, 1000); f.copies != 0 {
		t.Error("the queue forgot what it holds")
	}
	if f := m.arrive(ms, 1000); f.depart != 4*ms+ms/10 { // behind the last one, then 0.1 ms at the new rate and the delay
		t.Errorf("a packet at the new rate leaves at %v", time.Duration(f.depart))
	}
	m.link = Link{}
	if f := m.arrive(2*ms, 1000); f.depart != 4*ms+ms/10 {
		t.Errorf("a packet overtakes those that wait: it leaves at %v", time.Duration(f.depart))
	}
}

func TestThePacketsAtABottleneckAreBounded(t *testing.T) {
	m := newModel(1, LeftToRight, 3)
	m.link = Link{Rate: 1000, Loss: 1, QueueBytes: 1 << 20} // lost packets wait, too
	for range 5 {
		m.arrive(0, 20)
	}
	if s := m.snapshot(0); s.Dropped != (Dropped{Loss: 3, Overflow: 2}) {
		t.Errorf("dropped: %+v", s.Dropped)
	}
}

func TestTheFateOfThePacketsDependsOnTheSeedAlone(t *testing.T) {
	link := Link{
		Loss: 0.1, Burst: Burst{GoodToBad: 0.05, BadToGood: 0.3, LossBad: 0.9}, Jitter: time.Millisecond, JitterReorders: true,
		Duplicate: 0.1, Reorder: 0.1, ReorderDelay: time.Second,
	}
	run := func(seed uint64, d Direction, link Link) (fates []fate) {
		m := newModel(seed, d, 1000)
		m.link = link
		for i := range int64(1000) {
			fates = append(fates, m.arrive(i*ms, 100))
		}
		return fates
	}
	first := run(7, LeftToRight, link)
	if !slices.Equal(first, run(7, LeftToRight, link)) {
		t.Error("the same seed has another outcome")
	}
	if slices.Equal(first, run(8, LeftToRight, link)) || slices.Equal(first, run(7, RightToLeft, link)) {
		t.Error("another seed, or direction, has the same outcome")
	}
	lossy := Link{Loss: 0.1}
	slow := lossy
	slow.Rate, slow.QueueBytes = 8e6, 300
	for i, f := range run(7, LeftToRight, slow) {
		if want := run(7, LeftToRight, lossy)[i]; (f.copies == 0) != (want.copies == 0) {
			t.Fatalf("packet %d has another fate behind a bottleneck", i)
		}
		if i == 200 {
			break
		}
	}
}

// within checks a share of n draws: it is off by less than six standard deviations.
func within(t *testing.T, what string, got uint64, n int, probability float64) {
	t.Helper()
	want := float64(n) * probability
	if deviation := math.Sqrt(want * (1 - probability)); math.Abs(float64(got)-want) > 6*deviation {
		t.Errorf("%s: %d of %d, want %.0f", what, got, n, want)
	}
}

func TestLossDuplicatesAndReorderingHaveTheirShares(t *testing.T) {
	const n = 100_000
	m := modelOf(Link{Loss: 0.02, Duplicate: 0.03, Reorder: 0.05, ReorderDelay: time.Millisecond})
	copies := 0
	for range n {
		copies += m.arrive(0, 100).copies
	}
	s := m.snapshot(0)
	passed := n - int(s.Dropped.Loss)
	within(t, "lost", s.Dropped.Loss, n, 0.02)
	within(t, "duplicated", s.Duplicated, passed, 0.03)
	within(t, "held back", s.HeldBack, passed, 0.05)
	if copies != passed+int(s.Duplicated) {
		t.Errorf("%d copies of %d packets", copies, passed)
	}
}

func TestBurstsHaveTheirLengthAndShare(t *testing.T) {
	const n = 200_000
	m := modelOf(Link{Burst: Burst{GoodToBad: 0.01, BadToGood: 0.25}})
	bursts, lost, before := 0, 0, false
	for range n {
		dropped := m.arrive(0, 100).copies == 0
		if dropped {
			lost++
		}
		if dropped && !before {
			bursts++
		}
		before = dropped
	}
	if share := float64(lost) / n; math.Abs(share-0.01/0.26) > 0.004 {
		t.Errorf("%.4f of the packets are lost, want %.4f", share, 0.01/0.26)
	}
	if length := float64(lost) / float64(bursts); math.Abs(length-4) > 0.4 {
		t.Errorf("the mean burst is %.2f packets, want 4", length)
	}
	if s := m.snapshot(0); s.Dropped != (Dropped{Burst: uint64(lost)}) {
		t.Errorf("dropped: %+v", s.Dropped)
	}
}

func TestJitterIsBetweenZeroAndItselfAndReordersOnlyIfAsked(t *testing.T) {
	for _, reorders := range []bool{false, true} {
		m := modelOf(Link{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, JitterReorders: reorders})
		overtaken, last := 0, int64(0)
		least, most := int64(math.MaxInt64), int64(0)
		for i := range int64(1000) {
			sent := i * ms
			f := m.arrive(sent, 100)
			least, most = min(least, f.depart-sent), max(most, f.depart-sent)
			if f.depart < last {
				overtaken++
			}
			last = f.depart
		}
		if least < 10*ms || most > 15*ms || most-least < 4*ms {
			t.Errorf("reorders %v: delays from %v to %v", reorders, time.Duration(least), time.Duration(most))
		}
		if (overtaken > 0) != reorders {
			t.Errorf("reorders %v: %d packets overtake the one before", reorders, overtaken)
		}
	}
}

func TestAHeldBackPacketIsPassedByOthers(t *testing.T) {
	m := modelOf(Link{Delay: time.Millisecond, Reorder: 1, ReorderDelay: time.Second})
	held := m.arrive(0, 100)
	m.link.Reorder = 0
	if next := m.arrive(0, 100); held.depart != 1001*ms || next.depart != ms {
		t.Errorf("departures: %v and %v", time.Duration(held.depart), time.Duration(next.depart))
	}
}

func TestBlackHoleAndMTUDrop(t *testing.T) {
	m := modelOf(Link{MTU: 1200})
	if m.arrive(0, 1200).copies != 1 || m.arrive(0, 1201).copies != 0 {
		t.Error("MTU 1200")
	}
	m.link = Link{BlackHole: true}
	m.arrive(0, 1)
	if s := m.snapshot(0); s.Dropped != (Dropped{MTU: 1, BlackHole: 1}) || s.Packets != 3 || s.Bytes != 2402 || s.Dropped.Total() != 2 {
		t.Errorf("stats: %+v", s)
	}
}

func TestLatenessIsCounted(t *testing.T) {
	m := modelOf(Link{})
	m.departed(ms, 0, 100)
	m.departed(5*ms, 2*ms, 200)
	m.departed(5*ms, 6*ms, 300) // never; it would count as in time
	s := m.snapshot(0)
	if s.PassedPackets != 3 || s.PassedBytes != 600 || s.MaxLateness != 3*time.Millisecond || s.LatePackets != 1 || s.Lateness != 4*time.Millisecond/3 {
		t.Errorf("stats: %+v", s)
	}
}

func TestDeparturesLeaveInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	var h departures
	var want []departure // the oracle: sorted each time
	for i := range 5000 {
		if len(want) > 0 && random.IntN(3) == 0 {
			if got := h.pop(); got != want[0] {
				t.Fatalf("step %d: %+v leaves, want %+v", i, got, want[0])
			}
			want = want[1:]
			continue
		}
		d := departure{random.Int64N(100), uint64(i), i}
		h.push(d)
		want = append(want, d)
		slices.SortStableFunc(want, func(a, b departure) int { return int(a.at - b.at) })
	}
	for len(want) > 0 {
		if got := h.pop(); got != want[0] {
			t.Fatalf("%+v leaves, want %+v", got, want[0])
		}
		want = want[1:]
	}
}

func TestAFifoKeepsItsOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 4))
	var q fifo
	pushed, popped := 0, 0
	for range 10_000 {
		if q.len() != pushed-popped {
			t.Fatalf("%d wait, want %d", q.len(), pushed-popped)
		}
		if q.len() > 0 && random.IntN(5) < 2 {
			if got := q.front(); got.size != popped {
				t.Fatalf("packet %d is in front, want %d", got.size, popped)
			}
			q.pop()
			popped++
			continue
		}
		q.push(waiting{0, pushed})
		pushed++
	}
}

func TestTheModelAllocatesNothing(t *testing.T) {
	m := modelOf(Link{Rate: 8e6, Loss: 0.1, Burst: Burst{GoodToBad: 0.1, BadToGood: 0.1}, Jitter: time.Second, Duplicate: 0.1, Reorder: 0.1})
	for range 200 {
		m.arrive(0, 100)
	}
	now := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		now += ms
		m.arrive(now, 100)
		m.departed(now, now, 100)
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
