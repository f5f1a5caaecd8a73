package streams

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// bulkBeside are transfers and calls over one path, each class on connections of its own, as package framework has them.
type bulkBeside struct {
	*path
	main *Conn
	bulk []*Conn
	ends []*Conn // of the server, as bulk
	stop func()
	all  []*atomic.Int64 // bytes by transfer
}

// startBulk connects and starts transfers, in turn on each of the bulk connections. They stop with the test. It runs in a
// bubble.
func startBulk(t testing.TB, p *path, kind wire.CallKind, connections, transfers int, server, client Config) *bulkBeside {
	t.Helper()
	server.Serve = async(serveTransfer)
	configs := []Config{client}
	client.Role = wire.RoleBulk
	for range connections {
		configs = append(configs, client)
	}
	cs, ss := p.connectAll(t, server, configs...)
	b := &bulkBeside{path: p, main: cs[0], bulk: cs[1:], ends: ss[1:]}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	b.stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(b.stop)
	for i := range transfers {
		moved := new(atomic.Int64)
		b.all = append(b.all, moved)
		transfer(t, ctx, &wg, b.bulk[i%connections], wire.ClassBulk, kind, moved)
	}
	return b
}

// transfer moves messages on a call until ctx ends, and counts their bytes.
func transfer(t testing.TB, ctx context.Context, wg *sync.WaitGroup, c *Conn, class wire.Class, kind wire.CallKind, moved *atomic.Int64) {
	t.Helper()
	call, err := c.Start(ctx, class, kind, kind == wire.ServerStream, request("m", nil))
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		defer call.Close(wire.Cancel{Code: wire.Canceled})
		for kind == wire.ClientStream && call.Send(chunk) == nil {
			moved.Add(int64(len(chunk)))
		}
		for kind == wire.ServerStream {
			_, b, err := call.Recv()
			if err != nil {
				return
			}
			moved.Add(int64(len(b.B)))
			b.Release()
		}
	})
}

func (b *bulkBeside) moved() (n int64) {
	for _, m := range b.all {
		n += m.Load()
	}
	return n
}

// share returns which share of the rate bulk has during d. It runs in a bubble.
func (b *bulkBeside) share(d time.Duration) float64 {
	before := b.moved()
	time.Sleep(d)
	return float64(b.moved()-before) / d.Seconds() / b.rate
}

