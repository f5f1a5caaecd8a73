package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// spareFiles are the file descriptors for all but the clients. A client has one, and so has the server for each over TCP.
	spareFiles = 200
	// dialers open connections at once, and try again a few times: how that goes is not what is measured.
	dialers = 16
	tries   = 5
	// settle is how long connections are left alone before they count as idle.
	settle = 3 * time.Second
	// openingGC is the GC percentage while connections are opened, on both sides. With the default, a quarter of the time is spent
	// on looking at those that are open already.
	openingGC = 200
)

// raiseFiles raises the limit of file descriptors of this process, and of those that it starts, to n as far as it may, and returns
// what it is then.
func raiseFiles(n uint64) uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return n // it will show
	}
	for _, want := range []syscall.Rlimit{{Cur: n, Max: max(n, limit.Max)}, {Cur: limit.Max, Max: limit.Max}} {
		if limit.Cur >= n {
			break
		}
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want) == nil {
			limit = want
		}
	}
	return limit.Cur
}

// runConnections opens many connections, which then wait, and lets the server send one message to all of them.
func runConnections(ctx context.Context, p *plan, r *report) error {
	files := raiseFiles(uint64(p.clients) + spareFiles)
	n := int(min(uint64(p.clients), max(files, spareFiles+1)-spareFiles))
	fmt.Fprintf(p.progress, "connections: %d clients in this process, the server in another; each may have %d files open\n", n, files)
	return manyConnections(ctx, p, r, n)
}

// manyConnections measures once: memory does not vary, and it takes a while. The last transport comes first, wss, which leaves less
// behind in the process of the clients.
func manyConnections(ctx context.Context, p *plan, r *report, n int) error {
	var failed error
	for _, t := range slices.Backward(p.transports) {
		if t.name != mycelQUIC && t.name != "wss" {
			continue
		}
		say := func(format string, args ...any) {
			fmt.Fprintf(p.progress, "%-15s %-12s x%d: %s\n", connectionsScenario, t.name, n, fmt.Sprintf(format, args...))
		}
		m, err := connections(ctx, t.name, n, say)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("bench: %s: %w", t.name, err))
		}
		if m.Server == (footprint{}) {
			continue
		}
		r.addRound(rowKey{Scenario: connectionsScenario, Transport: t.name, Concurrency: n}, m)
	}
	return failed
}

const connectionsScenario = "connections"

func connections(ctx context.Context, transport string, n int, say func(string, ...any)) (m metrics, err error) {
	defer debug.SetGCPercent(debug.SetGCPercent(openingGC))
	srv, err := startRemote(ctx, transport)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, srv.close()) }()
	serverBefore, err := srv.footprint()
	if err != nil {
		return m, err
	}
	before := readFootprint()

	clients := make([]caller, n)
	defer func() {
		begun := time.Now()
		err = errors.Join(err, inParallel(n, func(i int) error {
			if clients[i] == nil {
				return nil
			}
			return clients[i].close()
		}))
		say("closed in %.1f s", time.Since(begun).Seconds())
	}()
	begun := time.Now()
	var open, again atomic.Int64
	if err := inParallel(n, func(i int) (err error) {
		for try := range tries {
			if try > 0 && pause(ctx, time.Second) != nil {
				return err
			}
			if clients[i], err = srv.dial(ctx); err == nil {
				if c := int(open.Add(1)); c%1000 == 0 || c == n {
					say("%d open after %.1f s, %d tried again", c, time.Since(begun).Seconds(), again.Load())
				}
				return nil
			}
			again.Add(1)
		}
		return err
	}); err != nil {
		return m, err
	}
	m.CallsPerS = float64(n) / time.Since(begun).Seconds()
	if err := pause(ctx, settle); err != nil {
		return m, err
	}
	server, err := srv.footprint()
	if err != nil {
		return m, err
	}
	m.Server, m.Client = server.since(serverBefore).each(n), readFootprint().since(before).each(n)
	say("each has %v at the server and %v at the client", m.Server, m.Client)

	say("subscribing")
	if m.P50Micros, m.LastByteMicros, err = broadcastToAll(ctx, srv, clients); err != nil {
		return m, err
	}
	say("a message to all reached half in %.0f ms and the last in %.0f ms", m.P50Micros/1e3, m.LastByteMicros/1e3)
	return m, nil
}

// broadcastToAll subscribes all clients, has the server send a message to each, and returns after how many microseconds half of
// them and the last had it.
func broadcastToAll(ctx context.Context, srv *remote, clients []caller) (half, last float64, err error) {
	arrived := make([]int64, len(clients)) // in nanoseconds since 1970: the server's clock is the same
	results := make(chan error, len(clients))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	subscribing := make(chan struct{}, dialers) // so many at once
	for i, c := range clients {
		subscribing <- struct{}{}
		go func() { // ends with its second tick, or with ctx; results are awaited
			ticks := 0
			var err error
			for _, e := range c.ticks(ctx, &StreamRequest{Count: onBroadcast}) {
				if err = e; err != nil {
					break
				}
				if ticks++; ticks == 1 {
					<-subscribing
				}
				arrived[i] = time.Now().UnixNano()
			}
			if ticks == 0 {
				<-subscribing
			}
			if err == nil && ticks != 2 {
				err = errNoTick
			}
			if err != nil {
				cancel(err) // the others need not wait
			}
			results <- err
		}()
	}
	at, err := int64(0), context.Cause(ctx)
	if err == nil {
		if at, err = srv.broadcast(len(clients)); err != nil {
			cancel(err)
		}
	}
	var failed error // the first one: the others are most likely alike
	for range clients {
		failed = cmp.Or(failed, <-results)
	}
	if err = cmp.Or(err, failed); err != nil {
		return 0, 0, err
	}
	slices.Sort(arrived)
	const microsecond = float64(time.Microsecond)
	return float64(arrived[len(arrived)/2]-at) / microsecond, float64(arrived[len(arrived)-1]-at) / microsecond, nil
}

var errNoTick = errors.New("bench: the stream of a subscriber had another number of messages than two")

// inParallel calls f for each i below n on a few goroutines, and returns what went wrong first on each.
func inParallel(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, dialers)
	for w := range dialers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += dialers {
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// onBroadcast as Count of a [StreamRequest] asks for a tick at once, and for one at the next broadcast.
const onBroadcast = math.MaxUint32
