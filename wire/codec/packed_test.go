package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/compress"
)

type (
	// Columns is a batch of measurements in columns.
	Columns struct {
		At    []int64
		Temp  []float64
		Volt  []float64
		Accel []float64
	}
	// Reading is a measurement, of which there are many.
	Reading struct {
		At     int64
		Value  float64
		Device string
		ID     uint32
		OK     bool
	}
	Batch struct {
		Site     string
		Readings []Reading
	}
	Position struct {
		X, Y float32
		Seen time.Time
	}
	// Wide has a column of every kind.
	Wide struct {
		B   bool
		I8  int8
		I16 int16
		I32 int32
		I64 int64
		I   int
		U8  uint8
		U16 uint16
		U32 uint32
		U64 uint64
		U   uint
		F32 float32
		F64 float64
		S   string
		P   []byte
		ID  [4]byte
		D   time.Duration
		At  Position
		N   int64 `cbor:",plain"`
	}
	// Packable has a list of every kind that has a packed form.
	Packable struct {
		I8  []int8
		I16 []int16
		I32 []int32
		I64 []int64
		I   []int
		D   []time.Duration
		U16 []uint16
		U32 []uint32
		U64 []uint64
		F32 []float32
		F64 []float64
		B   []bool
		S   []string
		T   []time.Time
		A   [40]int32
		G   [][]float64
		M   map[string][]int64
		W   []Wide
		P   *Batch
	}
)

// noise is data that is not to be made smaller, smooth the contrary.
func newPackable(n int, noise bool) *Packable {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	next := func(i int) uint64 {
		if noise {
			return r.Uint64()
		}
		return uint64(i)*3 + uint64(i%7)
	}
	p := &Packable{M: map[string][]int64{"m": nil}, G: make([][]float64, 2), P: &Batch{Site: "north"}}
	float := func(i int) float64 {
		if noise {
			return math.Float64frombits(r.Uint64())
		}
		return float64(next(i)) / 100
	}
	text := func(i int) string {
		if noise {
			return fmt.Sprint(next(i))
		}
		return fmt.Sprint("device-", i%5)
	}
	at := func(i int) time.Time {
		t := time.Unix(1768636800, 0).UTC().Add(time.Duration(i) * time.Second)
		if noise {
			t = time.Unix(r.Int64N(1<<36), r.Int64N(1e9)).UTC() // years that nanoseconds do not reach
		}
		return t
	}
	for i := range n {
		x := next(i)
		p.I8 = append(p.I8, int8(x))
		p.I16 = append(p.I16, -int16(x))
		p.I32 = append(p.I32, -int32(x))
		p.I64 = append(p.I64, -int64(x))
		p.I = append(p.I, int(x))
		p.D = append(p.D, time.Duration(x))
		p.U16 = append(p.U16, uint16(x))
		p.U32 = append(p.U32, uint32(x)+1<<31)
		p.U64 = append(p.U64, x+1<<63)
		p.F32 = append(p.F32, float32(float(i)))
		p.F64 = append(p.F64, float(i))
		p.B = append(p.B, x&3 == 0)
		p.S = append(p.S, text(i))
		p.T = append(p.T, at(i))
		p.A[i%len(p.A)] = int32(x)
		p.G[i%2] = append(p.G[i%2], float(i))
		p.M["m"] = append(p.M["m"], int64(x))
		p.W = append(p.W, Wide{
			x&1 == 0, int8(x), int16(x), int32(x), int64(x), -int(x), uint8(x), uint16(x), uint32(x), x, uint(x),
			float32(float(i)), float(i), text(i), []byte(text(i)), [4]byte{byte(x)}, time.Duration(x),
			Position{float32(float(i)), 1, at(i)}, int64(i),
		})
		p.P.Readings = append(p.P.Readings, Reading{at(i).Unix(), float(i), text(i), uint32(x), true})
	}
	return p
}

