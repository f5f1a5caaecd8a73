//go:build !race

package compress

import "testing"

// TestAllocationBudgets keeps encoding and decoding into memory that is there from allocating. With the race detector
// pools forget what they have.
func TestAllocationBudgets(t *testing.T) {
	buf, plain := make([]byte, 0, 256<<10), make([]byte, 0, 256<<10)
	for _, d := range benchData {
		for _, c := range d.codecs {
			e := encode(t, c, d.plain)
			if n := testing.AllocsPerRun(20, func() { _, _ = Append(buf, d.plain, c, 1<<20) }); n > 0 {
				t.Errorf("%s: encoding with %v allocates %v times", d.name, c, n)
			}
			if n := testing.AllocsPerRun(20, func() { _, _ = Try(buf, d.plain, c) }); n > 0 {
				t.Errorf("%s: trying %v allocates %v times", d.name, c, n)
			}
			if n := testing.AllocsPerRun(20, func() { _, _ = Decode(plain, e, c, 1<<20) }); n > 0 {
				t.Errorf("%s: decoding with %v allocates %v times", d.name, c, n)
			}
		}
	}
	text, all := logText(400<<10), make([]byte, 0, 1<<20)
	blocks := encode(t, Blocks, text)
	if n := testing.AllocsPerRun(20, func() { _, _ = Append(all, text, Blocks, 1<<20) }); n > 0 {
		t.Errorf("encoding blocks allocates %v times", n)
	}
	if n := testing.AllocsPerRun(20, func() { _, _ = Decode(all, blocks, Blocks, 1<<20) }); n > 0 {
		t.Errorf("decoding blocks allocates %v times", n)
	}
	column, out := walk(1024), make([]float64, 0, 1024)
	e, err := AppendColumn(nil, column, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() { _, _ = AppendColumn(buf, column, 1<<20) }); n > 0 {
		t.Errorf("encoding a column allocates %v times", n)
	}
	if n := testing.AllocsPerRun(20, func() { _, _ = DecodeColumn(out, e, 1<<20) }); n > 0 {
		t.Errorf("decoding a column allocates %v times", n)
	}
}
