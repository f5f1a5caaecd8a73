package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

var metadataCases = []struct {
	name string
	md   []Pair
}{
	{"nothing", nil},
	{"one pair", []Pair{{"authorization", "token"}}},
	{"a repeated key keeps its order", []Pair{{"a", "2"}, {"b", "x"}, {"a", "1"}}},
	{"values are any bytes", []Pair{{"bin", "\x00\xff\xfe"}, {"empty", ""}}},
	{"long heads", []Pair{{strings.Repeat("k", 200), strings.Repeat("v", 40000)}}},
	{"the largest number of pairs", make([]Pair, 0)},
}

func init() {
	last := &metadataCases[len(metadataCases)-1]
	for range MaxMetadataPairs {
		last.md = append(last.md, Pair{"k", "v"})
	}
}

func TestMetadataRoundTrip(t *testing.T) {
	for _, c := range metadataCases {
		t.Run(c.name, func(t *testing.T) {
			b := AppendMetadata(nil, c.md)
			if got := MetadataBytes(c.md); got != len(b) {
				t.Errorf("MetadataBytes is %d, the encoding has %d bytes", got, len(b))
			}
			md, n, err := ParseMetadata(append(b, "more"...))
			if err != nil || n != len(b) || !reflect.DeepEqual(md, c.md) {
				t.Errorf("parsed %v, %d bytes of %d, %v", md, n, len(b), err)
			}
			for i := 0; i < len(b); i += 1 + i/64 {
				if _, _, err := ParseMetadata(b[:i]); err == nil {
					t.Errorf("the first %d of %d bytes were accepted", i, len(b))
				}
			}
		})
	}
}

func TestMetadataRefused(t *testing.T) {
	big := Pair{"k", strings.Repeat("v", MaxMetadataBytes/2)}
	limit := []struct {
		name string
		md   []Pair
	}{
		{"too many pairs", make([]Pair, MaxMetadataPairs+1)},
		{"one value too large", []Pair{{"k", strings.Repeat("v", MaxMetadataBytes+1)}}},
		{"values too large together", []Pair{big, big}},
		{"key too long", []Pair{{strings.Repeat("k", MaxMetadataKeyBytes+1), ""}}},
	}
	for _, c := range limit {
		var le *LimitError
		if _, _, err := ParseMetadata(AppendMetadata(nil, c.md)); !errors.As(err, &le) {
			t.Errorf("%s: got error %v, want a LimitError", c.name, err)
		}
	}
	format := []struct {
		name string
		b    []byte
	}{
		{"key in upper case", AppendMetadata(nil, []Pair{{"Key", "v"}})},
		{"empty key", AppendMetadata(nil, []Pair{{"", "v"}})},
		{"key without value", []byte{0x81, 0x61, 'k'}},
		{"value as text", []byte{0x82, 0x61, 'k', 0x61, 'v'}},
		{"a map", []byte{0xa1, 0x61, 'k', 0x41, 'v'}},
		{"indefinite length", []byte{0x9f, 0x61, 'k', 0x41, 'v', 0xff}},
		{"more pairs than bytes", []byte{0x99, 0x07, 0xfe}},
	}
	for _, c := range format {
		var fe *FormatError
		if _, _, err := ParseMetadata(c.b); !errors.As(err, &fe) {
			t.Errorf("%s: got error %v, want a FormatError", c.name, err)
		}
	}
}

func TestMetadataAllocations(t *testing.T) {
	b := AppendMetadata(nil, []Pair{{"authorization", "token"}, {"trace", "0123456789"}})
	if n := testing.AllocsPerRun(100, func() { _, _, _ = ParseMetadata(b) }); n > 2 {
		t.Errorf("ParseMetadata makes %v allocations, want one for the pairs and one for the text", n)
	}
	bad := AppendMetadata(nil, append(make([]Pair, 0, 2), Pair{"a", "1"}, Pair{"B", "2"}))
	if n := testing.AllocsPerRun(100, func() { _, _, _ = ParseMetadata(bad) }); n > 1 {
		t.Errorf("refusing makes %v allocations, want one for the error", n)
	}
}

func FuzzParseMetadata(f *testing.F) {
	for _, c := range metadataCases {
		f.Add(AppendMetadata(nil, c.md))
	}
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe})
	f.Fuzz(func(t *testing.T, b []byte) {
		md, n, err := ParseMetadata(b)
		if err != nil {
			if md != nil || n != 0 {
				t.Fatalf("refused input left %v and %d bytes consumed", md, n)
			}
			return
		}
		if n > len(b) || n > MaxMetadataBytes || len(md) > MaxMetadataPairs {
			t.Fatalf("accepted %d pairs in %d bytes of %d", len(md), n, len(b))
		}
		if again := AppendMetadata(nil, md); !bytes.Equal(again, b[:n]) {
			t.Fatalf("accepted %x, encodes as %x", b[:n], again)
		}
	})
}
