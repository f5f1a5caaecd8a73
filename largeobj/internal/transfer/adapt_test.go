package transfer

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A simulation is a Fetcher over a simulated path, for the inside of a bubble. Leaves have no hashes.
type simulation struct {
	latency   time.Duration // of the answer to a request
	perStream float64       // bytes per second
	link      float64       // bytes per second of all streams
	size      int64
	mu        struct {
		sync.Mutex
		open int
		// spent is for how long how many streams were open.
		spent [65]time.Duration
		since time.Time
		down  bool
		sent  int64
	}
}

func (s *simulation) opened(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.since.IsZero() {
		s.mu.spent[s.mu.open] += time.Since(s.mu.since)
	}
	s.mu.since = time.Now()
	s.mu.open += n
}

func (s *simulation) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.down
}

// setDown makes requests fail, also those that are open.
func (s *simulation) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.down = down
}

func (s *simulation) Fetch(ctx context.Context, ranges []Range) (Chunks, error) {
	select {
	case <-time.After(s.latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.isDown() {
		return nil, errLost
	}
	s.opened(1)
	return &simulatedChunks{s, ctx, ranges}, nil
}

type simulatedChunks struct {
	s      *simulation
	ctx    context.Context
	ranges []Range
}

func (c *simulatedChunks) Next(chunk *Chunk) error {
	for len(c.ranges) > 0 && c.ranges[0].Length == 0 {
		c.ranges = c.ranges[1:]
	}
	if len(c.ranges) == 0 {
		return io.EOF
	}
	r := &c.ranges[0]
	n := min(ChunkBytes, leafAt(r.Offset, DefaultLeafBytes, c.s.size).end()-r.Offset)
	c.s.mu.Lock()
	rate := min(c.s.perStream, c.s.link/float64(c.s.mu.open))
	c.s.mu.Unlock()
	select {
	case <-time.After(time.Duration(float64(n) / rate * float64(time.Second))):
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
	if c.s.isDown() {
		return errLost
	}
	*chunk = Chunk{r.Offset, chunk.Data[:n], nil, c.s.size}
	r.Offset += n
	r.Length -= n
	c.s.mu.Lock()
	c.s.mu.sent += n
	c.s.mu.Unlock()
	return nil
}

func (c *simulatedChunks) Close() { c.s.opened(-1) }

// nowhere is a destination that keeps nothing.
type nowhere struct{ have RangeSet }

func (n *nowhere) begin(m Manifest) (RangeSet, int64, error) { return n.have.Clone(), m.Size, nil }
func (n *nowhere) grow(int64) error                          { return nil }
func (n *nowhere) slice(off, size int64) []byte              { return nil }
func (n *nowhere) writeAt(p []byte, off int64) error         { return nil }
func (n *nowhere) verified(have RangeSet, size int64)        { n.have = have }
func (n *nowhere) end(size int64, complete bool) error       { return nil }

func TestStreamsFollowTheGoodput(t *testing.T) {
	const mb = 1e6
	for _, c := range []struct {
		name            string
		perStream, link float64
		latency         time.Duration
		max             int
		usual, orMore   int     // number of streams most of the time: at least, at most
		atMost          int     // ever
		share           float64 // of the possible goodput
	}{
		{"one stream fills the link", 100 * mb, 100 * mb, time.Millisecond, 8, 1, 1, 2, 0.9},
		{"four streams fill the link", 25 * mb, 100 * mb, 10 * time.Millisecond, 8, 4, 4, 8, 0.9},
		{"congestion control is the limit", 1 * mb, 12.5 * mb, 20 * time.Millisecond, 16, 12, 16, 16, 0.85},
		{"the link takes more than there may be", 10 * mb, 1000 * mb, 10 * time.Millisecond, 3, 3, 3, 3, 0.9},
		// Here a stream waits 200 ms for each run of two seconds, while another one uses the link.
		{"a long path", 10 * mb, 40 * mb, 200 * time.Millisecond, 8, 4, 6, 8, 0.8},
		{"a slow link", 0.2 * mb, 0.2 * mb, 50 * time.Millisecond, 8, 1, 1, 2, 0.9},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &simulation{latency: c.latency, perStream: c.perStream, link: c.link}
				possible := min(c.link, c.perStream*float64(c.max))
				s.size = int64(possible * 40) // that many seconds
				start := time.Now()
				receive(t, Manifest{Size: s.size}, s, &nowhere{}, Options{MaxStreams: c.max, Unverified: true})
				elapsed := time.Since(start)
				usual, most := 0, 0
				for n, d := range s.mu.spent {
					if d > s.mu.spent[usual] {
						usual = n
					}
					if d > 0 {
						most = n
					}
				}
				share := float64(s.size) / elapsed.Seconds() / possible
				t.Logf("usually %d streams, %d at most, %.0f %% of the goodput that is possible", usual, most, 100*share)
				if usual < c.usual || usual > c.orMore || most > c.atMost || share < c.share {
					t.Errorf("want %d to %d, %d, %.0f %%: %v", c.usual, c.orMore, c.atMost, 100*c.share, s.mu.spent[:most+1])
				}
			})
		})
	}
}

func TestOutagesAreSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{latency: 10 * time.Millisecond, perStream: 20e6, link: 60e6, size: 1 << 30}
		go func() { // ends before the transfer
			for range 3 {
				time.Sleep(3 * time.Second)
				s.setDown(true)
				time.Sleep(2 * time.Second)
				s.setDown(false)
			}
		}()
		start := time.Now()
		var reports []time.Time
		var last Progress
		o := Options{
			Unverified: true,
			Retry:      Retry{Lost: lost},
			Progress: func(p Progress) {
				if p.Done < last.Done || p.Total != s.size {
					t.Errorf("%+v after %+v", p, last)
				}
				last = p
				reports = append(reports, time.Now())
			},
		}
		receive(t, Manifest{Size: s.size}, s, &nowhere{}, o)
		elapsed := time.Since(start)
		if again := s.mu.sent - s.size; again > 3*5*DefaultLeafBytes {
			t.Errorf("%d bytes were sent again", again)
		}
		if elapsed > 32*time.Second { // 18 of the data, 3 outages of 2, as long again until somebody notices
			t.Errorf("took %v", elapsed)
		}
		if n := len(reports); n > int(elapsed/tick)+1 || n < int(elapsed/tick)/2 {
			t.Errorf("%d reports in %v", n, elapsed)
		}
		for i := 1; i < len(reports)-1; i++ {
			if d := reports[i].Sub(reports[i-1]); d < tick {
				t.Errorf("a report %v after the last one", d)
			}
		}
		if last.Done != s.size || last.Rate < 30e6 || last.Rate > 80e6 {
			t.Errorf("the last report: %+v", last)
		}
	})
}

func TestAttemptsAndTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{size: 100 << 20}
		s.setDown(true)
		o := Options{Retry: Retry{Lost: lost, Attempts: 4, Wait: time.Second, MaxWait: 3 * time.Second}}
		start := time.Now()
		err := Receive(t.Context(), Manifest{Size: s.size}, s, &nowhere{}, o)
		if d := time.Since(start); !errors.Is(err, errLost) || d != (1+2+3+3)*time.Second {
			t.Errorf("%v after %v", err, d)
		}
		o.Retry = Retry{}
		start = time.Now()
		err = Receive(t.Context(), Manifest{Size: s.size}, s, &nowhere{}, o)
		if d := time.Since(start); !errors.Is(err, errLost) || d != 0 {
			t.Errorf("without retries: %v after %v", err, d)
		}
		// Canceled while it waits.
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		o.Retry = Retry{Lost: lost, Wait: time.Second}
		err = Receive(ctx, Manifest{Size: s.size}, s, &nowhere{}, o)
		if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d != 500*time.Millisecond {
			t.Errorf("canceled: %v after %v", err, d)
		}
	})
}