// newColumns is the batch of 3.2 KB that the figures in the documentation are about: timestamps a second apart, give or
// take a millisecond; a walk in steps of 0.01; noise in steps of 0.001; and noise in all bits.
func newColumns(n int) *Columns {
	r := rand.New(rand.NewPCG(9, 42))
	c, at, temp := &Columns{}, int64(1768636800_000000000), 21.5
	for range n {
		at += 1_000_000_000 + r.Int64N(2_000_000) - 1_000_000
		temp += float64(r.IntN(7)-3) / 100
		c.At = append(c.At, at)
		c.Temp = append(c.Temp, math.Round(temp*100)/100)
		c.Volt = append(c.Volt, math.Round((3.3+r.NormFloat64()*0.02)*1000)/1000)
		c.Accel = append(c.Accel, r.NormFloat64()*9.81)
	}
	return c
}

// newBatch is what many sensors have to say: rows.
func newBatch(n int) *Batch {
	c, b := newColumns(n), &Batch{Site: "plant-7"}
	for i := range n {
		b.Readings = append(b.Readings, Reading{c.At[i], c.Temp[i], fmt.Sprintf("plant-7/line-%d/sensor-%d", i%4, i%4), uint32(1000 + i%4), i%50 != 3})
	}
	return b
}

// slow is a path on which everything that shrinks is packed.
var slow = compress.Path{BytesPerSecond: 1e5}

