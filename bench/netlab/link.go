package netlab

import (
	"fmt"
	"time"
)

// A Direction is one of the two directions of a link.
type Direction int

// The directions of a link.
const (
	LeftToRight Direction = iota
	RightToLeft
)

// String returns the direction in words.
func (d Direction) String() string {
	switch d {
	case LeftToRight:
		return "left to right"
	case RightToLeft:
		return "right to left"
	}
	return fmt.Sprintf("direction %d", int(d))
}

// A Link says what one direction of the path does to packets. The zero value passes everything at once.
// Sizes are those of IP packets, with their headers. Probabilities are 0 to 1.
type Link struct {
	// Delay is the one-way delay of every packet, 0 to one minute.
	Delay time.Duration

	// Jitter is added to the delay of each packet, evenly distributed between 0 and Jitter, 0 to one minute. Packets stay
	// in order, which shortens the jitter of none and lengthens that of some.
	Jitter time.Duration

	// JitterReorders lets a packet with little jitter overtake one with more.
	JitterReorders bool

	// Loss is the probability that a packet is lost, independently of the others.
	Loss float64

	// Burst loses packets in bursts, besides Loss.
	Burst Burst

	// Rate is the bottleneck in bits per second, 0 for none, at most 100 Gbit/s.
	Rate int64

	// QueueBytes bounds what waits for the bottleneck, with the packet in transmission. A packet that does not fit is
	// dropped. 0 means what Rate sends in 100 ms, but at least 32 KiB. It has no meaning without a Rate.
	QueueBytes int

	// Duplicate is the probability that a packet arrives twice.
	Duplicate float64

	// Reorder is the probability that a packet is held back by ReorderDelay while others pass it.
	Reorder      float64
	ReorderDelay time.Duration

	// MTU drops packets that are longer, without telling anybody: a black hole for path MTU discovery.
	// 0 means no such limit; otherwise at least 68.
	MTU int

	// BlackHole drops everything.
	BlackHole bool
}

// Burst is the loss model of Gilbert and Elliott: the link is good or bad, and changes between packets. The mean length
// of a bad time is 1/BadToGood packets, the share of bad times GoodToBad/(GoodToBad+BadToGood).
// The zero value loses nothing.
type Burst struct {
	GoodToBad float64 // probability that the link turns bad before a packet
	BadToGood float64 // probability that it turns good before a packet; not 0 unless GoodToBad is
	LossBad   float64 // probability of loss while it is bad. 0 means 1
}

// The bounds of a [Link].
const (
	maxDelay      = time.Minute
	maxRate       = 100e9
	minMTU        = 68 // RFC 791: every link carries this much
	minQueueBytes = 32 << 10
	maxQueueBytes = 1 << 30
)

// Validate returns what is out of range, if anything.
func (l Link) Validate() error {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Delay", l.Delay}, {"Jitter", l.Jitter}, {"ReorderDelay", l.ReorderDelay}} {
		if d.value < 0 || d.value > maxDelay {
			return fmt.Errorf("netlab: link: %s %v is not between 0 and %v", d.name, d.value, maxDelay)
		}
	}
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"Loss", l.Loss}, {"Duplicate", l.Duplicate}, {"Reorder", l.Reorder},
		{"Burst.GoodToBad", l.Burst.GoodToBad}, {"Burst.BadToGood", l.Burst.BadToGood}, {"Burst.LossBad", l.Burst.LossBad},
	} {
		if !(p.value >= 0 && p.value <= 1) { // so that NaN is refused
			return fmt.Errorf("netlab: link: %s %v is not between 0 and 1", p.name, p.value)
		}
	}
	switch {
	case l.Burst.GoodToBad > 0 && l.Burst.BadToGood == 0:
		return fmt.Errorf("netlab: link: Burst.BadToGood is 0: the link would stay bad")
	case l.Rate < 0 || l.Rate > maxRate:
		return fmt.Errorf("netlab: link: Rate %d is not between 0 and %d bits per second", l.Rate, int64(maxRate))
	case l.QueueBytes < 0 || l.QueueBytes > maxQueueBytes:
		return fmt.Errorf("netlab: link: QueueBytes %d is not between 0 and %d", l.QueueBytes, maxQueueBytes)
	case l.MTU < 0 || l.MTU > 0 && l.MTU < minMTU:
		return fmt.Errorf("netlab: link: MTU %d is not 0 and below %d", l.MTU, minMTU)
	}
	return nil
}

// queueBytes returns the bound of the queue.
func (l Link) queueBytes() int {
	if l.QueueBytes > 0 {
		return l.QueueBytes
	}
	return max(minQueueBytes, int(min(l.Rate/8/10, maxQueueBytes)))
}

// Stats are figures of one direction since the lab began. Packets are counted when they arrive at the emulator, and as passed
// when they leave it.
type Stats struct {
	Packets, Bytes             uint64 // that arrived at the emulator
	PassedPackets, PassedBytes uint64 // that left it, with duplicates
	Dropped                    Dropped
	Duplicated, HeldBack       uint64 // packets that [Link.Duplicate] and [Link.Reorder] chose

	QueueBytes, MaxQueueBytes int           // of the queue in front of the bottleneck, now and at most
	QueueDelay, MaxQueueDelay time.Duration // how long a packet waits and is transmitted there, now and at most
	HeldPackets               int           // in the emulator now, in the queue and on their way

	// Lateness is how much later than computed packets left the emulator: the error of the emulation.
	Lateness, MaxLateness time.Duration // mean of all packets, and the largest
	LatePackets           uint64        // that left more than a millisecond late
}

// Dropped counts packets that did not pass, by reason.
type Dropped struct {
	BlackHole uint64 // [Link.BlackHole]
	MTU       uint64 // longer than [Link.MTU]
	Loss      uint64 // [Link.Loss]
	Burst     uint64 // [Link.Burst]
	Queue     uint64 // the queue in front of the bottleneck was full
	NAT       uint64 // for an address that a [Rebinding] has taken away, or fragments that cannot be translated
	Overflow  uint64 // the emulator held [Config.MaxPackets]: raise it
	Kernel    uint64 // by the kernel in front of the emulator, or when sending: the machine is too slow
}

// Total returns the sum of all reasons.
func (d Dropped) Total() uint64 {
	return d.BlackHole + d.MTU + d.Loss + d.Burst + d.Queue + d.NAT + d.Overflow + d.Kernel
}
