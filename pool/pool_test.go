package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type openFunc = func(string, Config[*testConn]) *Pool[*testConn]

func TestGetDialsOnFirstUseOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{})
		synctest.Wait()
		n.wantDials()
		first := get(t, p, Main)
		if get(t, p, Main) != first {
			t.Error("a second connection was opened")
		}
		if c := get(t, p, Bulk); c == first || c.role != Bulk {
			t.Error("bulk does not have a connection of its own")
		}
		n.wantDials("a:1", "a:1")
		if len(p.Conns(Main)) != 1 || len(p.Conns(Bulk)) != 1 {
			t.Errorf("connections: %v, %v", p.Conns(Main), p.Conns(Bulk))
		}
	})
}

func TestBulkGrowsWhenAskedTo(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{MaxBulk: 3})
		get(t, p, Main)
		first := get(t, p, Bulk)
		first.outstanding.Store(1000)
		get(t, p, Bulk)
		synctest.Wait()
		n.wantDials("a:1", "a:1") // not by load
		for range 5 {
			p.Grow(Bulk)
			synctest.Wait()
		}
		n.wantDials("a:1", "a:1", "a:1", "a:1")
		if c := get(t, p, Bulk); c == first {
			t.Error("the busiest connection was chosen")
		}
		p.Close()
		p.Grow(Bulk)
	})
}

func TestGrowWaitReturnsWithTheConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setLatency("a:1", time.Second)
		p := open("a:1", Config[*testConn]{MaxBulk: 3})
		get(t, p, Bulk)
		var wg sync.WaitGroup
		var grown atomic.Int64
		for range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				for p.GrowWait(ctx, Bulk) {
					grown.Add(1)
				}
			})
		}
		wg.Wait()
		if got := len(p.Conns(Bulk)); got != 3 || grown.Load() == 0 {
			t.Errorf("%d connections, want as many as allowed; %d waits ended with another one", got, grown.Load())
		}
		if p.GrowWait(t.Context(), Bulk) {
			t.Error("there is another one above the limit")
		}
		p.Close()
		if p.GrowWait(t.Context(), Bulk) {
			t.Error("a closed pool grows")
		}
	})
}

// TestRelief: another connection to the endpoint is found, or opened, as long as there may be one more.
func TestRelief(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("static:///a:1,b:2", Config[*testConn]{MaxMain: 2, Policy: PickFirst})
		first := get(t, p, Main)
		first.outstanding.Store(5)
		if p.Relieve(t.Context(), Main, new(Health), 5) {
			t.Error("of an endpoint that is none")
		}
		if !p.Relieve(t.Context(), Main, first.health, 5) {
			t.Error("no second connection was opened")
		}
		second := get(t, p, Main)
		if second == first || second.address != first.address {
			t.Errorf("the second connection goes to %s", second.address)
		}
		second.outstanding.Store(4)
		if !p.Relieve(t.Context(), Main, first.health, 5) {
			t.Error("the one with less load was not found")
		}
		second.outstanding.Store(5)
		if p.Relieve(t.Context(), Main, first.health, 5) {
			t.Error("there may be no third connection")
		}
		n.wantDials("a:1", "a:1")
	})
}

// TestReliefEnds with its context, and when no connection can be opened.
func TestReliefEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{MaxMain: 2})
		first := get(t, p, Main)
		n.setLatency("a:1", forever)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if p.Relieve(ctx, Main, first.health, 0) {
			t.Error("found although nobody answers")
		}
		n.setLatency("a:1", 0)
		n.setDown("a:1", errRefused)
		time.Sleep(time.Minute)
		if p.Relieve(t.Context(), Main, first.health, 0) {
			t.Error("found although the endpoint refuses")
		}
	})
}

func TestConcurrentGetsShareAHandshake(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setLatency("a:1", time.Second)
		p := open("a:1", Config[*testConn]{})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { _, _ = p.Get(t.Context(), Main, Pick{}) })
		}
		wg.Wait()
		n.wantDials("a:1")
	})
}

func TestCallerLeavesAndTheHandshakeGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setLatency("a:1", 3*time.Second)
		p := open("a:1", Config[*testConn]{})
		why := errors.New("no patience")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		start := time.Now()
		if _, err := p.Get(ctx, Main, Pick{}); !errors.Is(err, why) {
			t.Errorf("Get: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("the caller left after %v", d)
		}
		get(t, p, Main)
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("the handshake took %v, want the rest of the first one", d)
		}
		n.wantDials("a:1")
		// A ready connection is preferred to an ended context.
		if _, err := p.Get(ctx, Main, Pick{}); err != nil {
			t.Errorf("Get with a connection ready: %v", err)
		}
	})
}

