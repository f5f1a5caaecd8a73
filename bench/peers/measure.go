package main

import (
	"fmt"
	"math/bits"
	"runtime"
	"syscall"
	"time"
)

const (
	subBucketBits = 5 // 32 buckets per power of two: each is at most 3 % wide
	subBuckets    = 1 << subBucketBits
	largestBits   = 37 // 2^37 ns are 137 s; longer latencies count as that
	bucketCount   = (largestBits - subBucketBits + 1) * subBuckets
)

// histogram counts latencies in buckets that grow with the latency. Recording takes a few nanoseconds and no memory.
// It is not safe for concurrent use: each worker has its own, and they are added up.
type histogram struct {
	counts [bucketCount]uint32
	total  uint64
}

func bucketOf(d time.Duration) int {
	v := min(uint64(max(d, 0)), 1<<largestBits-1)
	exponent := max(0, bits.Len64(v)-subBucketBits-1)
	return exponent*subBuckets + int(v>>exponent)
}

// bucketStart returns the smallest latency that falls into a bucket.
func bucketStart(bucket int) time.Duration {
	if bucket < subBuckets {
		return time.Duration(bucket)
	}
	exponent := bucket/subBuckets - 1
	return time.Duration(subBuckets+bucket%subBuckets) << exponent
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
}

func (h *histogram) add(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// quantile returns the latency that a share q of the recorded ones, between 0 and 1, does not exceed, interpolated
// within its bucket. It returns 0 if nothing was recorded.
func (h *histogram) quantile(q float64) time.Duration {
	rank, seen := q*float64(h.total), 0.0
	for i, n := range h.counts {
		if n == 0 {
			continue
		}
		if seen+float64(n) >= rank {
			start := bucketStart(i)
			return start + time.Duration(float64(bucketStart(i+1)-start)*(rank-seen)/float64(n))
		}
		seen += float64(n)
	}
	return 0
}

// usage is what the process has consumed so far. Client, server and harness share the process.
type usage struct {
	at         time.Time
	cpu        time.Duration
	allocs     uint64 // heap objects
	allocBytes uint64
	wireBytes  uint64
}

// readUsage stops the world for a moment.
func readUsage(ep endpoint) usage {
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return usage{cpu: cpuTime(), allocs: ms.Mallocs, allocBytes: ms.TotalAlloc, wireBytes: ep.wireBytes(), at: time.Now()}
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		panic(fmt.Sprintf("bench: getrusage of this process: %v", err)) // can only be a wrong argument
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// measurement is one round of one row. What was not measured is zero.
type measurement struct {
	row      rowKey
	calls    uint64
	elapsed  time.Duration
	latency  histogram
	consumed usage // differences; at is unused

	first, last  histogram // until the receiver of an object had its first bytes, and all of it
	peakBytes    int64     // of memory, above what there was before
	payloadBytes uint64    // of messages, as they were given to the transport
	linkBytes    uint64    // that an emulated link carried
	unmoved      bool      // what SizeBytes says does not move
}

// add adds another part of the same round.
func (m *measurement) add(other *measurement) {
	m.calls += other.calls
	m.elapsed += other.elapsed
	m.latency.add(&other.latency)
	m.consumed.cpu += other.consumed.cpu
	m.consumed.allocs += other.consumed.allocs
	m.consumed.allocBytes += other.consumed.allocBytes
	m.consumed.wireBytes += other.consumed.wireBytes
}

func (u usage) since(before usage) usage {
	return usage{
		cpu:        u.cpu - before.cpu,
		allocs:     u.allocs - before.allocs,
		allocBytes: u.allocBytes - before.allocBytes,
		wireBytes:  u.wireBytes - before.wireBytes,
	}
}

func (m *measurement) metrics() metrics {
	n := float64(m.calls)
	if n == 0 {
		return metrics{}
	}
	const microsecond = float64(time.Microsecond)
	rate := n / m.elapsed.Seconds()
	moved := float64(m.row.SizeBytes)
	if m.unmoved {
		moved = 0
	}
	p90 := time.Duration(0)
	if m.row.Path != "" {
		p90 = m.latency.quantile(0.90)
	}
	return metrics{
		CallsPerS:           rate,
		MBPerS:              rate * moved / 1e6,
		P50Micros:           float64(m.latency.quantile(0.50)) / microsecond,
		P90Micros:           float64(p90) / microsecond,
		P99Micros:           float64(m.latency.quantile(0.99)) / microsecond,
		CPUMicrosPerCall:    float64(m.consumed.cpu) / microsecond / n,
		AllocsPerCall:       float64(m.consumed.allocs) / n,
		AllocBytesPerCall:   float64(m.consumed.allocBytes) / n,
		WireBytesPerCall:    float64(m.consumed.wireBytes) / n,
		FirstByteMicros:     float64(m.first.quantile(0.50)) / microsecond,
		LastByteMicros:      float64(m.last.quantile(0.50)) / microsecond,
		PeakMB:              float64(m.peakBytes) / 1e6,
		PayloadBytesPerCall: float64(m.payloadBytes) / n,
		LinkBytesPerCall:    float64(m.linkBytes) / n,
	}
}
