package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

//go:generate go tool msgp -tests=false -io=false -o payload_gen.go
//msgp:tag msgpack

// Small is the payload of ordinary calls: an account record, about 100 bytes of content.
type Small struct {
	ID      uint64   `msgpack:"id"`
	Name    string   `msgpack:"name"`
	Email   string   `msgpack:"email"`
	Tags    []string `msgpack:"tags"`
	Active  bool     `msgpack:"active"`
	Visits  uint32   `msgpack:"visits"`
	Balance float64  `msgpack:"balance"`
}

// Medium is a measurement report: nested records with texts, and columns of floats.
type Medium struct {
	ID      uint64   `msgpack:"id"`
	Title   string   `msgpack:"title"`
	Author  Small    `msgpack:"author"`
	Events  []Event  `msgpack:"events"`
	Columns []Column `msgpack:"columns"`
}

// Event is a record of a [Medium].
type Event struct {
	AtMicros int64   `msgpack:"at_micros"`
	Level    uint8   `msgpack:"level"`
	Source   string  `msgpack:"source"`
	Text     string  `msgpack:"text"`
	Value    float64 `msgpack:"value"`
}

// Column is a series of samples of a [Medium].
type Column struct {
	Name   string    `msgpack:"name"`
	Unit   string    `msgpack:"unit"`
	Values []float64 `msgpack:"values"`
}

// Bytes is an opaque payload.
type Bytes struct {
	ID   uint64 `msgpack:"id"`
	Data []byte `msgpack:"data"`
}

// Tick is a small stream message, about 50 bytes of content.
type Tick struct {
	Seq    uint64  `msgpack:"seq"`
	Symbol string  `msgpack:"symbol"`
	Price  float64 `msgpack:"price"`
	Volume uint32  `msgpack:"volume"`
	Venue  string  `msgpack:"venue"`
	Micros int64   `msgpack:"micros"`
}

// Digest is what the receiver of an object has seen of it.
type Digest struct {
	ID        uint64 `msgpack:"id"`
	SizeBytes int64  `msgpack:"size_bytes"`
	Head      uint64 `msgpack:"head"`     // of the first 64 bytes
	Tail      uint64 `msgpack:"tail"`     // of the last 64 bytes
	Pages     uint64 `msgpack:"pages"`    // of one word of each page
	AtNanos   int64  `msgpack:"at_nanos"` // by clock: when all of it was there
}

// StreamRequest asks for Count messages: [Tick] messages, or [Bytes] of SizeBytes, depending on the method.
type StreamRequest struct {
	Count     uint32 `msgpack:"count"`
	SizeBytes uint32 `msgpack:"size_bytes"`
}

