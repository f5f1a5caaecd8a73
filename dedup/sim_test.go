package dedup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"
)

// A simulation sends messages on streams of their own, which arrive in any order, and notices on two ordered streams.
type simulation struct {
	name     string
	seed     uint64
	sends    int
	delay    int     // of a message or a block of notices, at most, in messages
	reset    float64 // part of the messages that never arrive
	twice    float64 // part of the messages that arrive twice
	lostAcks float64 // part of the acknowledgements that get lost
	restart  int     // messages after which the receiver forgets everything, 0 for never
	shrink   int     // messages after which its memory is taken away, 0 for never
	evict    int     // messages after which the sender evicts all, used lately or not, 0 for never
	like     bool    // fields resemble each other and are sent as differences

	// What must come out of it.
	noMisses bool
	leastHit float64 // part of the messages that are references or deltas
}

const (
	simSlots  = 32
	simBodies = 100
	simScope  = 7
)

// trace returns the body numbers of messages: Zipf, with a hot set that drifts.
func (s *simulation) trace() []uint64 {
	r := rand.New(rand.NewPCG(s.seed, 1))
	zipf := rand.NewZipf(r, 1.2, 4, simBodies-1)
	out := make([]uint64, s.sends)
	for i := range out {
		out[i] = zipf.Uint64() + uint64(i)/10000*20
	}
	return out
}

// simMessage is a head of its own and the body of a number, which are its two fields.
func simMessage(r *rand.Rand, number uint64) (msg []byte, fields []Field) {
	msg = binary.BigEndian.AppendUint64(nil, r.Uint64())
	content := rand.New(rand.NewPCG(number, 2))
	for len(msg) < 8+64+int(number%5)*16 {
		msg = binary.BigEndian.AppendUint64(msg, content.Uint64())
	}
	return msg, []Field{{End: 8}, {End: len(msg)}}
}

type simResult struct {
	hits, misses, lost, resets, restarts, drained int
}

func (s *simulation) run(t *testing.T) simResult {
	t.Helper()
	opts := Options{Scope: simScope, Slots: simSlots, Bytes: 64 << 10, MinBodyBytes: 64}
	enc, err := NewEncoder(opts)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := NewDecoder(opts)
	if err != nil {
		t.Fatal(err)
	}
	type message struct{ frame, want []byte }
	var (
		r         = rand.New(rand.NewPCG(s.seed, 3))
		res       simResult
		messages  = map[int][]message{}
		toDecoder = map[int][][]byte{}
		toEncoder = map[int][][]byte{}
		lastTo    [2]int
		waiting   []message
	)
	after := func(now int) int { return now + 1 + r.IntN(s.delay) }
	decode := func(m message) {
		got, err := dec.Decode(nil, m.frame, 1<<16)
		miss := (*MissError)(nil)
		switch {
		case errors.As(err, &miss) && miss.Lost:
			res.lost++
		case errors.As(err, &miss):
			waiting = append(waiting, m)
		case err != nil:
			t.Fatalf("decoding: %v", err)
		case !bytes.Equal(got, m.want):
			t.Fatalf("wrong message: got %x, want %x", got, m.want)
		}
	}
	trace := s.trace()
	misses := uint64(0)
	for now := 0; now < s.sends+6*s.delay; now++ {
		if now < s.sends {
			msg, fields := simMessage(r, trace[now])
			if s.like {
				fields[1].Like = 1 + trace[now]
				binary.BigEndian.PutUint64(msg[16:], uint64(now)) // the body changes
			}
			m := message{enc.Append(nil, msg, fields), msg}
			if r.Float64() < s.reset {
				res.resets++
			} else {
				at := after(now)
				messages[at] = append(messages[at], m)
			}
			if r.Float64() < s.twice {
				at := after(now)
				messages[at] = append(messages[at], m)
			}
		}
		if s.restart > 0 && now%s.restart == s.restart-1 {
			misses += dec.Stats().Misses
			dec.Close()
			if dec, err = NewDecoder(opts); err != nil {
				t.Fatal(err)
			}
			res.lost += len(waiting)
			waiting = nil
			res.restarts++
		}
		if s.shrink > 0 && now%s.shrink == s.shrink-1 {
			dec.shrink()
		}
		if s.evict > 0 && now%s.evict == s.evict-1 {
			enc.shrink()
		}
		for _, block := range toDecoder[now] {
			changed, err := dec.Handle(block)
			if err != nil {
				t.Fatalf("decoder, notices %x: %v", block, err)
			}
			if changed {
				again := waiting
				waiting = nil
				for _, m := range again {
					decode(m)
				}
			}
		}
		for _, m := range messages[now] {
			decode(m)
		}
		for _, block := range toEncoder[now] {
			if err := enc.Handle(block); err != nil {
				t.Fatalf("encoder, notices %x: %v", block, err)
			}
		}
		for b := enc.AppendNotices(nil, 128<<10); len(b) > 0; b = enc.AppendNotices(nil, 128<<10) {
			lastTo[0] = max(lastTo[0], after(now))
			toDecoder[lastTo[0]] = append(toDecoder[lastTo[0]], b)
		}
		for b := dec.AppendNotices(nil, 1<<10); len(b) > 0; b = dec.AppendNotices(nil, 1<<10) {
			lastTo[1] = max(lastTo[1], after(now))
			toEncoder[lastTo[1]] = append(toEncoder[lastTo[1]], s.loseAcks(t, r, b))
		}
		delete(messages, now)
		delete(toDecoder, now)
		delete(toEncoder, now)
	}
	if len(waiting) > 0 {
		t.Errorf("%d messages still wait for a body", len(waiting))
	}
	st := enc.Stats()
	res.hits = int(st.References + st.Deltas)
	res.misses = int(misses + dec.Stats().Misses)
	res.drained = dec.Stats().Draining
	checkEncoder(t, enc)
	checkDecoder(t, dec)
	return res
}

