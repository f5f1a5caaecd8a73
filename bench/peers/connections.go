package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// connectionCount is how many clients the scenario has, as far as the limit of file descriptors allows.
	connectionCount = 10_000
	// dialers open connections at once, and try again a few times: how that goes is not what is measured.
	dialers = 8
	tries   = 5
	// onBroadcast as Count of a [StreamRequest] asks for a single tick, at the next broadcast.
	onBroadcast = math.MaxUint32
	// settle is how long connections are left alone before they count as idle.
	settle = 3 * time.Second
)

// broadcast is what all subscribers of this process wait for.
var broadcast struct {
	mu    sync.Mutex
	waits int
	now   chan struct{} // closed to broadcast; nil before the first wait
}

// awaitBroadcast returns at the next broadcast.
func awaitBroadcast() {
	b := &broadcast
	b.mu.Lock()
	if b.now == nil {
		b.now = make(chan struct{})
	}
	b.waits++
	now := b.now
	b.mu.Unlock()
	<-now
}

// broadcastTo releases n subscribers, once as many are waiting.
func broadcastTo(ctx context.Context, n int) (time.Time, error) {
	b := &broadcast
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		b.mu.Lock()
		if b.waits == n {
			at := time.Now()
			close(b.now)
			b.now, b.waits = nil, 0
			b.mu.Unlock()
			return at, nil
		}
		b.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("bench: %d subscribers did not come: %w", n, context.Cause(ctx))
		}
	}
}

// runConnections opens many connections, which then wait, and lets the server send one message to all of them.
func runConnections(ctx context.Context, p *plan, r *report) error {
	n := connectionCount
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil {
		n = min(n, int(min(files.Cur, math.MaxInt32)/2)-200) // both ends are here
	}
	return manyConnections(ctx, p, r, n)
}

func manyConnections(ctx context.Context, p *plan, r *report, n int) error {
	var failed error
	for _, t := range p.transports {
		if t.name != "mycel-quic" && t.name != "wss" {
			continue
		}
		for range p.rounds {
			key := rowKey{Scenario: "connections", Transport: t.name, Concurrency: n}
			m, note, err := connections(ctx, t, n)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("bench: %s: %w", t.name, err))
				break
			}
			r.addRound(key, m)
			fmt.Fprintf(p.progress, "%-15s %-12s x%d: %s\n", key.Scenario, t.name, n, note)
		}
	}
	return failed
}

func connections(ctx context.Context, t transport, n int) (m metrics, note string, err error) {
	end, err := t.start()
	if err != nil {
		return m, "", err
	}
	defer func() { err = errors.Join(err, end.close()) }()
	debug.FreeOSMemory()
	before, goroutines := memoryInUse(), runtime.NumGoroutine()
	clients := make([]caller, n)
	defer func() {
		err = errors.Join(err, inParallel(n, func(i int) error {
			if clients[i] == nil {
				return nil
			}
			return clients[i].close()
		}))
	}()
	begun := time.Now()
	if err := inParallel(n, func(i int) (err error) {
		for try := range tries {
			if try > 0 && pause(ctx, time.Second) != nil {
				return err
			}
			if clients[i], err = end.dial(ctx, false); err == nil {
				return nil
			}
		}
		return err
	}); err != nil {
		return m, "", err
	}
	opened := time.Since(begun)
	if err := pause(ctx, settle); err != nil {
		return m, "", err
	}
	debug.FreeOSMemory()
	m.ConnBytes = float64(memoryInUse()-before) / float64(n)
	m.ConnGoroutines = float64(runtime.NumGoroutine()-goroutines) / float64(n)

	arrived, results := make([]time.Time, n), make(chan error, n)
	for i := range n {
		go func() { // ends with its tick, or with ctx
			for _, err := range clients[i].ticks(ctx, &StreamRequest{Count: onBroadcast}) {
				if err != nil {
					results <- err
					return
				}
				arrived[i] = time.Now()
			}
			results <- nil
		}()
	}
	at, err := broadcastTo(ctx, n)
	for range n {
		err = errors.Join(err, <-results)
	}
	if err != nil {
		return m, "", err
	}
	slices.SortFunc(arrived, time.Time.Compare)
	m.P50Micros = float64(arrived[n/2].Sub(at).Microseconds())
	m.LastByteMicros = float64(arrived[n-1].Sub(at).Microseconds())
	note = fmt.Sprintf("%.1f KB and %.1f goroutines per connection, both ends; a message to all reached half in %.1f ms and the last in %.1f ms (opened in %.1f s)",
		m.ConnBytes/1e3, m.ConnGoroutines, m.P50Micros/1e3, m.LastByteMicros/1e3, opened.Seconds())
	return m, note, nil
}

// inParallel calls f for each i below n on a few goroutines, and returns what went wrong first.
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