// pinnedPacker returns a packer that packs everything.
func pinnedPacker(t testing.TB, v any) *Packer {
	t.Helper()
	p := codecOf(t, v).NewPacker()
	if p == nil {
		t.Fatalf("%T has nothing to pack", v)
	}
	for _, f := range p.Stats(compress.Path{}) {
		if err := p.Pin(f.Field, true); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// packedOf encodes v with everything packed.
func packedOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := codecOf(t, v).AppendWith([]byte("before"), v, AppendOptions{Packer: pinnedPacker(t, v)})
	if err != nil || !bytes.HasPrefix(b, []byte("before")) {
		t.Fatal(err)
	}
	if err := cbor.Wellformed(b[6:]); err != nil {
		t.Fatalf("fxamacker/cbor: %v", err)
	}
	return b[6:]
}

// checkEqual compares bit by bit.
func checkEqual(t *testing.T, got, want any) {
	t.Helper()
	if !equal(reflect.ValueOf(got), reflect.ValueOf(want)) {
		t.Errorf("got  %.2000v\nwant %.2000v", got, want)
	}
}

func TestPackedRoundTrip(t *testing.T) {
	for _, n := range []int{1, 7, 8, 15, 16, 17, 100, 1024, 1025, 2100} {
		for _, noise := range []bool{false, true} {
			v := newPackable(n, noise)
			plain, msg := appendOf(t, v), packedOf(t, v)
			t.Logf("%d elements, noise %v: %d bytes, packed %d", n, noise, len(plain), len(msg))
			// The rows of a table have wider numbers than they need, so a table of noise can be a little larger than they are.
			if most := len(plain) + 64; len(msg) > most {
				t.Errorf("%d elements, noise %v: %d bytes, packed %d", n, noise, len(plain), len(msg))
			}
			if !noise && n > 100 && len(msg) > len(plain)*2/5 {
				t.Errorf("%d elements: %d bytes, packed only %d", n, len(plain), len(msg))
			}
			c := codecOf(t, v)
			got := newOf(v)
			if err := c.Decode(msg, got, Limits{}); err != nil {
				t.Fatal(n, noise, err)
			}
			checkEqual(t, got, v)
			if err := c.Decode(msg, got, Limits{}); err != nil { // over what is there
				t.Fatal(n, noise, err)
			}
			checkEqual(t, got, v)
		}
	}
}

// TestEveryTruncationOfPackedIsRefused, and every bit that is changed gives a value or an error.
func TestEveryTruncationOfPackedIsRefused(t *testing.T) {
	v := newPackable(40, false)
	c, msg := codecOf(t, v), packedOf(t, v)
	for i := range msg {
		if c.Decode(msg[:i:i], newOf(v), Limits{}) == nil {
			t.Errorf("the first %d of %d bytes were accepted", i, len(msg))
		}
	}
	for i := range msg {
		other := bytes.Clone(msg)
		other[i] ^= 1 << (i % 8)
		_ = c.Decode(other, newOf(v), Limits{})
	}
}

func TestPackedFloatsAreExact(t *testing.T) {
	type floats struct {
		F []float64
		G []float32
		T []struct {
			F float64
			G float32
		}
	}
	special := []uint64{1 << 63, 0, 0x7ff8000000000001, 0x7ff8deadbeef0000, 0x7ff0000000000001, 0xfff4000000000002,
		0x7ff0000000000000, 0xfff0000000000000, 1, 1<<63 | 1, 1<<52 - 1, 0x7fefffffffffffff}
	var v floats
	for i := range 300 {
		f, g := float64(i)/8, float32(i)/4
		if i%25 == 7 {
			bits := special[i/25%len(special)]
			f, g = math.Float64frombits(bits), math.Float32frombits(uint32(bits>>32)|uint32(bits))
		}
		v.F, v.G = append(v.F, f), append(v.G, g)
		v.T = append(v.T, struct {
			F float64
			G float32
		}{f, g})
	}
	msg := packedOf(t, &v)
	if plain := appendOf(t, &v); len(msg) > len(plain)/2 {
		t.Errorf("%d bytes of %d: not packed, so this shows nothing", len(msg), len(plain))
	}
	var got floats
	if err := codecOf(t, &v).Decode(msg, &got, Limits{}); err != nil {
		t.Fatal(err)
	}
	for i := range v.F {
		if math.Float64bits(got.F[i]) != math.Float64bits(v.F[i]) || math.Float32bits(got.G[i]) != math.Float32bits(v.G[i]) ||
			math.Float64bits(got.T[i].F) != math.Float64bits(v.F[i]) || math.Float32bits(got.T[i].G) != math.Float32bits(v.G[i]) {
			t.Errorf("element %d: %x %x, want %x %x", i, got.F[i], got.G[i], v.F[i], v.G[i])
		}
	}
}

// TestPackedReusesMemory as typed arrays do.
func TestPackedReusesMemory(t *testing.T) {
	v := newColumns(100)
	got := newColumns(120)
	at, temp := &got.At[0], &got.Temp[0]
	if err := codecOf(t, v).Decode(packedOf(t, v), got, Limits{}); err != nil {
		t.Fatal(err)
	}
	checkEqual(t, got, v)
	if &got.At[0] != at || &got.Temp[0] != temp {
		t.Error("memory that was there is not used again")
	}
}

// TestSecretAndPlainListsAreNotPacked, whatever the packer wants.
func TestSecretAndPlainListsAreNotPacked(t *testing.T) {
	type row struct {
		A int64
		B int64 `cbor:",secret"`
	}
	type hidden struct {
		Secret []int64 `cbor:",secret"`
		Plain  []int64 `cbor:",plain"`
		Rows   []row
		Open   []int64
	}
	v := &hidden{Open: make([]int64, 100), Secret: make([]int64, 100), Plain: make([]int64, 100), Rows: make([]row, 100)}
	stats := codecOf(t, v).NewPacker().Stats(slow)
	if len(stats) != 1 || stats[0].Field != "Open" {
		t.Errorf("%+v", stats)
	}
	if codecOf(t, &Call{}).NewPacker() != nil {
		t.Error("a packer for a message without lists")
	}
}

func TestPackedAndSpans(t *testing.T) {
	v := newPackable(100, false)
	want := packedOf(t, v)
	var spans []Span
	b, err := codecOf(t, v).AppendWith(nil, v, AppendOptions{Packer: pinnedPacker(t, v), Spans: &spans})
	if err != nil || !bytes.Equal(b, want) {
		t.Fatal("with spans it is another message", err)
	}
	if len(spans) < reflect.TypeOf(v).Elem().NumField() || spans[len(spans)-1].End != len(b) {
		t.Errorf("%+v", spans)
	}
}

func TestPackerOfAnotherCodec(t *testing.T) {
	v := newColumns(1)
	b, err := codecOf(t, v).AppendWith([]byte("x"), v, AppendOptions{Packer: pinnedPacker(t, newBatch(1))})
	if !errors.Is(err, ErrType) || string(b) != "x" || !strings.Contains(err.Error(), "Packer of codec.Batch for a codec.Columns") {
		t.Errorf("%q, %v", b, err)
	}
}
