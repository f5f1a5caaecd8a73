package main

import (
	"cmp"
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// operation makes one call and checks the answer. It returns how many calls or messages that was; n differs for each
// operation of a run.
type operation func(ctx context.Context, n uint64) (count uint64, err error)

// closedLoop runs workers that each have one operation outstanding until the duration has passed and the operations
// that have begun are complete, at least one for each. newOperation is called once for each worker.
func closedLoop(ctx context.Context, ep endpoint, workers int, d time.Duration, newOperation func() operation) (measurement, error) {
	type worker struct {
		latency histogram
		count   uint64
		err     error
	}
	all := make([]worker, workers)
	operations := make([]operation, workers)
	for i := range operations {
		operations[i] = newOperation()
	}
	var wg sync.WaitGroup
	before := readUsage(ep)
	end := before.at.Add(d)
	for i := range all {
		wg.Go(func() { // ends after d; closedLoop waits
			w, do := &all[i], operations[i]
			// A context of its own, as calls have in practice: a shared one would be a shared lock.
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			start := time.Now()
			for n := uint64(i); n < uint64(workers) || start.Before(end); n += uint64(workers) {
				count, err := do(ctx, n)
				if err != nil {
					w.err = err
					return
				}
				now := time.Now()
				w.latency.record(now.Sub(start))
				w.count += count
				start = now
			}
		})
	}
	wg.Wait()
	after := readUsage(ep)
	m := measurement{elapsed: after.at.Sub(before.at), consumed: after.since(before)}
	var err error // the first worker's: what ends one usually ends all
	for i := range all {
		m.calls += all[i].count
		m.latency.add(&all[i].latency)
		err = cmp.Or(err, all[i].err)
	}
	return m, err
}

// openLoop starts an operation every interval, whether or not earlier ones are complete, until the duration has
// passed, and waits for all. Latencies are from when an operation was due to its end: that it started late,
// because the machine was busy with other calls, is part of its latency.
func openLoop(ctx context.Context, interval, d time.Duration, sleepUntil func(time.Time), do operation) (measurement, error) {
	var m measurement
	var mu struct {
		sync.Mutex
		latency histogram
		err     error // the first
	}
	var calls atomic.Uint64
	var wg sync.WaitGroup
	start := time.Now()
	for n := uint64(0); ; n++ {
		due := start.Add(time.Duration(n) * interval)
		if due.Sub(start) >= d || ctx.Err() != nil {
			break
		}
		sleepUntil(due)
		wg.Go(func() { // ends when the operation does; openLoop waits
			count, err := do(ctx, n)
			latency := time.Since(due)
			calls.Add(count)
			mu.Lock()
			defer mu.Unlock()
			mu.latency.record(latency)
			mu.err = cmp.Or(mu.err, err)
		})
	}
	wg.Wait()
	m.calls, m.elapsed, m.latency = calls.Load(), time.Since(start), mu.latency
	return m, mu.err
}

// sleepPrecisely waits for a time of the near future. The runtime's timers are up to a millisecond late when the
// process is otherwise idle; the kernel's are not.
func sleepPrecisely(t time.Time) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for d := time.Until(t); d > 0; d = time.Until(t) {
		ts := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&ts, nil) // if interrupted, the loop sleeps again
	}
}
