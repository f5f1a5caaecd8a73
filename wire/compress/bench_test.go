package compress

import (
	"fmt"
	"testing"
)

var benchData = []struct {
	name   string
	plain  []byte
	codecs []Codec
}{
	{"log", logText(64 << 10), []Codec{S2, Zstd}},
	{"noise", noise(64 << 10), []Codec{S2, Zstd}},
	{"timestamps", bytesOf(timestamps(8192)), []Codec{Delta64, S2, Zstd}},
	{"counter", bytesOf(counter(8192)), []Codec{Delta64, S2, Zstd}},
	{"walk", bytesOf(walk(8192)), []Codec{Decimal64, S2, Zstd}},
	{"walk32", bytesOf(to32[float64, float32](walk(16384))), []Codec{Decimal32, S2, Zstd}},
	{"voltage", bytesOf(voltage(8192)), []Codec{Decimal64, S2, Zstd}},
	{"mantissas", bytesOf(mantissas(8192)), []Codec{Decimal64, S2, Zstd}},
}

// BenchmarkCodecs encodes and decodes blocks of 64 KiB.
func BenchmarkCodecs(b *testing.B) {
	for _, d := range benchData {
		for _, c := range d.codecs {
			e := encode(b, c, d.plain)
			ratio := float64(len(d.plain)) / float64(len(e))
			buf, plain := make([]byte, 0, 128<<10), make([]byte, 0, 128<<10)
			b.Run(fmt.Sprintf("%s/%v/encode", d.name, c), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(d.plain)))
				for b.Loop() {
					if _, err := Append(buf, d.plain, c, 1<<20); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(ratio, "ratio")
			})
			b.Run(fmt.Sprintf("%s/%v/decode", d.name, c), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(d.plain)))
				for b.Loop() {
					if _, err := Decode(plain, e, c, 1<<20); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkTypedColumn(b *testing.B) {
	v := walk(1024)
	e, err := AppendColumn(nil, v, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(8 * 1024)
		buf := make([]byte, 0, 16<<10)
		for b.Loop() {
			if _, err := AppendColumn(buf, v, 1<<20); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(8 * 1024)
		out := make([]float64, 0, 1024)
		for b.Loop() {
			if _, err := DecodeColumn(out, e, 1<<20); err != nil {
				b.Fatal(err)
			}
		}
	})
}
