package streams

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// TestSilentPeerIsNoticed: a peer that vanishes while a call waits is given up after five seconds, not after the idle
// timeout; one that vanishes while nothing waits costs nothing.
func TestSilentPeerIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		serve, started, _ := watched()
		client, _ := p.connect(t, Config{IdleTimeout: time.Minute}, Config{Serve: serve, IdleTimeout: time.Minute})
		call, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		in := <-started
		time.Sleep(time.Second) // an idle call is kept alive by pings
		if client.Err() != nil {
			t.Fatal(client.Err())
		}
		p.set(func() { p.loss = 1 })
		gone := time.Now()
		_, _, err = call.Recv()
		lost := (*ConnError)(nil)
		if !errors.As(err, &lost) || lost.Code != wire.CloseTimeout {
			t.Errorf("got error %v, want code %d", err, wire.CloseTimeout)
		}
		if took := time.Since(gone); took < DefaultSilenceTimeout-2*tick || took > DefaultSilenceTimeout+2*tick {
			t.Errorf("noticed after %v, want %v give or take the time of the last ping", took, DefaultSilenceTimeout)
		}
		call.Close(wire.Cancel{})
		p.set(func() { p.loss = 0 })
		in.Refuse(wire.Unavailable, "")
	})
}

// TestDrainDoesNotWaitForAPeerThatIsGone: without calls in progress, only the peer's drained frame is missing.
func TestDrainDoesNotWaitForAPeerThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		client, _ := p.connect(t, Config{IdleTimeout: time.Minute}, Config{IdleTimeout: time.Minute})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.set(func() { p.loss = 1 })
		gone := time.Now()
		if err := client.Drain(t.Context(), "leaving"); err != nil {
			t.Error(err)
		}
		if took := time.Since(gone); took > DefaultSilenceTimeout+2*tick {
			t.Errorf("drain took %v, want at most %v", took, DefaultSilenceTimeout+2*tick)
		}
		p.set(func() { p.loss = 0 })
	})
}

// TestLongPauseIsNotSilence: pings are answered while a handler takes its time.
func TestLongPauseIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(300 * time.Millisecond)
		serve, started, _ := watched()
		client, _ := p.connect(t, Config{}, Config{Serve: serve})
		call := start(t, client, wire.ClassRPC, wire.Bidi)
		in := <-started
		time.Sleep(10 * time.Minute)
		in.Refuse(wire.Aborted, "")
		if code := result(t, call); code != wire.Aborted {
			t.Errorf("ended with %v", code)
		}
	})
}

// TestHowSmallCallsTravel: on a lossy long path each takes a stream of its own, on others they share lanes. The choice
// follows the path.
func TestHowSmallCallsTravel(t *testing.T) {
	for _, c := range []struct {
		name    string
		rtt     time.Duration
		loss    float64
		stripes int32
		own     bool
	}{
		{"clean and short", 200 * time.Microsecond, 0, 1, false},
		{"clean and long", 20 * time.Millisecond, 0, maxStripes, false},
		{"lossy and long", 20 * time.Millisecond, 0.05, maxStripes, true},
		{"lossy and short", 200 * time.Microsecond, 0.05, 1, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPath(c.rtt)
			client, _ := p.connect(t, Config{}, Config{Serve: echo})
			defer load(t, client, 4)()
			p.set(func() { p.loss = c.loss })
			if got := ownShare(client, 3*time.Second); c.own != (got > 0.5) || !c.own && got > 0 {
				t.Errorf("%s: calls took streams of their own %.0f %% of the time, want that: %v", c.name, 100*got, c.own)
			}
			if got := client.adapt.stripes.Load(); got != c.stripes {
				t.Errorf("%s: calls are spread over %d lanes, want %d", c.name, got, c.stripes)
			}
			p.set(func() { p.loss = 0 })
			time.Sleep(2 * time.Second)
			if got := ownShare(client, time.Second); got != 0 {
				t.Errorf("%s, then clean: calls took streams of their own %.0f %% of the time", c.name, 100*got)
			}
		})
	}
}

// ownShare returns for how much of the time d each call took a stream of its own. It runs in a bubble.
func ownShare(c *Conn, d time.Duration) float64 {
	own, all := 0, int(d/tick)
	for range all {
		time.Sleep(tick)
		if c.adapt.perCall.Load() {
			own++
		}
	}
	return float64(own) / float64(all)
}