// calls makes n small calls at a fixed rate and returns their latencies, sorted. It runs in a bubble.
func (b *bulkBeside) calls(t testing.TB, n int) []time.Duration {
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range took {
		wg.Go(func() {
			start := time.Now()
			if _, _, err := call(t.Context(), b.main, wire.ClassRPC, make([]byte, 200)); err != nil {
				t.Error(err)
			}
			took[i] = time.Since(start)
		})
		time.Sleep(5 * time.Millisecond)
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

func inBubble(f func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

// long is called by tests that simulate many seconds of a fast network.
func long(t *testing.T) {
	if raceDetector {
		t.Skip("takes ten times as long with the race detector, to which TestBulkYields shows the same code")
	}
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[int(q*float64(len(sorted)))]
}

// TestBulkHardlyShows: beside transfers that have a link of 100 Mbit/s and 20 ms for themselves, with a queue of 20 ms or
// 200 ms, small calls take hardly longer than alone, whoever sends.
func TestBulkHardlyShows(t *testing.T) {
	long(t)
	const rtt = 20 * time.Millisecond
	for _, kind := range []wire.CallKind{wire.ServerStream, wire.ClientStream} {
		for connections, queue := range map[int]time.Duration{1: 10 * rtt, 3: rtt} {
			t.Run(fmt.Sprintf("%v %v %d", queue, kind, connections), inBubble(func(t *testing.T) {
				p := newPath(rtt)
				p.rate, p.queue = 12.5e6, queue
				b := startBulk(t, p, kind, connections, 4, Config{}, Config{})
				time.Sleep(time.Second)
				before := b.moved()
				start := time.Now()
				took := b.calls(t, 200)
				share := float64(b.moved()-before) / time.Since(start).Seconds() / p.rate
				b.stop()
				idle := b.calls(t, 100)
				t.Logf("%v, %d connections, queue %v: p50 %v, p99 %v, alone p50 %v, p99 %v; bulk has %.0f %%", kind, connections, queue,
					quantile(took, 0.5), quantile(took, 0.99), quantile(idle, 0.5), quantile(idle, 0.99), 100*share)
				if quantile(took, 0.99) > 3*quantile(idle, 0.99)/2 || share < 0.85 {
					t.Error("want a p99 of at most 1.5 times that alone, and at least 85 %")
				}
			}))
		}
	}
}

// TestBulkThatComesAndGoes: so it is when transfers are short, and begin and end on any of the connections.
func TestBulkThatComesAndGoes(t *testing.T) {
	long(t)
	const rtt, transfers = 20 * time.Millisecond, 4
	inBubble(func(t *testing.T) {
		p := newPath(rtt)
		p.rate, p.queue = 12.5e6, rtt
		b := startBulk(t, p, wire.ServerStream, 6, 0, Config{}, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var moved atomic.Int64
		var wg sync.WaitGroup
		for w := range transfers {
			wg.Go(func() {
				for i := w; ctx.Err() == nil; i++ { // 1 to 4 MiB
					call, err := b.bulk[(i*5+w)%len(b.bulk)].Start(ctx, wire.ClassBulk, wire.ServerStream, true, request("m", bytes.Repeat([]byte{0}, 16+i*7%48)))
					if err != nil {
						return
					}
					for kind := wire.FrameMessage; kind == wire.FrameMessage && err == nil; {
						var m *wire.Buffer
						if kind, m, err = call.Recv(); err == nil {
							moved.Add(int64(len(m.B)))
							m.Release()
						}
					}
					call.Close(wire.Cancel{Code: wire.Canceled})
				}
			})
		}
		time.Sleep(2 * time.Second)
		before, start := moved.Load(), time.Now()
		took := b.calls(t, 800)
		share := float64(moved.Load()-before) / time.Since(start).Seconds() / p.rate
		cancel()
		wg.Wait()
		t.Logf("p50 %v, p99 %v; bulk has %.0f %%", quantile(took, 0.5), quantile(took, 0.99), 100*share)
		if quantile(took, 0.99) > 7*rtt/4 || share < 0.85 {
			t.Error("want a p99 of at most 1.75 round trips, and at least 85 %")
		}
	})(t)
}

// TestBulkAloneFillsThePathSoon: a transfer that has the path for itself has it within a second, or a few round trips, the
// start of congestion control included.
func TestBulkAloneFillsThePathSoon(t *testing.T) {
	long(t)
	for rtt, want := range map[time.Duration]float64{
		2 * time.Millisecond: 0.85, 20 * time.Millisecond: 0.85,
		100 * time.Millisecond: 0.6, // where the start of congestion control ends early now and then
	} {
		t.Run(fmt.Sprint(rtt), inBubble(func(t *testing.T) {
			p := newPath(rtt)
			p.rate, p.queue = 12.5e6, 20*time.Millisecond
			b := startBulk(t, p, wire.ServerStream, 1, 1, Config{}, Config{})
			time.Sleep(max(500*time.Millisecond, 20*rtt))
			if share := b.share(2 * time.Second); share < want {
				t.Errorf("it has %.0f %% of the path, want %.0f", 100*share, 100*want)
			}
		}))
	}
}

// TestBulkKeepsItsFloor: beside transfers of another class, which fill the queue, bulk gives way, but only down to its floor.
// When they end it has the path again.
func TestBulkKeepsItsFloor(t *testing.T) {
	long(t)
	for _, floor := range []int{0, 1 << 20} {
		t.Run(fmt.Sprint(floor), inBubble(func(t *testing.T) {
			p := newPath(20 * time.Millisecond)
			p.rate, p.queue = 6.25e6, 100*time.Millisecond
			b := startBulk(t, p, wire.ServerStream, 1, 2, Config{}, Config{BulkFloor: floor})
			if share := b.share(2 * time.Second); share < 0.75 {
				t.Errorf("alone it has %.0f %%", 100*share)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			others := make([]atomic.Int64, 32)
			for i := range others {
				transfer(t, ctx, &wg, b.main, wire.ClassRPC, wire.ServerStream, &others[i])
			}
			time.Sleep(3 * time.Second)
			least := float64(DefaultBulkFloor) / p.rate
			if floor > 0 {
				least = float64(floor) / p.rate
			}
			// The queue, by which the floor is a window, comes and goes.
			if share := b.share(3 * time.Second); share < least*2/3 || share > 2*least {
				t.Errorf("beside others it has %.1f %%, want about its floor of %.1f %%", 100*share, 100*least)
			}
			cancel()
			wg.Wait()
			time.Sleep(time.Second)
			if share := b.share(2 * time.Second); share < 0.85 {
				t.Errorf("after the others it has %.0f %%, want 85", 100*share)
			}
		}))
	}
}

// TestBulkLearnsAnotherPath: when the round trip becomes longer or shorter, bulk has the path for itself again soon, with a
// short queue.
func TestBulkLearnsAnotherPath(t *testing.T) {
	long(t)
	inBubble(func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		p.rate, p.queue = 2.5e6, 200*time.Millisecond
		b := startBulk(t, p, wire.ServerStream, 2, 2, Config{}, Config{})
		for _, rtt := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 20 * time.Millisecond} {
			settle := 2 * time.Second
			if rtt > p.rtt {
				settle += baseLasts
			}
			p.set(func() { p.rtt = rtt })
			time.Sleep(settle)
			share := b.share(2 * time.Second)
			took := b.calls(t, 100)
			if share < 0.85 || quantile(took, 0.9) > rtt+4*maxQueueTime {
				t.Errorf("at %v it has %.0f %%, want 85, and calls take %v, want little more than that", rtt, 100*share, quantile(took, 0.9))
			}
		}
	})(t)
}

// TestBulkOverALossyPath: random loss is not taken for a queue: what bounds bulk there is congestion control, so that four
// connections get three to four times as much as one.
func TestBulkOverALossyPath(t *testing.T) {
	long(t)
	var shares []float64
	for _, connections := range []int{1, 4} {
		t.Run(fmt.Sprint(connections), inBubble(func(t *testing.T) {
			p := newPath(20 * time.Millisecond)
			p.rate, p.queue, p.loss = 12.5e6, 20*time.Millisecond, 0.01
			b := startBulk(t, p, wire.ServerStream, connections, 2*connections, Config{}, Config{})
			time.Sleep(2 * time.Second)
			shares = append(shares, b.share(8*time.Second))
			var windows uint64 // of congestion control
			for _, s := range b.ends {
				windows += s.Stats().CongestionWindow
			}
			route := b.bulk[0].credits.route
			route.mu.Lock()
			granted := route.mu.window.granted
			route.mu.Unlock()
			if uint64(granted) < windows {
				t.Errorf("%d bytes are granted, which is less than the congestion windows of %d", granted, windows)
			}
		}))
	}
	t.Logf("one connection has %.1f %% of the path, four have %.1f %%", 100*shares[0], 100*shares[1])
	if shares[1] < 2*shares[0] {
		t.Error("want at least twice as much")
	}
}

// TestStreamsShareTheWindow: transfers on one connection get about the same, and one that pauses leaves its share to the
// others.
func TestStreamsShareTheWindow(t *testing.T) {
	inBubble(func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		p.rate, p.queue = 12.5e6, 50*time.Millisecond
		b := startBulk(t, p, wire.ServerStream, 1, 6, Config{}, Config{})
		idle, err := b.bulk[0].Start(t.Context(), wire.ClassBulk, wire.Bidi, false, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer idle.Close(wire.Cancel{Code: wire.Canceled})
		time.Sleep(time.Second)
		if share := b.share(2 * time.Second); share < 0.85 {
			t.Errorf("together they have %.0f %%, want 85", 100*share)
		}
		var got []int64
		for _, m := range b.all {
			got = append(got, m.Load())
		}
		if slices.Min(got) < slices.Max(got)/2 {
			t.Errorf("the transfers moved %v bytes, want about the same", got)
		}
	})(t)
}

// TestOneUploadFillsThePath: one stream to the acceptor of a connection is not bounded by the window that a stream has at first.
func TestOneUploadFillsThePath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		p.set(func() { p.rate, p.queue = 12.5e6, 50*time.Millisecond })
		b := startBulk(t, p, wire.ClientStream, 1, 1, Config{}, Config{})
		time.Sleep(2 * time.Second)
		if share := b.share(3 * time.Second); share < 0.85 {
			t.Errorf("one upload has %.0f %% of the link, want at least 85", 100*share)
		} else {
			t.Logf("one upload has %.0f %% of the link", 100*share)
		}
		b.stop()
	})
}
