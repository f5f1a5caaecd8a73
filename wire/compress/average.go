package compress

import (
	"math"
	"sync/atomic"
)

// An Average is the moving averages of two figures that belong together: a size, and the nanoseconds that it took to get there
// and back. What they count, and per what, is up to its user. The zero value has no samples. All methods are safe for
// concurrent use and take no locks; of samples that come at the same time one may get lost.
type Average struct{ bits atomic.Uint64 } // two float32; 0 before the first sample

// Load returns the averages; ok is false before the first sample.
func (a *Average) Load() (size, nanos float32, ok bool) {
	b := a.bits.Load()
	return math.Float32frombits(uint32(b >> 32)), math.Float32frombits(uint32(b)), b != 0
}

// Observe takes in a sample, of which the size counts for the part weight of the average. Of the first samples, early, the
// fastest counts.
//
// What makes a sample slow is often something else: a pool that is empty, a thread that had to wait. So the average time goes
// down fast and up slowly.
func (a *Average) Observe(size, nanos, weight float32, early bool) {
	nanos = max(nanos, math.SmallestNonzeroFloat32)
	if oldSize, old, ok := a.Load(); ok {
		size = oldSize + (size-oldSize)*weight
		switch {
		case early:
			nanos = min(nanos, old)
		case nanos < old:
			nanos = (nanos + old) / 2
		default:
			nanos = old + (min(nanos, 4*old)-old)/8
		}
	}
	a.bits.Store(uint64(math.Float32bits(size))<<32 | uint64(math.Float32bits(nanos)))
}
