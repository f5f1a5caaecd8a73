package compress

import (
	"sync"
	"testing"
	"time"
)

// world is what codecs do to one kind of data: ratio, and nanoseconds per byte to encode and decode.
type world map[Codec]struct{ ratio, nanos float64 }

// Figures of blocks of 64 KiB, measured on one machine.
var (
	logWorld    = world{S2: {3.6, 0.57}, Zstd: {6.5, 1.75}}
	randomWorld = world{S2: {1, 0.05}, Zstd: {1, 0.04}}
	columnWorld = world{Delta64: {3, 1.2}, S2: {1, 0.05}}
)

var (
	loopback = Path{}                      // CPU is all that counts
	fast     = Path{BytesPerSecond: 200e6} // 1.6 Gbit/s: S2
	slow     = Path{BytesPerSecond: 5e6}   // 40 Mbit/s: zstd
)

// run lets c choose for messages of n bytes and returns how often it chose each codec.
func run(c *Chooser, w world, messages, n int, p Path) map[Codec]int {
	got := map[Codec]int{}
	for range messages {
		codec := c.Choose(n, p)
		got[codec]++
		if x, ok := w[codec]; ok {
			c.Observe(codec, n, int(float64(n)/x.ratio), time.Duration(float64(n)*x.nanos))
		}
	}
	return got
}

func TestChoiceFollowsDataAndPath(t *testing.T) {
	for _, s := range []struct {
		name   string
		codecs []Codec
		world  world
		path   Path
		want   Codec
	}{
		{"log text on a slow path", []Codec{S2, Zstd}, logWorld, slow, Zstd},
		{"log text on a fast path", []Codec{S2, Zstd}, logWorld, fast, S2},
		{"log text on loopback", []Codec{S2, Zstd}, logWorld, loopback, S2}, // 0.57 + 2.3/3.6 < 2.3
		{"log text in memory", []Codec{S2, Zstd}, logWorld, Path{CPUPerByte: 0.3}, None},
		{"log text and a peer without zstd", []Codec{S2}, logWorld, slow, S2},
		{"random data on a slow path", []Codec{S2, Zstd}, randomWorld, slow, None},
		{"timestamps", []Codec{Delta64, S2}, columnWorld, loopback, Delta64},
		{"no codec", nil, logWorld, slow, None},
	} {
		c := NewChooser(s.codecs...)
		got := run(c, s.world, 6400, 64<<10, s.path)
		if others := 6400 - got[s.want]; others > 100+tries*len(s.codecs) {
			t.Errorf("%s: %v", s.name, got)
		}
		if st := c.Stats(s.path); st.Codec != s.want || st.Pinned {
			t.Errorf("%s: %+v", s.name, st)
		}
	}
}

func TestRandomDataIsHardlyTried(t *testing.T) {
	c := NewChooser(S2, Zstd)
	if got := run(c, randomWorld, 6, 4096, slow); got[None] != 0 {
		t.Errorf("at the start: %v", got)
	}
	got := run(c, randomWorld, 6400, 4096, slow)
	if got[S2] != 50 || got[Zstd] != 50 {
		t.Errorf("afterwards, of 6400: %v", got)
	}
}

func TestSmallMessagesAreLeftAlone(t *testing.T) {
	c := NewChooser(S2, Zstd)
	if got := run(c, logWorld, 1000, MinBytes-1, slow); got[None] != 1000 {
		t.Errorf("%v", got)
	}
	c.Pin(S2)
	if codec := c.Choose(MinBytes-1, slow); codec != None {
		t.Errorf("pinned: %v", codec)
	}
	if st := c.Stats(slow); st.Messages != 0 {
		t.Errorf("they are counted: %+v", st)
	}
}

func TestChoiceFollowsChanges(t *testing.T) {
	c := NewChooser(S2, Zstd)
	run(c, logWorld, 1000, 64<<10, fast)
	if got := c.Choose(64<<10, slow); got != Zstd {
		t.Errorf("the path became slow: still %v", got)
	}
	run(c, randomWorld, 1000, 64<<10, fast)
	if got := c.Stats(fast).Codec; got != None {
		t.Errorf("the data became random: still %v", got)
	}
	run(c, logWorld, 1000, 64<<10, fast)
	if got := c.Stats(fast).Codec; got != S2 {
		t.Errorf("the data became text again: still %v", got)
	}
}