var (
	givenNames  = strings.Fields("Ada Grace Edsger Barbara Donald Katherine Niklaus Radia Leslie Frances Alan Shafi Tony Adele Ken Lynn")
	familyNames = strings.Fields("Lovelace Hopper Dijkstra Liskov Knuth Johnson Wirth Perlman Lamport Allen Turing Goldwasser Hoare Goldberg Thompson Conway")
	tagNames    = strings.Fields("trial annual beta europe partner verified newsletter wholesale student staff legacy mobile")
	words       = strings.Fields("sensor valve reading pressure dropped below threshold after restart of the upper stage while operator confirmed calibration drift within limits retry scheduled")
	units       = strings.Fields("K Pa m/s V A mol rpm dB")
	symbols     = strings.Fields("ACME GLBX INIT UMBR WAYN STRK HOOL SOYL")
	venues      = strings.Fields("XETRA-FRANKFURT EURONEXT-PARIS NASDAQ-NEWYORK LSE-LONDON-MAIN")
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// cents returns v rounded to two decimals, as measured and monetary values usually are.
func cents(v float64) float64 { return math.Round(v*100) / 100 }

func text(r *rand.Rand, wordCount int) string {
	out := make([]string, wordCount)
	for i := range out {
		out[i] = pick(r, words)
	}
	return strings.Join(out, " ")
}

func newSmall(r *rand.Rand) Small {
	given, family := pick(r, givenNames), pick(r, familyNames)
	s := Small{
		ID:      r.Uint64N(1 << 40),
		Name:    given + " " + family,
		Email:   fmt.Sprintf("%s.%s%d@example.com", strings.ToLower(given), strings.ToLower(family), r.IntN(1000)),
		Active:  r.IntN(4) > 0,
		Visits:  r.Uint32N(100_000),
		Balance: cents(r.ExpFloat64() * 250),
	}
	for range 1 + r.IntN(4) {
		s.Tags = append(s.Tags, pick(r, tagNames))
	}
	return s
}

// newMedium returns a report of about sizeBytes in MessagePack: half events, half columns.
func newMedium(r *rand.Rand, sizeBytes int) Medium {
	const eventBytes, columnBytes, columnLength = 140, 9*120 + 30, 120 // encoded
	m := Medium{ID: r.Uint64N(1 << 40), Title: text(r, 6), Author: newSmall(r)}
	at := int64(1_700_000_000_000_000) + r.Int64N(1e12)
	for range sizeBytes / 2 / eventBytes {
		at += r.Int64N(1e6)
		m.Events = append(m.Events, Event{
			AtMicros: at,
			Level:    uint8(r.IntN(5)),
			Source:   fmt.Sprintf("plant-%d/line-%d", r.IntN(9), r.IntN(40)),
			Text:     text(r, 5+r.IntN(6)),
			Value:    cents(r.NormFloat64() * 40),
		})
	}
	for i := range max(1, sizeBytes/2/columnBytes) {
		c := Column{Name: fmt.Sprintf("channel-%02d", i), Unit: pick(r, units), Values: make([]float64, columnLength)}
		v := r.Float64() * 1000
		for j := range c.Values {
			v += r.NormFloat64()
			c.Values[j] = cents(v)
		}
		m.Columns = append(m.Columns, c)
	}
	return m
}

func newTick(r *rand.Rand) Tick {
	return Tick{
		Symbol: pick(r, symbols),
		Price:  cents(20 + r.ExpFloat64()*90),
		Volume: r.Uint32N(5000),
		Venue:  pick(r, venues),
		Micros: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() + r.Int64N(1e12),
	}
}

// payloads are deterministic samples, made once. Callers share them and must not write to them.
//
// There are many, and random bytes are windows into a large pool, so that a transport that recognises repeated
// content gains only what such content would give it in practice.
type payloads struct {
	small  []Small
	ticks  []Tick
	random []byte

	mu struct {
		sync.Mutex
		medium  map[int][]Medium // by size in bytes
		digests map[*byte]Digest // by the first byte
		huge    []byte           // for payloads larger than random, made when first asked for
	}
}

// samples returns the payloads of this process.
var samples = sync.OnceValue(newPayloads)

const randomPoolBytes = 48 << 20

func newPayloads() *payloads {
	r := rand.New(rand.NewPCG(1, 2))
	p := &payloads{random: make([]byte, randomPoolBytes)}
	p.mu.medium, p.mu.digests = map[int][]Medium{}, map[*byte]Digest{}
	for range 4096 {
		p.small = append(p.small, newSmall(r))
		p.ticks = append(p.ticks, newTick(r))
	}
	var seed [32]byte
	_, _ = rand.NewChaCha8(seed).Read(p.random) // never fails
	return p
}

// mediumOf returns reports of sizeBytes, made when first asked for.
func (p *payloads) mediumOf(sizeBytes int) []Medium {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.medium[sizeBytes] == nil {
		r := rand.New(rand.NewPCG(3, uint64(sizeBytes)))
		for range max(64, 8<<20/sizeBytes) {
			p.mu.medium[sizeBytes] = append(p.mu.medium[sizeBytes], newMedium(r, sizeBytes))
		}
	}
	return p.mu.medium[sizeBytes]
}

// bytes returns sizeBytes of random content, different for each n until the pool is used up.
// What is larger than the pool is the same for each n.
// The result aliases the pool: it is valid for ever and must not be written to.
func (p *payloads) bytes(n uint64, sizeBytes int) []byte {
	if sizeBytes > len(p.random) {
		return p.hugeOf(sizeBytes)
	}
	slots := uint64(len(p.random)/sizeBytes) - 1
	at := int(n%(slots+1)) * sizeBytes
	return p.random[at : at+sizeBytes : at+sizeBytes]
}

// digest returns what inspect sees of the bytes for n, without the time.
func (p *payloads) digest(n uint64, sizeBytes int) Digest {
	b := p.bytes(n, sizeBytes)
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.mu.digests[&b[0]]
	if !ok || d.SizeBytes != int64(sizeBytes) {
		d = inspect(b)
		p.mu.digests[&b[0]] = d
	}
	return d
}

// hugeOf returns bytes of random content, repeated as often as needed.
func (p *payloads) hugeOf(sizeBytes int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.huge) < sizeBytes {
		p.mu.huge = make([]byte, sizeBytes)
		for at := 0; at < sizeBytes; {
			at += copy(p.mu.huge[at:], p.random)
		}
	}
	return p.mu.huge[:sizeBytes:sizeBytes]
}

// sendTicks and sendBlobs are what the servers of all transports do to answer a [StreamRequest].
func sendTicks(q StreamRequest, send func(*Tick) error) error {
	from := samples().ticks
	var t Tick
	if q.Count == onBroadcast {
		t = from[0]
		if err := send(&t); err != nil {
			return err
		}
		awaitBroadcast()
		q.Count = 1
	}
	for seq := range uint64(q.Count) {
		t = from[seq%uint64(len(from))]
		t.Seq = seq
		if err := send(&t); err != nil {
			return err
		}
	}
	return nil
}

func sendBlobs(q StreamRequest, send func(*Bytes) error) error {
	var b Bytes
	for seq := range uint64(q.Count) {
		b.ID, b.Data = seq, samples().bytes(seq, int(q.SizeBytes))
		if err := send(&b); err != nil {
			return err
		}
	}
	return nil
}
