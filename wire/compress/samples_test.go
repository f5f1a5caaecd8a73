package compress

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

func rnd(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 42)) }

// logText returns n bytes of a service log: few templates, many numbers.
func logText(n int) []byte {
	r := rnd(1)
	levels := []string{"INFO", "INFO", "INFO", "DEBUG", "WARN"}
	texts := []string{"request served path=/api/v2/items/%d status=200 bytes=%d", "cache miss key=user:%d ttl=%d",
		"retry upstream=node-%d attempt=%d", "slow query table=orders rows=%d took_ms=%d"}
	var b []byte
	for ms := 0; len(b) < n; ms += r.IntN(40) {
		b = fmt.Appendf(b, "2026-01-17T08:%02d:%02d.%03dZ %s svc=gateway-%d ", ms/60000%60, ms/1000%60, ms%1000,
			levels[r.IntN(len(levels))], r.IntN(8))
		b = fmt.Appendf(b, texts[r.IntN(len(texts))], r.IntN(1<<20), r.IntN(9999))
		b = append(b, '\n')
	}
	return b[:n]
}

// noise returns n bytes that nothing makes smaller.
func noise(n int) []byte {
	b := make([]byte, 0, n+8)
	for r := rnd(2); len(b) < n; {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// timestamps are in nanoseconds, 1 s apart give or take 1 ms.
func timestamps(n int) []int64 {
	r, v, ts := rnd(3), make([]int64, n), int64(1768636800_000000000)
	for i := range v {
		ts += 1_000_000_000 + r.Int64N(2_000_000) - 1_000_000
		v[i] = ts
	}
	return v
}

// counter goes up by 0 to 9.
func counter(n int) []int64 {
	r, v, c := rnd(4), make([]int64, n), int64(1<<40)
	for i := range v {
		c += r.Int64N(10)
		v[i] = c
	}
	return v
}

// walk moves in steps of 0.01, as a temperature does.
func walk(n int) []float64 {
	r, v, x := rnd(5), make([]float64, n), 21.5
	for i := range v {
		x += float64(r.IntN(7)-3) / 100
		v[i] = math.Round(x*100) / 100
	}
	return v
}

// voltage is noisy, in steps of 0.001.
func voltage(n int) []float64 {
	r, v := rnd(6), make([]float64, n)
	for i := range v {
		v[i] = math.Round((3.3+r.NormFloat64()*0.02)*1000) / 1000
	}
	return v
}

// mantissas has noise in all bits of the mantissa.
func mantissas(n int) []float64 {
	r, v := rnd(7), make([]float64, n)
	for i := range v {
		v[i] = r.NormFloat64() * 9.81
	}
	return v
}

// special has every float64 that is easily lost, between ordinary ones.
func special() []float64 {
	v := walk(100)
	for i, b := range []uint64{
		1 << 63,                                // -0
		0x7ff8000000000001, 0x7ff8deadbeef0000, // quiet NaNs with payloads
		0x7ff0000000000001, 0xfff4000000000002, // signaling NaNs
		0x7ff0000000000000, 0xfff0000000000000, // infinities
		1, 1<<63 | 1, 1<<52 - 1, // subnormals
		0x7fefffffffffffff, // the largest
	} {
		v[7*i] = math.Float64frombits(b)
	}
	return v
}

// special32 is special for float32.
func special32() []float32 {
	var v []float32
	for _, x := range walk(100) {
		v = append(v, float32(x))
	}
	for i, b := range []uint32{1 << 31, 0x7fc00001, 0x7fdead00, 0x7f800001, 0xffa00002, 0x7f800000, 0xff800000,
		1, 1<<31 | 1, 1<<23 - 1, 0x7f7fffff} {
		v[7*i] = math.Float32frombits(b)
	}
	return v
}

// bytesOf returns a column as little-endian bytes.
func bytesOf[T Number](v []T) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err)
	}
	return b
}

func to32[F, T Number](v []F) []T {
	out := make([]T, len(v))
	for i, x := range v {
		out[i] = T(x)
	}
	return out
}

// sample is plain bytes with a codec for them.
type sample struct {
	name  string
	codec Codec
	plain []byte
}

func samples() []sample {
	jumps := counter(3000) // a clock that is set, a sentinel
	jumps[700] -= 1 << 50
	for i := 1500; i < 3000; i++ {
		jumps[i] += 1 << 45
	}
	jumps[2000] = -1
	extremes := []int64{0, math.MaxInt64, math.MinInt64, -1, 1, math.MinInt64, math.MaxInt64, 0}
	mixed := append(append(walk(1024), mantissas(1024)...), voltage(500)...)
	var s []sample
	for _, c := range []Codec{None, S2, Zstd, Blocks} {
		s = append(s,
			sample{"nothing", c, nil},
			sample{"a byte", c, []byte{7}},
			sample{"log text", c, logText(5000)},
			sample{"noise", c, noise(5000)},
			sample{"zeros", c, make([]byte, 5000)})
	}
	for _, n := range []int{0, 1, 2, 3, 1023, 1024, 1025, 2048} {
		s = append(s,
			sample{fmt.Sprintf("%d timestamps", n), Delta64, bytesOf(timestamps(n))},
			sample{fmt.Sprintf("%d counts", n), Delta32, bytesOf(to32[int64, int32](counter(n)))},
			sample{fmt.Sprintf("%d temperatures", n), Decimal64, bytesOf(walk(n))},
			sample{fmt.Sprintf("%d temperatures", n), Decimal32, bytesOf(to32[float64, float32](walk(n)))})
	}
	for _, n := range []int{BlockBytes - 1, BlockBytes, BlockBytes + 1, 3 * BlockBytes} {
		s = append(s, sample{fmt.Sprintf("%d bytes of text", n), Blocks, logText(n)})
	}
	return append(s,
		sample{"zeros", Blocks, make([]byte, 1<<20)},
		sample{"noise", Blocks, noise(2*BlockBytes + 5)},
		sample{"text, noise, text", Blocks, slices.Concat(logText(BlockBytes), noise(BlockBytes), logText(1000))},
		sample{"jumps", Delta64, bytesOf(jumps)},
		sample{"extremes", Delta64, bytesOf(extremes)},
		sample{"noise", Delta64, noise(8 * 1500)},
		sample{"noise", Delta32, noise(4 * 1500)},
		sample{"zeros", Delta64, make([]byte, 8*1500)},
		sample{"special", Decimal64, bytesOf(special())},
		sample{"special", Decimal32, bytesOf(special32())},
		sample{"decimals, mantissas, decimals", Decimal64, bytesOf(mixed)},
		sample{"noise", Decimal64, noise(8 * 1500)},
		sample{"noise", Decimal32, noise(4 * 1500)},
		sample{"zeros", Decimal64, make([]byte, 8*1500)})
}