func TestOneSlowSampleChangesNothing(t *testing.T) {
	c := NewChooser(S2, Zstd)
	const n = 64 << 10
	c.Observe(S2, n, n/4, 50*time.Millisecond) // the first one filled pools
	run(c, logWorld, 200, n, fast)
	for range 20 {
		c.Observe(S2, n, n/4, 50*time.Millisecond) // its thread had to wait
		if got := c.Stats(fast).Codec; got != S2 {
			t.Fatalf("%v after one slow sample: %+v", got, c.Stats(fast))
		}
		run(c, logWorld, 50, n, fast)
	}
}

func TestPin(t *testing.T) {
	c := NewChooser(S2, Zstd)
	for _, codec := range []Codec{Zstd, None, S2} {
		c.Pin(codec)
		if got := run(c, randomWorld, 200, 4096, loopback); got[codec] != 200 {
			t.Errorf("pinned %v: %v", codec, got)
		}
		if st := c.Stats(loopback); st.Codec != codec || !st.Pinned {
			t.Errorf("pinned %v: %+v", codec, st)
		}
	}
	c.Unpin()
	run(c, randomWorld, 200, 4096, loopback)
	if st := c.Stats(loopback); st.Codec != None || st.Pinned || st.Messages != 200 {
		t.Errorf("unpinned: %+v", st)
	}
}

func TestStatsTellWhy(t *testing.T) {
	c := NewChooser(None, S2, Zstd, S2)
	run(c, logWorld, 64, 64<<10, slow)
	st := c.Stats(slow)
	if len(st.Figures) != 2 || st.Messages != 64 {
		t.Fatalf("%+v", st)
	}
	for _, f := range st.Figures {
		w := logWorld[f.Codec]
		if f.Samples < tries || f.Ratio/w.ratio > 1.01 || w.ratio/f.Ratio > 1.01 || f.NanosPerByte/w.nanos > 1.01 || w.nanos/f.NanosPerByte > 1.01 {
			t.Errorf("%+v, want %+v", f, w)
		}
	}
}

func TestReportsThatMakeNoSense(t *testing.T) {
	c := NewChooser(S2)
	c.Observe(Zstd, 4096, 100, time.Second)
	c.Observe(S2, 0, 0, 0)
	c.Observe(S2, 4096, -1, 0)
	c.Observe(S2, 4096, 100, -1)
	if f := c.Stats(slow).Figures[0]; f.Samples != 0 {
		t.Errorf("%+v", f)
	}
	c.Observe(S2, 4096, 100, 0) // a coarse clock
	if got := c.Stats(Path{BytesPerSecond: -1, CPUPerByte: -1}).Codec; got != S2 {
		t.Errorf("%v", got)
	}
}

func TestChoosersAreSafeForConcurrentUse(t *testing.T) {
	c := NewChooser(S2, Zstd)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { // ends by itself
			run(c, logWorld, 500, 64<<10, slow)
			c.Pin(S2)
			c.Stats(slow)
			c.Unpin()
		})
	}
	wg.Wait()
	if got := c.Stats(slow).Codec; got != Zstd {
		t.Errorf("%v", got)
	}
}

func TestChoosingAllocatesNothing(t *testing.T) {
	c := NewChooser(S2, Zstd)
	if n := testing.AllocsPerRun(100, func() { run1(c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func run1(c *Chooser) {
	if codec := c.Choose(4096, slow); codec != None {
		c.Observe(codec, 4096, 4096, time.Microsecond)
	}
}

// BenchmarkChooser is what a message costs that is not compressed.
func BenchmarkChooser(b *testing.B) {
	c := NewChooser(S2, Zstd)
	run(c, randomWorld, 100, 4096, slow)
	for _, n := range []int{512, 4096} {
		b.Run(map[int]string{512: "small", 4096: "plain"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Choose(n, slow)
			}
		})
	}
	b.Run("plain/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				c.Choose(4096, slow)
			}
		})
	})
	b.Run("observe", func(b *testing.B) {
		for b.Loop() {
			c.Observe(S2, 4096, 4096, time.Microsecond)
		}
	})
}