// load makes calls all the time, from several goroutines, until stop is called. It runs in a bubble.
func load(t testing.TB, c *Conn, workers int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := call(ctx, c, wire.ClassRPC, make([]byte, 200)); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// TestBulkYields: beside transfers that fill a link of 100 Mbit/s and 20 ms, with a queue of 200 ms that they could fill,
// small calls take little more than a round trip: credits keep the queue short and priorities do the rest. The server is
// the sender, then the receiver.
func TestBulkYields(t *testing.T) {
	const rtt, transfers = 20 * time.Millisecond, 4
	for _, kind := range []wire.CallKind{wire.ServerStream, wire.ClientStream} {
		synctest.Test(t, func(t *testing.T) {
			p := newPath(rtt)
			p.rate, p.queue = 12.5e6, 10*rtt
			client, _ := p.connect(t, Config{}, Config{Serve: async(serveTransfer)})
			ctx, cancel := context.WithCancel(t.Context())
			var moved atomic.Int64
			var wg sync.WaitGroup
			for range transfers {
				bulk, err := client.Start(ctx, wire.ClassBulk, kind, kind == wire.ServerStream, request("m", nil))
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					defer bulk.Close(wire.Cancel{Code: wire.Canceled})
					for kind == wire.ClientStream && bulk.Send(chunk) == nil {
						moved.Add(int64(len(chunk)))
					}
					for kind == wire.ServerStream {
						_, b, err := bulk.Recv()
						if err != nil {
							return
						}
						moved.Add(int64(len(b.B)))
						b.Release()
					}
				})
			}
			time.Sleep(700 * time.Millisecond) // congestion control settles
			var took []time.Duration
			begun, before := time.Now(), moved.Load()
			for range 20 {
				sent := time.Now()
				if _, _, err := call(t.Context(), client, wire.ClassRPC, make([]byte, 200)); err != nil {
					t.Fatal(err)
				}
				took = append(took, time.Since(sent))
				time.Sleep(5 * time.Millisecond)
			}
			goodput := 100 * float64(moved.Load()-before) / time.Since(begun).Seconds() / p.rate
			cancel()
			wg.Wait()
			slices.Sort(took)
			p50, p99 := took[len(took)/2], took[len(took)*99/100]
			t.Logf("%v: calls took p50 %v, p99 %v beside bulk that got %.0f %% of the link", kind, p50, p99, goodput)
			if p50 > 3*rtt/2 || p99 > 2*rtt || goodput < 80 {
				t.Error("want at most 1.5 and 2 round trips, and at least 80 %")
			}
		})
	}
}

// chunk is one message of a transfer.
var chunk = message(make([]byte, 64<<10)...)

// serveTransfer moves messages as long as the caller wants, or as many as the request has bytes, and echoes unary calls.
func serveTransfer(in *Incoming) {
	if in.Kind == wire.Unary {
		echoNow(in)
		return
	}
	var q wire.Request
	n, err := wire.ParseRequest(in.Payload.B, &q)
	left := len(in.Payload.B) - n
	in.Payload.Release()
	if err != nil {
		in.Refuse(wire.InvalidArgument, err.Error())
		return
	}
	for in.Kind == wire.ServerStream && in.Send(in.Conn().ctx, wire.FrameMessage, chunk) == nil {
		if left--; left == 0 {
			break
		}
	}
	for in.Kind == wire.ClientStream {
		b, err := in.Recv()
		if err != nil {
			break
		}
		b.Release()
	}
	in.Refuse(wire.Canceled, "")
}

// TestASideThatOnlyAnswersKnowsThePath: the rate of a long path is known to both sides soon, of a short one to none.
func TestASideThatOnlyAnswersKnowsThePath(t *testing.T) {
	for _, rtt := range []time.Duration{20 * time.Millisecond, 200 * time.Microsecond} {
		synctest.Test(t, func(t *testing.T) {
			p := newPath(rtt)
			client, server := p.connect(t, Config{}, Config{Serve: echo})
			for range rateEvery { // as many as a side that answers asks how much a byte costs
				if _, _, err := call(t.Context(), client, wire.ClassRPC, make([]byte, 200)); err != nil {
					t.Fatal(err)
				}
				server.PathRate()
			}
			if got := server.PathRate(); (got > 0) != (rtt >= rateRTT) {
				t.Errorf("%v: the server takes the path for one of %.0f bytes per second", rtt, got)
			}
			time.Sleep(2 * tick)
			if got := client.PathRate(); (got > 0) != (rtt >= rateRTT) {
				t.Errorf("%v: the client takes the path for one of %.0f bytes per second", rtt, got)
			}
		})
	}
}
