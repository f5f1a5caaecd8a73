package codec

import (
	"bytes"
	"math"
	"reflect"
	"testing"
)

func TestSwapTurnsEachNumber(t *testing.T) {
	for width, want := range map[int][]byte{
		1: {1, 2, 3, 4, 5, 6, 7, 8}, 2: {2, 1, 4, 3, 6, 5, 8, 7}, 4: {4, 3, 2, 1, 8, 7, 6, 5}, 8: {8, 7, 6, 5, 4, 3, 2, 1},
	} {
		p := []byte{1, 2, 3, 4, 5, 6, 7, 8}
		if swap(p, width); !bytes.Equal(p, want) {
			t.Errorf("width %d: got %v, want %v", width, p, want)
		}
	}
}

// TestBothFormsOfNumbersAreRead sends the same numbers as a typed array and as plain CBOR.
func TestBothFormsOfNumbersAreRead(t *testing.T) {
	type typed struct {
		I []int32
		F [9]float64
	}
	type plain struct {
		I []int32    `cbor:",plain"`
		F [9]float64 `cbor:",plain"`
	}
	v := typed{I: numbersOf[int32](9), F: [9]float64{math.Inf(1), math.Copysign(0, -1), 1.5}}
	p := plain(v)
	short, long := appendOf(t, &p), appendOf(t, &v)
	if bytes.Equal(short, long) {
		t.Fatal("the option plain changes nothing")
	}
	if codecOf(t, &p).Schema().Name() != "plain" {
		t.Error(codecOf(t, &p).Schema())
	}
	for _, msg := range [][]byte{short, long} {
		var a typed
		var b plain
		if err := codecOf(t, &a).Decode(msg, &a, Limits{}); err != nil {
			t.Fatal(err)
		}
		if err := codecOf(t, &b).Decode(msg, &b, Limits{}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, v) || !reflect.DeepEqual(b, p) {
			t.Errorf("got %v and %v, want %v", a, b, v)
		}
	}
}

func TestNaNPayloadsSurvive(t *testing.T) {
	type floats struct {
		A float32
		B float64
		C []float64
		D any
	}
	nan := math.Float64frombits(0x7ff8_0000_dead_beef)
	v := floats{math.Float32frombits(0x7fc0_beef), nan, []float64{nan, 8: -nan}, nan}
	var got floats
	if err := codecOf(t, &v).Decode(appendOf(t, &v), &got, Limits{}); err != nil {
		t.Fatal(err)
	}
	if !equal(reflect.ValueOf(got), reflect.ValueOf(v)) {
		t.Errorf("got %#v, want %#v", got, v)
	}
}

func TestNumbersReuseMemory(t *testing.T) {
	msg := appendOf(t, &Samples{[]float64{8: 1}})
	got := Samples{make([]float64, 20)}
	before := &got.V[0]
	if err := codecOf(t, &got).Decode(msg, &got, Limits{}); err != nil {
		t.Fatal(err)
	}
	if len(got.V) != 9 || &got.V[0] != before {
		t.Errorf("%d numbers, in new memory: %v", len(got.V), &got.V[0] != before)
	}
}
