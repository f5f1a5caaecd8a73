package compress

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"
)

// checkColumn encodes and decodes a typed column, and compares with the same as bytes.
func checkColumn[T Number](t *testing.T, name string, v []T) {
	t.Helper()
	b, err := AppendColumn([]byte("before"), v, math.MaxInt)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if want := encode(t, CodecOf[T](), bytesOf(v)); string(b) != "before"+string(want) {
		t.Errorf("%s: as %T it is not encoded as its bytes are", name, v)
	}
	got, err := DecodeColumn([]T{3}, b[6:], len(bytesOf(v)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if got[0] != 3 || !bytes.Equal(bytesOf(got[1:]), bytesOf(v)) {
		t.Errorf("%s: %T came back different", name, v)
	}
	if got, err := DecodeColumn([]T{3}, b[6:len(b)-1], len(bytesOf(v))); err == nil || len(got) != 1 {
		t.Errorf("%s: a byte less: %d elements, %v", name, len(got), err)
	}
}

func TestTypedColumns(t *testing.T) {
	for _, n := range []int{1, 2, 3, 100, 1500} {
		checkColumn(t, "timestamps", timestamps(n))
		checkColumn(t, "timestamps", to32[int64, uint64](timestamps(n)))
		checkColumn(t, "counters", to32[int64, int32](counter(n)))
		checkColumn(t, "counters", to32[int64, uint32](counter(n)))
		checkColumn(t, "temperatures", walk(n))
		checkColumn(t, "temperatures", to32[float64, float32](walk(n)))
	}
	checkColumn(t, "extremes", []int64{math.MinInt64, math.MaxInt64, 0, math.MinInt64})
	checkColumn(t, "extremes", []uint64{math.MaxUint64, 0, 1 << 63})
	checkColumn(t, "extremes", []int32{math.MinInt32, math.MaxInt32, 0, math.MinInt32})
	checkColumn(t, "extremes", []uint32{math.MaxUint32, 0, 1 << 31})
}

// Bits of NaNs are compared: bytesOf keeps them.
func TestFloatsAreExact(t *testing.T) {
	checkColumn(t, "special", special())
	checkColumn(t, "special", special32())
	for _, c := range []struct {
		codec Codec
		plain []byte
	}{{Decimal64, bytesOf(special())}, {Decimal32, bytesOf(special32())}} {
		if b := encode(t, c.codec, c.plain); b[2] == rawBlock {
			t.Errorf("%v: the block is raw, so this shows nothing", c.codec)
		}
	}
	for width := range 64 { // every exponent of decimals, near the largest integers
		v := make([]float64, 50)
		for i := range v {
			v[i] = float64(int64(1)<<width+int64(i)) / powers[width%16]
		}
		checkColumn(t, "powers", v)
	}
}

func TestColumnsThatAreNone(t *testing.T) {
	for _, c := range []struct {
		name, bytes string // hexadecimal, spaces between the parts
		codec       Codec
		reason      string
	}{
		{"no size", "ff", Delta64, "no plain size"},
		{"half an element", "0c 00 00 0000", Delta64, "ends within an element"},
		{"no block", "08", Delta64, "ends early"},
		{"order 3", "20 c0 00 00 00 00 00 00", Delta64, "differenced too often"},
		{"order 2 of one element", "08 80 00 00 00 00", Delta64, "differenced too often"},
		{"packed too short", "08 3f 00 00000000000000", Delta64, "ends early"},
		{"a number of 11 bytes", "08 00 ffffffffffffffffffff01 00 00", Delta64, "a number that"},
		{"two exceptions for one element", "08 00 00 00 02 00 01 00 01", Delta64, "more exceptions"},
		{"an exception behind the end", "08 00 00 00 01 01 01", Delta64, "behind the elements"},
		{"an exception twice, then behind the end", "10 00 00 00 02 01 01 00 01", Delta64, "behind the elements"},
		{"65 bits", "08 3f 00 0000000000000000 01 00 01", Delta64, "more than 64 bits"},
		{"raw too short", "08 ff 00000000000000", Delta64, "ends early"},
		{"a byte more", "08 00 00 00 00 00", Delta64, "bytes follow"},
		{"exponent 16", "08 10 00 00 00 00 00", Decimal64, "exponent too large"},
		{"raw integers", "08 00 ff 0000000000000000 00", Decimal64, "differenced too often"},
		{"an exception too short", "04 00 00 00 00 00 01 00 000000", Decimal32, "ends early"},
		{"an exception behind the end", "04 00 00 00 00 00 01 01 00000000", Decimal32, "behind the elements"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(c.bytes, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if _, err := Decode(nil, b, c.codec, 1<<20); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %q", c.name, err, c.reason)
		}
	}
}

func TestEveryWidthAndOrder(t *testing.T) {
	r := rnd(9)
	for width := 1; width <= 64; width++ {
		for order := range 3 {
			v := make([]uint64, 300)
			for i := range v {
				v[i] = r.Uint64() >> (64 - width)
			}
			for range order { // sums of order width
				for i := 1; i < len(v); i++ {
					v[i] += v[i-1]
				}
			}
			if r.IntN(2) == 0 {
				v[r.IntN(len(v))] = r.Uint64()
			}
			checkColumn(t, "sums", v)
			if b, err := AppendColumn(nil, v, math.MaxInt); err != nil || len(b) > len(v)*(width+2)/8+60 {
				t.Errorf("%d values of %d bits, summed %d times: %d bytes, %v", len(v), width, order, len(b), err)
			}
		}
	}
}

// Ratios are gated, times are not: they depend on the machine.
func TestRatios(t *testing.T) {
	for _, c := range []struct {
		name  string
		codec Codec
		plain []byte
		least float64
	}{
		{"log text", S2, logText(64 << 10), 3},
		{"log text", Zstd, logText(64 << 10), 5},
		{"timestamps", Delta64, bytesOf(timestamps(1024)), 2.8},
		{"counter", Delta64, bytesOf(counter(1024)), 14},
		{"walk", Decimal64, bytesOf(walk(1024)), 18},
		{"walk", Decimal32, bytesOf(to32[float64, float32](walk(1024))), 9},
		{"voltage", Decimal64, bytesOf(voltage(1024)), 7.8},
	} {
		if got := float64(len(c.plain)) / float64(len(encode(t, c.codec, c.plain))); got < c.least {
			t.Errorf("%v of %s: ratio %.2f, want %.2f", c.codec, c.name, got, c.least)
		}
	}
	outlier := timestamps(1024)
	outlier[500] = 0
	plain, with := len(encode(t, Delta64, bytesOf(timestamps(1024)))), len(encode(t, Delta64, bytesOf(outlier)))
	if with > plain+1024/8+40 { // a bit more for each value, for a base that is not in the middle
		t.Errorf("one outlier costs %d bytes", with-plain)
	}
}

// TestElementsAnywhere: elements that are not next to each other, of a width of their own, are encoded as a column is.
func TestElementsAnywhere(t *testing.T) {
	type reading struct {
		at    int64
		level uint16
	}
	rows := make([]reading, 1500)
	at := timestamps(len(rows))
	levels := make([]int32, len(rows))
	for i := range rows {
		levels[i] = int32(i * 7 % 65536)
		rows[i] = reading{at[i], uint16(levels[i])}
	}
	b, err := AppendElements(nil, Delta32, len(rows), 1<<20, func(out []uint64, at int) {
		for i := range out {
			out[i] = uint64(rows[at+i].level)
		}
	})
	if want := encode(t, Delta32, bytesOf(levels)); err != nil || !bytes.Equal(b, want) {
		t.Fatalf("%x, %v", b, err)
	}
	got := make([]reading, len(rows))
	store := func(in []uint64, at int) {
		for i, x := range in {
			got[at+i].level = uint16(x)
		}
	}
	if err := DecodeElements(b, Delta32, len(rows), store); err != nil || got[1499].level != rows[1499].level {
		t.Errorf("%v, %v", got[1499], err)
	}
	for n, c := range map[int]Codec{len(rows) - 1: Delta32, len(rows) + 1: Delta32, len(b): None, 0: S2} {
		if err := DecodeElements(b, c, n, store); err == nil {
			t.Errorf("%d elements of %v were accepted", n, c)
		}
	}
	if b, err := AppendElements([]byte("x"), S2, 1, 100, nil); err != ErrCodec || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}
