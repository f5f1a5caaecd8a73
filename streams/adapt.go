package streams

import (
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// maxStripes is the number of lanes of a class that calls are spread over on a lossy or long path.
const maxStripes = 4

const (
	// From this round trip on a lost packet costs enough to spread calls over several lanes: what is lost
	// then holds up only a quarter of them.
	stripeRTT = 2 * time.Millisecond
	// From this round trip and loss on, a call takes a stream of its own: the round trip hides the cost, and no call
	// waits for the retransmission of another. Measured at 20 ms and 1 % loss: p90 36.7 ms on one lane, 22.9 on
	// four, 22.7 on a stream per call.
	streamRTT  = 5 * time.Millisecond
	streamLoss = 0.005
	// From this round trip on, the congestion window tells what the path has; on a shorter one the processors are the limit.
	rateRTT = time.Millisecond
	// The rate is measured when it is asked for, once in so many times.
	rateEvery = 32
	// Below this many packets in a period the loss is not known.
	minPackets = 64
)

// adapt chooses how small calls travel, from the measured round trip and loss.
type adapt struct {
	stripes    atomic.Int32  // lanes in use, 1 or maxStripes
	perCall    atomic.Bool   // a stream for each call
	rate       atomic.Int64  // bytes per second that the path has, 0 while that is not known
	asked      atomic.Uint32 // how often somebody wanted to know rate
	sent, lost uint64        // at the start of the period; owned by maintain
}

func (a *adapt) init() { a.stripes.Store(1) }

// onLane reports whether a frame of n bytes shares a lane with others: a small one unless the path is so bad that each
// call takes a stream of its own, a larger one only on a short path, where the window of one lane is enough.
func (a *adapt) onLane(n int) bool {
	if n <= wire.MaxLaneFrameBytes {
		return !a.perCall.Load()
	}
	return n <= wire.MaxWideFrameBytes && a.stripes.Load() == 1
}

// pathRate returns the rate. maintain updates it only while this side waits for the peer; a side that sends but responses
// looks at the path itself, now and then.
func (a *adapt) pathRate(t transport) float64 {
	if a.asked.Add(1)%rateEvery == 1 {
		a.updateRate(t.stats())
	}
	return float64(a.rate.Load())
}

func (a *adapt) updateRate(s Stats) {
	if s.MinRTT >= rateRTT && s.SmoothedRTT > 0 {
		a.rate.Store(int64(float64(s.CongestionWindow) / s.SmoothedRTT.Seconds()))
	}
}

func (a *adapt) update(s Stats) {
	stripes := int32(1)
	if s.MinRTT >= stripeRTT {
		stripes = maxStripes
	}
	a.stripes.Store(stripes)
	a.updateRate(s)
	if s.MinRTT < streamRTT || s.Transport == "tcp" { // over TCP whatever is lost holds up all streams alike
		a.perCall.Store(false)
		return
	}
	sent := s.PacketsSent - a.sent
	if sent < minPackets {
		return
	}
	// The transport's count of lost packets can shrink when one of them arrives after all.
	loss := 0.0
	if s.PacketsLost > a.lost {
		loss = float64(s.PacketsLost-a.lost) / float64(sent)
	}
	a.sent, a.lost = s.PacketsSent, s.PacketsLost
	// Leave the mode only at half the loss that enters it, so that it does not flap.
	if a.perCall.Load() {
		a.perCall.Store(loss >= streamLoss/2)
	} else {
		a.perCall.Store(loss >= streamLoss)
	}
}
