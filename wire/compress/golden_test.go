package compress

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors anew: a change of the protocol")

// golden are small samples whose encodings stand in testdata/golden.txt.
var golden = []sample{
	{"nothing", S2, nil},
	{"text", S2, []byte("mycelium mycelium mycelium mycelium mycelium")},
	{"nothing", Zstd, nil},
	{"text", Zstd, []byte("mycelium mycelium mycelium mycelium mycelium")},
	{"nothing", Blocks, nil},
	{"text", Blocks, []byte("mycelium mycelium mycelium mycelium mycelium")},
	{"noise", Blocks, []byte("mycel")},
	{"nothing", Delta64, nil},
	{"one", Delta64, bytesOf([]int64{-3})},
	{"values", Delta64, bytesOf([]int64{5, 900, 17, 3, 512, 44, 801, 77, 9, 300})},
	{"differences", Delta64, bytesOf(counter(16))},
	{"differences of differences", Delta64, bytesOf([]int64{0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144, 169})},
	{"an exception", Delta64, bytesOf([]int64{1, 2, 3, 4, 5, 6, 7, 1 << 40, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})},
	{"from the largest to the least", Delta64, bytesOf([]int64{math.MaxInt64, math.MinInt64})},
	{"raw", Delta64, bytesOf([]int64{0x123456789abcdef0, -0x6edcba9876543210, 0x0fedcba987654321})},
	{"differences", Delta32, bytesOf([]int32{-9, -6, -3, 0, 3, 6, 9, 12, 15})},
	{"steps of 0.1", Decimal64, bytesOf([]float64{21.5, 21.6, 21.4, 21.5, 21.7, 21.9, 21.8, 21.6})},
	{"an exception", Decimal64, bytesOf([]float64{1.25, 1.5, 1.75, 2, 2.25, 2.5, math.Copysign(0, -1), 3, 3.25, 3.5})},
	{"raw", Decimal64, bytesOf([]float64{math.Pi, math.Inf(1)})},
	{"steps of 0.1", Decimal32, bytesOf([]float32{21.5, 21.6, 21.4, 21.5, 21.7, 21.9, 21.8, 21.6})},
}

// TestGoldenVectors compares what we write with testdata/golden.txt, and what that means. A later encoder may write other
// bytes for the same data; the old ones must still be read.
func TestGoldenVectors(t *testing.T) {
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		var b strings.Builder
		b.WriteString("# A change of what these bytes mean is a change of the protocol. Written by: go test -run Golden -update\n")
		for _, s := range golden {
			fmt.Fprintf(&b, "\n[%v: %s]\nbytes  %x\nplain  %x\n", s.codec, s.name, encode(t, s.codec, s.plain), s.plain)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries := strings.Split(string(text), "\n\n")[1:]
	if len(entries) != len(golden) {
		t.Fatalf("%d vectors, want %d", len(entries), len(golden))
	}
	for i, s := range golden {
		lines := strings.Split(strings.TrimSpace(entries[i]), "\n")
		if want := fmt.Sprintf("[%v: %s]", s.codec, s.name); lines[0] != want {
			t.Fatalf("vector %d is %s, want %s", i, lines[0], want)
		}
		b := unhex(t, strings.TrimPrefix(lines[1], "bytes"))
		if plain := unhex(t, strings.TrimPrefix(lines[2], "plain")); !bytes.Equal(plain, s.plain) {
			t.Errorf("%s: plain bytes are others", lines[0])
		}
		if got, err := Decode(nil, b, s.codec, len(s.plain)); err != nil || !bytes.Equal(got, s.plain) {
			t.Errorf("%s: means %x, %v", lines[0], got, err)
		}
		if got := encode(t, s.codec, s.plain); s.codec.ElementBytes() > 0 && !bytes.Equal(got, b) {
			t.Errorf("%s: written as %x", lines[0], got) // S2 and Zstd are free to find other matches
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