// loseAcks drops some of the acknowledgements of a block.
func (s *simulation) loseAcks(t *testing.T, r *rand.Rand, block []byte) []byte {
	if s.lostAcks == 0 {
		return block
	}
	in, err := openNotices(block, FormReceivers, simScope)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	out := appendHead(nil, Head{FormReceivers, simScope})
	for len(in.b) > 0 {
		if n := in.notice(FormReceivers, &o); n.kind != noticeAck || r.Float64() >= s.lostAcks {
			out = appendNotice(out, n)
		}
	}
	return out
}

func TestSimulation(t *testing.T) {
	for _, s := range []simulation{
		{name: "short delay", delay: 20, noMisses: true, leastHit: 0.6},
		{name: "long delay", delay: 500, noMisses: true, leastHit: 0.6},
		{name: "acknowledgements lost", delay: 100, lostAcks: 0.3, noMisses: true, leastHit: 0.5},
		{name: "evictions of what is in use", delay: 100, evict: 350, noMisses: true, leastHit: 0.25},
		{name: "evictions of what is in use, acknowledgements lost", delay: 100, evict: 700, lostAcks: 0.2, like: true, noMisses: true, leastHit: 0.3},
		{name: "resets", delay: 100, reset: 0.02, leastHit: 0.6},
		{name: "duplicates", delay: 100, twice: 0.05, leastHit: 0.6},
		{name: "restarts", delay: 100, restart: 3000, leastHit: 0.6},
		{name: "memory taken away", delay: 100, shrink: 500, leastHit: 0.6},
		{name: "all together", delay: 300, reset: 0.05, twice: 0.05, lostAcks: 0.2, restart: 4000, shrink: 1500, evict: 2500, leastHit: 0.35},
		{name: "fields that resemble each other", delay: 100, like: true, noMisses: true},
		{name: "all together, fields that resemble each other", delay: 300, like: true, reset: 0.05, twice: 0.05, lostAcks: 0.2, restart: 4000, shrink: 1500, evict: 2500},
	} {
		t.Run(s.name, func(t *testing.T) {
			for s.seed = range uint64(2) {
				s.sends = 20000
				res := s.run(t)
				hit := float64(res.hits) / float64(s.sends)
				mirrored := mirroredHits(t, s.trace())
				t.Logf("seed %d: hit %.1f %% (mirrored LRU in step: %.1f %%), misses %d, lost %d, resets %d, restarts %d, draining at the end %d",
					s.seed, 100*hit, 100*mirrored, res.misses, res.lost, res.resets, res.restarts, res.drained)
				if s.noMisses && res.misses > 0 {
					t.Errorf("seed %d: missed %d times without a reset", s.seed, res.misses)
				}
				if hit < s.leastHit {
					t.Errorf("seed %d: hit rate %.3f, want at least %.3f", s.seed, hit, s.leastHit)
				}
				if s.noMisses && s.lostAcks == 0 && !s.like && s.evict == 0 && hit <= mirrored {
					t.Errorf("seed %d: hit rate %.3f, not above the %.3f of mirrored caches", s.seed, hit, mirrored)
				}
			}
		})
	}
}

