package transfer

import "time"

const (
	tick = 100 * time.Millisecond // how often progress is reported

	measureTime    = 250 * time.Millisecond // shortest interval
	measureMaxTime = 5 * time.Second        // longest one
	measureChunks  = 2                      // of each stream, in one that is long enough
	gain           = 1.1                    // growth of the goodput that is worth a stream
	doubleGain     = 1.25                   // and twice the streams
	holdFirst      = 8                      // intervals until the next attempt after one that failed
	holdMax        = 64
)

// adapter chooses the number of streams. It belongs to the goroutine of Receive.
//
//	grow  --goodput is steady-------------> more streams, settle
//	settle --an interval later------------> judge
//	judge --enough was gained-------------> more streams, settle
//	      --no----------------------------> as many as before, hold; twice as long as the last time
//	hold  --intervals later---------------> grow
//
// More is twice as many, for 25 % more goodput, until that has failed, so that a path with loss has its many streams within
// seconds; then one more, for 10 %.
//
// A lost connection makes an interval worthless: it is measured again.
type adapter struct {
	max     int
	streams int     // there should be
	goodput float64 // bytes per second of the last interval
	state   adaptState
	base    float64 // goodput with the streams before the last ones were added
	before  int     // those streams
	single  bool    // doubling has failed
	hold    int     // intervals left
	holdFor int

	since    time.Time // begin of the interval, and the counters then
	received int64
	lost     int64
}

type adaptState int

const (
	stateGrow adaptState = iota
	stateSettle
	stateJudge
	stateHold
)

func newAdapter(first, limit int, now time.Time) *adapter {
	return &adapter{max: limit, streams: first, holdFor: holdFirst, since: now}
}

// tick is called now and then with the bytes and losses so far. It reports whether an interval has ended.
func (a *adapter) tick(now time.Time, received, lost int64) bool {
	elapsed := now.Sub(a.since)
	n := received - a.received
	if lost == a.lost && (elapsed < measureTime || n < measureChunks*int64(a.streams)*ChunkBytes && elapsed < measureMaxTime) {
		return false
	}
	disturbed := lost != a.lost
	a.since, a.received, a.lost = now, received, lost
	if disturbed {
		return false
	}
	a.interval(float64(n) / elapsed.Seconds())
	return true
}

// interval draws the conclusion from the goodput of an interval.
func (a *adapter) interval(goodput float64) {
	steady := goodput <= a.goodput*gain
	a.goodput = goodput
	switch a.state {
	case stateGrow:
		if steady {
			a.add()
		}
	case stateSettle:
		a.state = stateJudge
	case stateJudge:
		wanted := gain
		if a.streams > a.before+1 {
			wanted = doubleGain
		}
		if goodput > a.base*wanted {
			a.holdFor, a.single = holdFirst, false
			a.add()
			return
		}
		if a.streams > a.before+1 { // some of them may have been worth it
			a.streams, a.single = a.before, true
			a.state = stateGrow
			return
		}
		a.streams, a.single = a.before, true
		a.state, a.hold = stateHold, a.holdFor
		a.holdFor = min(2*a.holdFor, holdMax)
	case stateHold:
		if a.hold--; a.hold <= 0 {
			a.state = stateGrow
		}
	}
}

// add adds streams, or stays when there are all.
func (a *adapter) add() {
	if a.streams == a.max {
		a.state, a.hold = stateHold, holdMax
		return
	}
	a.base, a.before = a.goodput, a.streams
	if a.single {
		a.streams++
	} else {
		a.streams = min(2*a.streams, a.max)
	}
	a.state = stateSettle
}
