package codec

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/wire/compress"
)

// fieldOf returns what p knows of a field.
func fieldOf(t *testing.T, p *Packer, path compress.Path, field string) FieldStats {
	t.Helper()
	for _, f := range p.Stats(path) {
		if f.Field == field {
			return f
		}
	}
	t.Fatalf("no field %s in %+v", field, p.Stats(path))
	return FieldStats{}
}

// fast is a path on which nothing pays.
var fast = compress.Path{CPUPerByte: 1e-6}

func TestPackerDecidesByThePath(t *testing.T) {
	v := newColumns(100)
	c, p := codecOf(t, v), codecOf(t, v).NewPacker()
	encode := func(path compress.Path) int {
		b, err := c.AppendWith(nil, v, AppendOptions{Packer: p, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		got := newOf(v)
		if err := c.Decode(b, got, Limits{}); err != nil {
			t.Fatal(err)
		}
		checkEqual(t, got, v)
		return len(b)
	}
	p.dice = func() uint32 { return 0xffffffff } // no samples but for the first ones
	plain := len(appendOf(t, v))
	for range packTries {
		if encode(fast) >= plain {
			t.Error("the packed form is not tried at the start")
		}
	}
	if n := encode(fast); n != plain {
		t.Errorf("packed where that does not pay: %d bytes", n)
	}
	if n := encode(slow); n > plain*45/100 {
		t.Errorf("on a slow path %d of %d bytes", n, plain)
	}
	for _, f := range p.Stats(slow) {
		// The mantissas of Accel are noise: they are refused.
		if f.Packed != (f.Field != "Accel") || f.Samples != packTries || f.Pinned || f.NanosPerByte <= 0 {
			t.Errorf("%+v", f)
		}
		if f.Packed && f.Ratio < 2 || !f.Packed && f.Ratio != 1 {
			t.Errorf("%+v", f)
		}
	}
	if f := fieldOf(t, p, fast, "Temp"); f.Packed || f.Packing != "decimal64" {
		t.Errorf("%+v", f)
	}
	if f := fieldOf(t, p, slow, "At"); f.Packing != "delta64" {
		t.Errorf("%+v", f)
	}
}

func TestPackerSamples(t *testing.T) {
	v := newColumns(24)
	c, p := codecOf(t, v), codecOf(t, v).NewPacker()
	r := rand.New(rand.NewPCG(1, 2))
	p.dice = r.Uint32
	encode := func(n int, path compress.Path) {
		for range n {
			if _, err := c.AppendWith(nil, v, AppendOptions{Packer: p, Path: path}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const n = 10000
	encode(n, slow)
	good, hopeless := fieldOf(t, p, slow, "Temp").Samples, fieldOf(t, p, slow, "Accel").Samples
	if good < n/packEvery/2 || good > n/packEvery*2 {
		t.Errorf("%d samples in %d messages of what pays", good, n)
	}
	if hopeless > 40 {
		t.Errorf("%d samples in %d messages of what never pays", hopeless, n)
	}
	// When the field changes, that is found out.
	for i := range v.Accel {
		v.Accel[i] = float64(i) / 10
	}
	encode(3*packEvery<<packBackoff, slow)
	if f := fieldOf(t, p, slow, "Accel"); !f.Packed {
		t.Errorf("%+v", f)
	}
}

func TestPackerPins(t *testing.T) {
	v := newBatch(50)
	c, p := codecOf(t, v), codecOf(t, v).NewPacker()
	encode := func() []byte {
		b, err := c.AppendWith(nil, v, AppendOptions{Packer: p, Path: fast})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pin := func(field string, packed bool) {
		t.Helper()
		if err := p.Pin(field, packed); err != nil {
			t.Fatal(err)
		}
		if f := fieldOf(t, p, fast, field); f.Packed != packed || !f.Pinned {
			t.Errorf("%+v", f)
		}
	}
	var fields []string
	for _, f := range p.Stats(slow) {
		fields = append(fields, f.Field+" "+f.Packing)
	}
	want := []string{"Readings table", "Readings[].At delta64", "Readings[].Value decimal64", "Readings[].Device dictionary", "Readings[].ID delta32", "Readings[].OK delta32"}
	if !reflect.DeepEqual(fields, want) {
		t.Errorf("%q", fields)
	}
	pin("Readings", false)
	if b := encode(); !bytes.Equal(b, appendOf(t, v)) {
		t.Error("packed although it is pinned not to be")
	}
	pin("Readings", true)
	table := len(encode())
	pin("Readings[].Device", false)
	if n := len(encode()); n < table+40*len("plant-7/line-1/sensor-1") {
		t.Errorf("%d bytes: the texts are packed although that is pinned not to be", n)
	}
	if err := p.Unpin("Readings[].Device"); err != nil || fieldOf(t, p, fast, "Readings[].Device").Pinned {
		t.Error(err)
	}
	if err := p.Pin("Reading", true); err == nil || !strings.Contains(err.Error(), `codec.Batch has no field "Reading"`) {
		t.Error(err)
	}
}

// TestTablesAreUsedWhereTheyPay, and never where they would be larger.
func TestTablesAreUsedWhereTheyPay(t *testing.T) {
	type tiny struct{ A, B uint64 } // as rows three bytes each
	small := make([]tiny, 64)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range small {
		small[i] = tiny{r.Uint64N(24), r.Uint64N(24)}
	}
	noise := make([]tiny, 64)
	for i := range noise {
		noise[i] = tiny{r.Uint64(), r.Uint64()}
	}
	for _, v := range []any{&small, &noise, newBatch(100), &newPackable(64, true).W} {
		c, p := codecOf(t, v), codecOf(t, v).NewPacker()
		plain := len(appendOf(t, v))
		for i := range 300 {
			b, err := c.AppendWith(nil, v, AppendOptions{Packer: p, Path: slow})
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > plain {
				t.Fatalf("%T: %d bytes, as rows %d", v, len(b), plain)
			}
			if i%16 != 0 {
				continue
			}
			got := newOf(v)
			if err := c.Decode(b, got, Limits{}); err != nil {
				t.Fatal(err)
			}
			checkEqual(t, got, v)
		}
	}
}

func TestPackersAreSafeForConcurrentUse(t *testing.T) {
	v := newPackable(40, false)
	c, p := codecOf(t, v), codecOf(t, v).NewPacker()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { // ends after its messages; the test waits
			for k := range 50 {
				path := compress.Path{BytesPerSecond: math.Pow(10, float64(k%10))}
				b, err := c.AppendWith(nil, v, AppendOptions{Packer: p, Path: path})
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.Decode(b, newOf(v), Limits{}); err != nil {
					t.Error(err)
					return
				}
				p.Stats(path)
				if i == 0 {
					_ = p.Pin("F64", k%2 == 0)
				}
			}
		})
	}
	wg.Wait()
}

// TestTimesThatNanosecondsDoNotReach go as they are.
func TestTimesThatNanosecondsDoNotReach(t *testing.T) {
	type times struct{ T []time.Time }
	for _, odd := range []time.Time{{}, time.Date(9999, 1, 1, 0, 0, 0, 1, time.UTC), firstNano.UTC(), lastNano.UTC(), time.Unix(-1, 1).UTC()} {
		v := &times{make([]time.Time, 50)}
		for i := range v.T {
			v.T[i] = time.Unix(int64(i), 5).UTC()
		}
		v.T[7] = odd
		got := newOf(v)
		if err := codecOf(t, v).Decode(packedOf(t, v), got, Limits{}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, any(v)) {
			t.Errorf("%v came back as %v", odd, got.(*times).T[7])
		}
	}
}