// mirroredHits is the part of hits of two caches that see the same messages in the same order, which streams cannot
// promise: the best that they could do.
func mirroredHits(t *testing.T, trace []uint64) float64 {
	cache, err := lru.New[uint64, struct{}](simSlots)
	if err != nil {
		t.Fatal(err)
	}
	hits := 0
	for _, n := range trace {
		if _, ok := cache.Get(n); ok {
			hits++
		} else {
			cache.Add(n, struct{}{})
		}
	}
	return float64(hits) / float64(len(trace))
}

// checkEncoder checks what always holds.
func checkEncoder(t testing.TB, e *Encoder) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	size, n := 0, 0
	for i := e.mu.slots[0].next; i != 0; i = e.mu.slots[i].next {
		s := &e.mu.slots[i]
		if s.body == nil || e.mu.index[s.hash] != i || e.mu.slots[s.next].prev != i {
			t.Fatalf("slot %d is in the ring and not in the index", i)
		}
		if next := &e.mu.slots[s.next]; s.next != 0 && next.used > s.used {
			t.Fatalf("slot %d comes before slot %d, which was used later", i, s.next)
		}
		if s.like != 0 && e.mu.likes[s.like].slot != i {
			t.Fatalf("slot %d is not the base it says", i)
		}
		size += len(s.body) + entryBytes
		n++
	}
	if size != e.mu.bytes || size > e.opts.Bytes || size != e.mu.account.held {
		t.Fatalf("%d bytes in slots, counted %d, taken %d, limit %d", size, e.mu.bytes, e.mu.account.held, e.opts.Bytes)
	}
	if n != len(e.mu.index) || n+len(e.mu.empty) != len(e.mu.slots)-1 || n > e.opts.Slots || len(e.mu.likes) > n {
		t.Fatalf("%d slots in use, %d in the index, %d empty of %d, %d bases", n, len(e.mu.index), len(e.mu.empty), len(e.mu.slots)-1, len(e.mu.likes))
	}
	if len(e.mu.needs) > MaxNeeds || len(e.mu.evicts) > e.opts.Slots {
		t.Fatalf("%d needs, %d evictions queued", len(e.mu.needs), len(e.mu.evicts))
	}
}

// checkDecoder checks what always holds.
func checkDecoder(t testing.TB, d *Decoder) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	size, draining, left := 0, 0, 0
	for n, e := range d.mu.entries {
		if e.name != n || e.gone || n.gen > d.newest(n.slot) || n.gen < d.newest(n.slot) && !e.draining {
			t.Fatalf("entry %v in a wrong state: %+v, newest %d", n, e.name, d.newest(n.slot))
		}
		if e.body != nil {
			size += len(e.body) + entryBytes
		}
		if e.draining {
			draining++
		}
	}
	for _, e := range d.mu.old {
		if e.gone {
			left++
		} else if d.mu.entries[e.name] != e {
			t.Fatalf("entry %v drains, and is not there", e.name)
		}
	}
	if left != d.mu.left || draining+left != len(d.mu.old) || left > draining {
		t.Fatalf("%d draining entries and %d left of %d, counted %d", draining, left, len(d.mu.old), d.mu.left)
	}
	if size != d.mu.bytes || size > 2*d.opts.Bytes || size != d.mu.account.held {
		t.Fatalf("%d bytes in entries, counted %d, taken %d, limit %d", size, d.mu.bytes, d.mu.account.held, 2*d.opts.Bytes)
	}
	if len(d.mu.entries) > 2*d.opts.Slots || len(d.mu.needs) > MaxNeeds || len(d.mu.acks) > d.opts.Slots {
		t.Fatalf("%d entries, %d needs, %d acks queued", len(d.mu.entries), len(d.mu.needs), len(d.mu.acks))
	}
}
