package transfer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestRangeSetIsASet compares with a slow obvious set.
func TestRangeSetIsASet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var s RangeSet
		var oracle [64]bool
		for range 40 {
			off := rnd.Int64N(64)
			r := Range{off, rnd.Int64N(min(9, 65-off))}
			if rnd.IntN(4) == 0 {
				n := rnd.Int64N(8)
				for _, part := range s.take(n) {
					for i := part.Offset; i < part.end(); i++ {
						if !oracle[i] {
							t.Fatalf("took %d, which was not there", i)
						}
						oracle[i] = false
						n--
					}
				}
				if n > 0 && len(s.list) > 0 {
					t.Fatal("took too little")
				}
			} else {
				if err := s.Add(r); err != nil {
					t.Fatal(err)
				}
				for i := r.Offset; i < r.end(); i++ {
					oracle[i] = true
				}
			}
			if rangesOf(oracle[:]) == nil != (s.Bytes() == 0) || !slices.Equal(s.Ranges(), rangesOf(oracle[:])) {
				t.Fatalf("got %v, want %v", s.Ranges(), rangesOf(oracle[:]))
			}
			part := Range{rnd.Int64N(32), rnd.Int64N(32)}
			inverse := make([]bool, part.end())
			all := true
			for i := part.Offset; i < part.end(); i++ {
				inverse[i] = !oracle[i]
				all = all && oracle[i]
			}
			if got := s.Missing(part); !slices.Equal(got, rangesOf(inverse)) {
				t.Fatalf("missing of %v: got %v, want %v", part, got, rangesOf(inverse))
			}
			if s.Contains(part) != all {
				t.Fatalf("contains %v: got %v", part, !all)
			}
			if prefix := slices.Index(append(oracle[:], false), false); s.Prefix() != int64(prefix) {
				t.Fatalf("prefix %d, want %d", s.Prefix(), prefix)
			}
		}
	}
}

func rangesOf(set []bool) (list []Range) {
	for i := 0; i < len(set); i++ {
		if begin := i; set[i] {
			for i < len(set) && set[i] {
				i++
			}
			list = append(list, Range{int64(begin), int64(i - begin)})
		}
	}
	return list
}

func TestRangeSetIsBounded(t *testing.T) {
	var s RangeSet
	for i := range int64(MaxRanges) {
		if err := s.Add(Range{2 * i, 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(Range{3 * MaxRanges, 1}); !errors.As(err, new(*LimitError)) {
		t.Errorf("one more: %v", err)
	}
	if err := s.Add(Range{1, 1}); err != nil || len(s.list) != MaxRanges-1 {
		t.Errorf("closing a gap: %v", err)
	}
	for _, r := range []Range{{-1, 1}, {0, -1}, {MaxSize, 1}, {1, 1<<63 - 1}} {
		if err := s.Add(r); !errors.As(err, new(*ProtocolError)) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func FuzzRangeSet(f *testing.F) {
	for _, list := range [][]Range{nil, {{0, 1}}, {{5, 10}, {20, 1}}, {{0, MaxSize}}} {
		f.Add((&RangeSet{list}).Append(nil))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{1, 0x80, 0, 1})
	f.Add([]byte{2, 0, 1, 0, 1}) // two that touch
	f.Fuzz(func(t *testing.T, b []byte) {
		s, n, err := ParseRangeSet(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Append(nil), b[:n]) {
			t.Fatalf("%x is accepted and written as %x", b[:n], s.Append(nil))
		}
		var again RangeSet
		for _, r := range s.Ranges() {
			if err := again.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(s.list, again.list) {
			t.Fatalf("%v is not canonical", s.list)
		}
	})
}

func FuzzJournal(f *testing.F) {
	for _, j := range []journal{
		{m: Manifest{ID: idOf("a"), Size: -1, Leaf: MinLeafBytes}},
		{m: Manifest{ID: idOf("a"), Size: 3*MinLeafBytes + 1, Leaf: MinLeafBytes}, have: RangeSet{[]Range{{0, MinLeafBytes}, {2 * MinLeafBytes, MinLeafBytes + 1}}}},
	} {
		f.Add(j.append(nil), false)
		f.Add(j.append(nil)[:len(j.append(nil))-HashBytes], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal { // past the hash, which no fuzzer finds
			b = sealed(b)
		}
		j, err := parseJournal(b)
		if err != nil {
			return
		}
		if !bytes.Equal(j.append(nil), b) {
			t.Fatalf("%x is accepted and written as %x", b, j.append(nil))
		}
		if j.have.Bytes() > MaxSize || j.m.Size >= 0 && j.have.Bytes() > j.m.Size {
			t.Fatalf("more leaves than the object has: %+v", j)
		}
	})
}
