package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestHistogramAgreesWithSortedLatencies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var h, half histogram
	var all []time.Duration
	for i := range 100_000 {
		d := time.Duration(r.ExpFloat64() * float64(80*time.Microsecond))
		all = append(all, d)
		if i%2 == 0 {
			h.record(d)
		} else {
			half.record(d)
		}
	}
	h.add(&half)
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		if got := h.quantile(q); got < want-want/20 || got > want+want/20 {
			t.Errorf("quantile %v is %v, want %v within 5 %%", q, got, want)
		}
	}
}

func TestHistogramBucketsAreInOrderAndContainTheirStart(t *testing.T) {
	for i := range bucketCount {
		if start := bucketStart(i); bucketOf(start) != i || (i > 0 && start <= bucketStart(i-1)) {
			t.Fatalf("bucket %d starts at %d, which is in bucket %d", i, start, bucketOf(start))
		}
	}
	for _, d := range []time.Duration{-1, 1 << 62} {
		if b := bucketOf(d); b < 0 || b >= bucketCount {
			t.Errorf("latency %d is in bucket %d of %d", d, b, bucketCount)
		}
	}
}

func TestOpenLoopLatencyIsFromDueTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval, late, service = 10 * time.Millisecond, 4 * time.Millisecond, 3 * time.Millisecond
		wakeLate := func(due time.Time) { time.Sleep(time.Until(due) + late) }
		m, err := openLoop(t.Context(), interval, 10*interval, wakeLate, func(context.Context, uint64) (uint64, error) {
			time.Sleep(service)
			return 1, nil
		})
		if err != nil || m.calls != 10 {
			t.Errorf("%d calls, error %v; want 10, none", m.calls, err)
		}
		if got := m.latency.quantile(0.5).Round(time.Millisecond); got != late+service {
			t.Errorf("median latency %v, want %v: late start and service", got, late+service)
		}
	})
}

func TestOpenLoopDoesNotWaitForSlowCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval, service = time.Millisecond, time.Second
		precise := func(due time.Time) { time.Sleep(time.Until(due)) }
		start := time.Now()
		m, err := openLoop(t.Context(), interval, 100*interval, precise, func(context.Context, uint64) (uint64, error) {
			time.Sleep(service)
			return 1, nil
		})
		if took := time.Since(start); err != nil || m.calls != 100 || took != 99*interval+service {
			t.Errorf("%d calls in %v, error %v; want 100 in %v", m.calls, took, err, 99*interval+service)
		}
	})
}
