package codec

import (
	"errors"
	"math"
	"math/big"
	"reflect"
	"testing"
	"time"
)

// TestAnyIsTheGenericForm compares our encoding and decoding of values of unknown type with those of fxamacker/cbor.
func TestAnyIsTheGenericForm(t *testing.T) {
	for _, v := range []any{
		nil, true, false, "", "x", 0, -1, 23, 24, int8(-5), uint16(500), int64(math.MinInt64), uint64(math.MaxInt64),
		uint64(math.MaxUint64), 1.5, float32(2.5), math.Inf(-1), []byte{}, []byte{1}, []byte(nil), []any{}, []any(nil),
		[]any{1, "x", []any{nil}}, map[string]any{}, map[string]any(nil), map[string]any{"a": map[string]any{"b": []any{1.5}}},
		[]int{1, 2}, map[string]int{"a": 1}, Small{5}, time.Unix(5, 6).UTC(), new(big.Int).Lsh(big.NewInt(1), 70),
		[3]byte{1, 2, 3}, ptr("x"),
	} {
		c := codecOf(t, &v)
		ours, err := c.Append(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := c.AppendGeneric(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		if string(ours) != string(theirs) {
			t.Errorf("%#v: encoded as % x, want % x", v, ours, theirs)
		}
		var got, want any
		if err := c.Decode(ours, &got, Limits{}); err != nil {
			t.Fatal(err)
		}
		if err := decMode.Unmarshal(theirs, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%#v: decoded as %#v, want %#v", v, got, want)
		}
	}
}

func FuzzAny(f *testing.F) {
	for _, v := range samples() {
		generic, err := codecOf(f, v).AppendGeneric(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(generic)
		f.Add(appendOf(f, v))
	}
	c := codecOf(f, ptr(any(nil)))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var got, want any
		err, theirErr := c.Decode(msg, &got, Limits{}), decMode.Unmarshal(msg, &want)
		if err == nil && theirErr != nil {
			t.Fatalf("accepted % x as %#v, but fxamacker/cbor: %v", msg, got, theirErr)
		}
		if err == nil && !equal(reflect.ValueOf(&got).Elem(), reflect.ValueOf(&want).Elem()) {
			t.Fatalf("% x\ngot  %#v\nwant %#v", msg, got, want)
		}
	})
}

func TestCyclicAnyIsAnError(t *testing.T) {
	loop := []any{nil}
	loop[0] = loop
	var v any = loop
	var ee *EncodeError
	if _, err := codecOf(t, &v).Append(nil, &v); !errors.As(err, &ee) {
		t.Fatal("a list that contains itself was encoded")
	}
}

func TestGenericListIsChargedWithTheSizeOfItsElements(t *testing.T) {
	type fat struct{ A [64]string }
	var v []fat
	msg := append([]byte{0x9a, 0, 1, 0, 0}, make([]byte, 1<<16)...) // 65536 zeros: the decoder makes the list first
	var le *LimitError
	if err := codecOf(t, &v).DecodeGeneric(msg, &v, Limits{MaxMemoryBytes: 1 << 20}); !errors.As(err, &le) {
		t.Fatal(err)
	}
	if le.Got != 1<<16*1024 {
		t.Error(le)
	}
}