func TestFailedEndpointIsLeftAloneForADoublingTime(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setDown("a:1", errRefused)
		p := open("a:1", Config[*testConn]{})
		want := 100 * time.Millisecond
		for attempt := 1; attempt <= 12; attempt++ {
			_, err := p.Get(t.Context(), Main, Pick{})
			de := wantDialError(t, err)
			if !errors.Is(err, errRefused) || de.Attempts != attempt || de.Endpoint.Address != "a:1" || de.Target != "a:1" {
				t.Errorf("attempt %d: %v", attempt, err)
			}
			if de.RetryIn < want*8/10 || de.RetryIn > want*12/10 {
				t.Errorf("attempt %d: next in %v, want %v within a fifth", attempt, de.RetryIn, want)
			}
			// Until then it fails at once and without dialing.
			time.Sleep(de.RetryIn - 1)
			_, err = p.Get(t.Context(), Main, Pick{})
			if again := wantDialError(t, err); again.Attempts != attempt || again.RetryIn != 1 {
				t.Errorf("while left alone: %v", err)
			}
			time.Sleep(time.Nanosecond)
			want = min(2*want, 30*time.Second)
		}
		n.setDown("a:1", nil)
		time.Sleep(time.Minute)
		get(t, p, Main)
	})
}

// TestWaiting: who waits gets a connection once an endpoint can be reached, and learns why none could be when the context ends.
func TestWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setDown("a:1", errRefused)
		p := open("a:1", Config[*testConn]{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := p.Get(ctx, Main, Pick{Wait: true})
		if de := wantDialError(t, err); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errRefused) || de.Attempts < 4 {
			t.Errorf("Get with an endpoint that refuses: %v", err)
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("waited %v", took)
		}
		got := make(chan error)
		go func() {
			_, err := p.Get(t.Context(), Main, Pick{Wait: true})
			got <- err
		}()
		time.Sleep(10 * time.Second)
		select {
		case err := <-got:
			t.Error("did not wait:", err)
		default:
		}
		n.setDown("a:1", nil)
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

// TestWaitingEndsWithThePool, and does not begin where nothing can come of it.
func TestWaitingEndsWithThePool(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setDown("a:1", errRefused)
		p := open("a:1", Config[*testConn]{})
		got := make(chan error)
		go func() {
			_, err := p.Get(t.Context(), Main, Pick{Wait: true})
			got <- err
		}()
		time.Sleep(10 * time.Second)
		p.Close()
		if err := <-got; !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestNextEndpointIsTried(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setDown("a:1", errRefused)
		p := open("static:///a:1,b:2", Config[*testConn]{Policy: PickFirst})
		if c := get(t, p, Main); c.address != "b:2" {
			t.Errorf("connected to %s", c.address)
		}
		n.wantDials("a:1", "b:2")
	})
}

func TestSilentEndpointDoesNotHoldUpTheNext(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setLatency("a:1", forever)
		for policy, want := range map[Policy]time.Duration{PickFirst: tryNextAfter, LeastLoaded: 0} {
			p := open("static:///a:1,b:2", Config[*testConn]{Policy: policy})
			start := time.Now()
			if c := get(t, p, Main); c.address != "b:2" {
				t.Errorf("%v: connected to %s", policy, c.address)
			}
			if d := time.Since(start); d != want {
				t.Errorf("%v: it took %v, want %v", policy, d, want)
			}
			p.Close()
		}
	})
}

func TestDialTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setLatency("a:1", forever)
		p := open("a:1", Config[*testConn]{DialTimeout: 3 * time.Second})
		start := time.Now()
		_, err := p.Get(t.Context(), Main, Pick{})
		wantDialError(t, err)
		if d := time.Since(start); d != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "DialTimeout") {
			t.Errorf("failed after %v with %v", d, err)
		}
	})
}

func TestLeastLoadedConnectionIsChosen(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{GrowAt: 2, MaxMain: 3})
		// Each Get adds a call. At two calls on every connection another one is opened, up to three.
		for range 30 {
			get(t, p, Main).outstanding.Add(1)
			synctest.Wait()
		}
		conns := p.Conns(Main)
		if len(conns) != 3 {
			t.Fatalf("%d connections, want 3", len(conns))
		}
		for _, c := range conns {
			if c.Load() != 10 {
				t.Errorf("a connection has %d calls of 30, want 10", c.Load())
			}
		}
		// One that drains, and one that has ended, get no more.
		conns[0].draining.Store(true)
		conns[1].fail(errRefused)
		for range 20 {
			if c := get(t, p, Main); c == conns[0] || c == conns[1] {
				t.Error("got a connection that takes no calls")
			}
		}
	})
}

func TestGrowthSpreadsOverEndpoints(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("static:///a:1,b:2", Config[*testConn]{GrowAt: 1, MaxMain: 2})
		for range 10 {
			get(t, p, Main).outstanding.Add(1)
			synctest.Wait()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		slices.Sort(n.mu.dials)
		if want := []string{"a:1", "a:1", "b:2", "b:2"}; !slices.Equal(n.mu.dials, want) {
			t.Errorf("dialed %v", n.mu.dials)
		}
	})
}

func TestLostConnectionIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{})
		first := get(t, p, Main)
		time.Sleep(time.Minute)
		first.fail(errRefused)
		if second := get(t, p, Main); second == first {
			t.Error("got the connection that has ended")
		}
		n.wantDials("a:1", "a:1")
		// While a connection drains, another one serves.
		third := get(t, p, Main)
		third.draining.Store(true)
		if get(t, p, Main) == third {
			t.Error("got the connection that drains")
		}
	})
}

