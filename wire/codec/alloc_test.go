//go:build !race

package codec

import (
	"testing"
)

// TestAllocationBudgets keeps the hot paths from allocating more. The race detector allocates itself.
func TestAllocationBudgets(t *testing.T) {
	call, envelope, floats := &Call{"get", 7, "k/1", 3, true}, newEnvelope(128), &Samples{newEnvelope(128).Args.Samples}
	evolved := &CallV2{"k/1", "get", "a note", 7, true, []string{"x", "y"}}
	buf := make([]byte, 0, 8<<10)
	for _, test := range []struct {
		name           string
		v              any
		encode, decode float64 // decoding into a new value, without that value
	}{
		{"call", call, 0, 1},
		{"envelope", envelope, 0, 24},
		{"floats", floats, 0, 1},
		{"empty", &Empty{}, 0, 0},
	} {
		c, msg := codecOf(t, test.v), appendOf(t, test.v)
		if n := testing.AllocsPerRun(100, func() { _, _ = c.Append(buf, test.v) }); n > test.encode {
			t.Errorf("%s: encoding allocates %v times, budget %v", test.name, n, test.encode)
		}
		spans := make([]Span, 0, 64)
		if n := testing.AllocsPerRun(100, func() {
			spans = spans[:0]
			_, _ = c.AppendWith(buf, test.v, AppendOptions{Spans: &spans})
		}); n > test.encode {
			t.Errorf("%s: encoding with spans allocates %v times, budget %v", test.name, n, test.encode)
		}
		n := testing.AllocsPerRun(100, func() { _ = c.Decode(msg, newOf(test.v), Limits{}) })
		if n > test.decode+1 {
			t.Errorf("%s: decoding allocates %v times, budget %v", test.name, n, test.decode+1)
		}
	}
	for _, test := range []struct {
		name   string
		v      any
		decode float64
	}{
		{"packed columns", newColumns(1024), 4},
		{"packed rows", newBatch(100), 4}, // the site, the rows, a dictionary and the copy that its texts are cut from
	} {
		c, msg, p := codecOf(t, test.v), packedOf(t, test.v), pinnedPacker(t, test.v)
		buf := make([]byte, 0, 64<<10)
		if n := testing.AllocsPerRun(100, func() { _, _ = c.AppendWith(buf, test.v, AppendOptions{Packer: p}) }); n > 0 {
			t.Errorf("%s: encoding allocates %v times", test.name, n)
		}
		idle := c.NewPacker()
		if n := testing.AllocsPerRun(100, func() { _, _ = c.AppendWith(buf, test.v, AppendOptions{Packer: idle}) }); n > 0 {
			t.Errorf("%s: choosing allocates %v times", test.name, n)
		}
		if n := testing.AllocsPerRun(100, func() { _ = c.Decode(msg, newOf(test.v), Limits{}) }); n > test.decode+1 {
			t.Errorf("%s: decoding allocates %v times, budget %v", test.name, n, test.decode+1)
		}
		reused := newOf(test.v)
		if n := testing.AllocsPerRun(100, func() { _ = c.Decode(msg, reused, Limits{}) }); test.name == "packed columns" && n > 0 {
			t.Errorf("%s: decoding into memory that is there allocates %v times", test.name, n)
		}
	}
	rd, err := codecOf(t, call).Reader(codecOf(t, evolved).Schema())
	if err != nil {
		t.Fatal(err)
	}
	msg := appendOf(t, evolved)
	if n := testing.AllocsPerRun(100, func() { _ = rd.Decode(msg, new(Call), Limits{}) }); n > 2 {
		t.Errorf("decoding what an evolved writer sends allocates %v times, budget 2", n)
	}
}
