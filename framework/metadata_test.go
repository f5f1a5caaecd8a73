package framework

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

func TestMetadataKeepsOrderAndIgnoresCase(t *testing.T) {
	var md Metadata
	md.Add("Tag", "2")
	md.Add("trace", "x")
	md.Add("tAG", "1")
	if got := md.Values("TAG"); !slices.Equal(got, []string{"2", "1"}) {
		t.Errorf("values %q, want 2 and 1 in this order", got)
	}
	if md.Get("tag") != "2" || md.Get("none") != "" || md.Values("none") != nil || md.Len() != 3 {
		t.Errorf("got %q, %q, %d pairs", md.Get("tag"), md.Get("none"), md.Len())
	}
	md.Set("TRACE", "y")
	md.Del("tag")
	if got := maps.Collect(md.All()); len(got) != 1 || got["trace"] != "y" {
		t.Errorf("left over %v, want trace y", got)
	}
	for range md.All() {
		break // an iterator that ignores this panics
	}
}

func TestMetadataCopiesAreIndependent(t *testing.T) {
	var a Metadata
	for range 5 {
		a.Add("k", "v")
	}
	b, c := a, a
	b.Add("k", "b")
	c.Add("k", "c")
	c.Del("none")
	a.Del("k")
	if b.Values("k")[5] != "b" || c.Values("k")[5] != "c" || b.Len() != 6 || a.Len() != 0 {
		t.Errorf("a change showed in a copy: %v %v %v", a, b, c)
	}
}

func TestMetadataFromContext(t *testing.T) {
	parent := WithMetadata(t.Context(), "a", "1")
	child := WithMetadata(parent, "A", "2")
	if got := outgoingMetadata(child).Values("a"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("child sends %q", got)
	}
	if got := outgoingMetadata(parent).Len(); got != 1 {
		t.Errorf("parent sends %d pairs after the child was made", got)
	}
	handler := withIncomingMetadata(child, []wire.Pair{{Key: "in", Value: "x"}})
	if MetadataFrom(handler).Get("in") != "x" {
		t.Error("the handler does not see what was received")
	}
	if got := outgoingMetadata(handler); got.Len() != 0 {
		t.Errorf("calls of the handler would send %v", got)
	}
	if got := MetadataFrom(child); got.Len() != 0 {
		t.Errorf("the caller sees its own metadata as received: %v", got)
	}
}

func TestMetadataThatCannotBeSent(t *testing.T) {
	cases := []struct {
		name       string
		key, value string
		times      int
		want       string // part of the message; "" when it can be sent
	}{
		{"ordinary", "Authorization", "token", 1, ""},
		{"any bytes as a value", "bin", "\x00\xff", 1, ""},
		{"as many pairs as allowed", "k", "", wire.MaxMetadataPairs, ""},
		{"one pair too many", "k", "", wire.MaxMetadataPairs + 1, "1025 pairs exceeds the limit of 1024"},
		{"too many bytes", "k", strings.Repeat("v", 40000), 2, "80011 bytes exceeds the limit of 65536"},
		{"long key", strings.Repeat("k", 257), "", 1, "257 bytes exceeds the limit of 256"},
		{"empty key", "", "v", 1, `key ""`},
		{"space in key", "a b", "v", 1, `key "a b"`},
		{"letter that is not ASCII", "naïve", "v", 1, "characters"},
		{"reserved key", "Mycel-Trace", "v", 1, `"mycel-", which is reserved`},
	}
	for _, c := range cases {
		var md Metadata
		for range c.times {
			md.Add(c.key, c.value)
		}
		err := md.check()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if CodeOf(err) != InvalidArgument || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q in it", c.name, err, c.want)
		}
	}
}

func TestMetadataCostsNothingWhereThereIsNone(t *testing.T) {
	ctx := context.WithValue(t.Context(), unrelatedKey{}, 0)
	if n := testing.AllocsPerRun(100, func() { _ = outgoingMetadata(ctx).check() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type unrelatedKey struct{}
