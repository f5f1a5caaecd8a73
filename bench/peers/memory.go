package main

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A memoryPeak is the largest amount of memory that samples have found.
type memoryPeak struct{ bytes atomic.Int64 }

// memoryProbe is sampled by inspect, where an object is with its receiver and not yet given back; nil most of the time.
var memoryProbe atomic.Pointer[memoryPeak]

func (p *memoryPeak) sample() {
	now := memoryInUse()
	for {
		have := p.bytes.Load()
		if now <= have || p.bytes.CompareAndSwap(have, now) {
			return
		}
	}
}

// memoryInUse returns the memory of this process. What client and server both map counts once, as it does for the
// machine when they are two processes. It is 0 where the system does not tell.
func memoryInUse() int64 { return procField("/proc/self/smaps_rollup", "Pss:") }

// peakOf returns how much memory the process has at most, above what it had before, while workers hand one object over
// each, and 0 where the system does not tell.
func peakOf(ctx context.Context, h hander, sizeBytes, workers int) (int64, error) {
	samples().digest(0, sizeBytes) // the payload is no part of it
	debug.FreeOSMemory()
	before := memoryInUse()
	if before == 0 {
		return 0, nil
	}
	var p memoryPeak
	memoryProbe.Store(&p)
	defer memoryProbe.Store(nil)
	var calls, sampler sync.WaitGroup
	done := make(chan struct{}) // closed when all objects have been handed over
	sampler.Go(func() {         // ends with done
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				p.sample()
			}
		}
	})
	errs := make([]error, workers)
	for i := range workers {
		calls.Go(func() { _, _, errs[i] = h.hand(ctx, uint64(i), sizeBytes) }) // waited for below
	}
	calls.Wait()
	close(done)
	sampler.Wait()
	return max(0, p.bytes.Load()-before), errors.Join(errs...)
}

// procField returns a field in kB of a file of the kernel, in bytes; 0 if it is not there.
func procField(file, name string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kB, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kB << 10
		}
	}
	return 0
}