// An endpoint whose only connection has ended, which the pool is about to take note of, has not failed.
func TestTheEndOfAConnectionIsNoFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{MaxMain: 1})
		for _, end := range []func(*testConn){(*testConn).leave, func(c *testConn) { c.fail(errRefused) }} {
			c := get(t, p, Main)
			time.Sleep(time.Minute)
			p.mu.Lock() // so that it cannot take note
			end(c)
			if err := p.ensureLocked(Main, &Pick{}, time.Now()); err != nil {
				t.Error(err)
			}
			p.mu.Unlock()
			if get(t, p, Main) == c {
				t.Error("got the connection that has ended")
			}
		}
	})
}

func TestConnectionThatEndsAtOnceCountsAsFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{})
		for attempt := 1; attempt <= 3; attempt++ {
			c := get(t, p, Main)
			c.fail(errRefused)
			synctest.Wait()
			_, err := p.Get(t.Context(), Main, Pick{})
			if de := wantDialError(t, err); de.Attempts != attempt || !errors.Is(err, errRefused) {
				t.Errorf("attempt %d: %v", attempt, err)
			}
			time.Sleep(time.Second)
		}
		c := get(t, p, Main)
		time.Sleep(stableAfter)
		c.fail(errRefused)
		get(t, p, Main)
	})
}

func TestCloseGivesUpHandshakes(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setLatency("a:1", forever)
		p := open("a:1", Config[*testConn]{})
		failed := make(chan error, 1) // one Get
		go func() {                   // ends with Close
			_, err := p.Get(t.Context(), Main, Pick{})
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(p.Close)
		}
		wg.Wait()
		if err := <-failed; !errors.Is(err, ErrClosed) || time.Since(start) != 0 {
			t.Errorf("Get: %v, after %v", err, time.Since(start))
		}
	})
}

// Random programs: whatever happens to endpoints and connections, Get returns a usable connection or a DialError,
// at most MaxMain connections are open for an endpoint, and when all is well again Get succeeds.
func TestPoolUnderRandomFailures(t *testing.T) {
	for seed := range uint64(30) {
		inBubble(t, func(t *testing.T, n *network, open openFunc) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			addresses := []string{"a:1", "b:2", "c:3"}
			p := open("static:///a:1,b:2,c:3", Config[*testConn]{GrowAt: 2, MaxMain: 2})
			for range 300 {
				address := addresses[rnd.IntN(len(addresses))]
				switch rnd.IntN(8) {
				case 0:
					n.setDown(address, errRefused)
				case 1, 2:
					n.setDown(address, nil)
				case 3:
					n.setLatency(address, []time.Duration{0, time.Millisecond, time.Second, forever}[rnd.IntN(4)])
				case 4:
					for _, c := range p.Conns(Main) {
						if rnd.IntN(2) == 0 {
							c.fail(errRefused)
						}
					}
				case 5:
					for _, c := range p.Conns(Main) {
						c.outstanding.Store(rnd.Int64N(4))
						c.draining.Store(rnd.IntN(4) == 0)
					}
				default:
					time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
				}
				c, err := p.Get(t.Context(), Main, Pick{})
				if err != nil {
					wantDialError(t, err)
				} else if c.Draining() {
					t.Errorf("seed %d: got a connection that takes no calls", seed)
				}
				perEndpoint := map[string]int{}
				for _, c := range p.Conns(Main) {
					if !c.Draining() {
						perEndpoint[c.address]++
					}
				}
				for address, count := range perEndpoint {
					if count > 3 { // two, and one that drained when they were opened and recovered
						t.Errorf("seed %d: %d connections to %s", seed, count, address)
					}
				}
			}
			for _, address := range addresses {
				n.setDown(address, nil)
				n.setLatency(address, 0)
			}
			time.Sleep(time.Minute)
			get(t, p, Main)
		})
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	p := benchPool(t, 4)
	defer p.Close()
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _ = p.Get(ctx, Main, Pick{}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// benchPool returns a pool with the given number of connections ready.
func benchPool(tb testing.TB, conns int) *Pool[*testConn] {
	tb.Helper()
	p, err := New("a:1", Config[*testConn]{
		MaxMain: conns, GrowAt: 1,
		Dial: func(context.Context, Endpoint, Role, *Health) (*testConn, error) {
			return newTestConn("a:1", Main), nil
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	for len(p.Conns(Main)) < conns {
		c, err := p.Get(tb.Context(), Main, Pick{})
		if err != nil {
			tb.Fatal(err)
		}
		c.outstanding.Store(1)
	}
	return p
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []struct {
		name  string
		conns int
	}{{"1 connection", 1}, {"4 connections", 4}} {
		b.Run(size.name, func(b *testing.B) {
			p := benchPool(b, size.conns)
			defer p.Close()
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Get(ctx, Main, Pick{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
