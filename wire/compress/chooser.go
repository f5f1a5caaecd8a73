package compress

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MinBytes is the plain size below which a [Chooser] never compresses.
	MinBytes = 1 << 10
	// DefaultCPUPerByte is what a byte costs both ends of a QUIC connection, in nanoseconds; measured on one machine.
	DefaultCPUPerByte = 2.3

	tries = 3  // how often each codec is tried at the start
	every = 64 // then one message of that many is encoded by another codec than the best
)

// A Path is what a [Chooser] has to know about the way to the peer.
type Path struct {
	BytesPerSecond float64 // estimate of what the path has for these messages; 0 or less: no bound
	CPUPerByte     float64 // nanoseconds that both ends spend to send and receive a byte; 0 or less: DefaultCPUPerByte
}

// Cost returns what a byte that is sent costs, in nanoseconds.
func (p Path) Cost() float64 {
	cost := p.CPUPerByte
	if !(cost > 0) {
		cost = DefaultCPUPerByte
	}
	if p.BytesPerSecond > 0 {
		cost = max(cost, 1e9/p.BytesPerSecond)
	}
	return cost
}

// A Chooser chooses the codec for the messages of one method in one direction (or one field) by what each codec did for
// those before: the one with the least
//
//	encode + decode time  +  encoded size × max(1 / bandwidth, transport CPU time per byte)
//
// It knows neither clocks nor paths: whoever encodes tells it. The zero Chooser always chooses [None].
// Choosers are safe for concurrent use.
type Chooser struct {
	codecs  []Codec
	figures []Average     // of codecs: encoded/plain, and nanoseconds per plain byte
	count   atomic.Uint64 // messages of MinBytes or more
	pinned  atomic.Uint32 // a codec plus one; 0: none

	mu struct {
		sync.Mutex          // held by those who write figures
		samples    []uint64 // for each of codecs
	}
}

// NewChooser returns a Chooser among [None] and those codecs, which the peer has to know: usually [S2] and [Zstd], for a
// column its codec and S2. None, and codecs named before, are left out.
func NewChooser(codecs ...Codec) *Chooser {
	c := new(Chooser)
	for _, codec := range codecs {
		if codec != None && c.index(codec) < 0 {
			c.codecs = append(c.codecs, codec)
		}
	}
	c.figures = make([]Average, len(c.codecs))
	c.mu.samples = make([]uint64, len(c.codecs))
	return c
}

func (c *Chooser) index(codec Codec) int {
	for i, x := range c.codecs {
		if x == codec {
			return i
		}
	}
	return -1
}

// Choose returns the codec to [Try] on the next message, of n plain bytes. Unless it is [None], report with
// [Chooser.Observe] what came of it. The first messages try each codec; afterwards one of 64 tries another than the best.
func (c *Chooser) Choose(n int, p Path) Codec {
	if n < MinBytes || len(c.codecs) == 0 {
		return None
	}
	if pin := c.pinned.Load(); pin != 0 {
		return Codec(pin - 1)
	}
	message, k := c.count.Add(1)-1, uint64(len(c.codecs))
	if message < tries*k {
		return c.codecs[message%k]
	}
	best := c.best(p)
	if message%every != every-1 {
		return best
	}
	turn := message / every
	if other := c.codecs[turn%k]; other != best {
		return other
	}
	return c.codecs[(turn+1)%k]
}

// best returns the codec with the least cost.
func (c *Chooser) best(p Path) Codec {
	perByte := p.Cost()
	best, least := None, perByte
	for i := range c.figures {
		size, nanos, ok := c.figures[i].Load()
		if cost := float64(nanos) + float64(size)*perByte; ok && cost < least {
			best, least = c.codecs[i], cost
		}
	}
	return best
}

// Observe reports what a codec that was tried did to one message: the plain size, the size of what is sent (plain again
// if [Try] said no), and the time to encode and to decode. A sender that does not know the latter may add a third of
// the former, which is usual.
func (c *Chooser) Observe(codec Codec, plain, sent int, spent time.Duration) {
	i := c.index(codec)
	if i < 0 || plain <= 0 || sent < 0 || spent < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.figures[i].Observe(float32(sent)/float32(plain), float32(spent)/float32(plain), 1./4, c.mu.samples[i] < tries)
	c.mu.samples[i]++
}

// Pin makes Choose return codec for every message of MinBytes or more, whatever it costs.
func (c *Chooser) Pin(codec Codec) { c.pinned.Store(uint32(codec) + 1) }

// Unpin ends what Pin began.
func (c *Chooser) Unpin() { c.pinned.Store(0) }

// Stats is what a [Chooser] knows.
type Stats struct {
	Codec    Codec  // the choice, or what is pinned
	Pinned   bool   // whether Pin made it
	Messages uint64 // chosen for since the start, without those that are smaller than MinBytes or were pinned
	Figures  []Figure
}

// A Figure is the moving averages of one codec.
type Figure struct {
	Codec        Codec
	Samples      uint64  // reports to Observe
	Ratio        float64 // plain size / sent size; 0 without samples
	NanosPerByte float64 // to encode and decode a plain byte
}

// Stats returns what c would choose on a path, and why.
func (c *Chooser) Stats(p Path) Stats {
	s := Stats{Codec: c.best(p), Messages: c.count.Load()}
	if pin := c.pinned.Load(); pin != 0 {
		s.Codec, s.Pinned = Codec(pin-1), true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, codec := range c.codecs {
		f := Figure{Codec: codec, Samples: c.mu.samples[i]}
		if size, nanos, ok := c.figures[i].Load(); ok {
			f.Ratio, f.NanosPerByte = 1/float64(size), float64(nanos)
		}
		s.Figures = append(s.Figures, f)
	}
	return s
}
