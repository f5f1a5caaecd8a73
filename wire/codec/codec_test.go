package codec

import (
	"bytes"
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

func codecOf(t testing.TB, v any) *Codec {
	t.Helper()
	c, err := For(reflect.TypeOf(v).Elem())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func appendOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := codecOf(t, v).Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newOf(v any) any { return reflect.New(reflect.TypeOf(v).Elem()).Interface() }

func TestPositionalRoundTrip(t *testing.T) {
	for name, v := range samples() {
		t.Run(name, func(t *testing.T) {
			c := codecOf(t, v)
			if c.Schema() == nil {
				t.Fatal("no positional form:", c.why)
			}
			prefix := []byte("prefix")
			b, err := c.Append(prefix, v)
			if err != nil || !bytes.HasPrefix(b, prefix) {
				t.Fatalf("Append: % x, %v", b, err)
			}
			b = b[len(prefix):]
			if err := cbor.Wellformed(b); err != nil {
				t.Fatalf("% x: %v", b, err)
			}
			got := newOf(v)
			if err := c.Decode(b, got, Limits{}); err != nil {
				t.Fatalf("% x: %v", b, err)
			}
			if !reflect.DeepEqual(got, v) {
				t.Fatalf("got  %+v\nwant %+v", got, v)
			}
		})
	}
}

func TestGenericRoundTrip(t *testing.T) {
	for name, v := range samples() {
		t.Run(name, func(t *testing.T) {
			c := codecOf(t, v)
			b, err := c.AppendGeneric(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			got := newOf(v)
			if err := c.DecodeGeneric(b, got, Limits{}); err != nil {
				t.Fatalf("% x: %v", b, err)
			}
			again, err := c.AppendGeneric(nil, got)
			if err != nil || len(again) != len(b) {
				t.Fatalf("% x\n% x %v", b, again, err)
			}
		})
	}
}

func TestEveryCutIsAnError(t *testing.T) {
	for name, v := range samples() {
		b, c := appendOf(t, v), codecOf(t, v)
		for i := range b {
			if err := c.Decode(b[:i:i], newOf(v), Limits{}); err == nil {
				t.Errorf("%s: the first %d of %d bytes were accepted", name, i, len(b))
			}
		}
		if err := c.Decode(append(b, 0), newOf(v), Limits{}); err == nil {
			t.Errorf("%s: a trailing byte was accepted", name)
		}
	}
}

func TestUnexportedFieldsAreNeitherSentNorTouched(t *testing.T) {
	got := Embedding{priv: 5, Base: Base{Name: "hidden"}}
	if err := codecOf(t, &got).Decode(appendOf(t, &Embedding{Name: "n", priv: 6}), &got, Limits{}); err != nil {
		t.Fatal(err)
	}
	if want := (Embedding{priv: 5, Base: Base{Name: "hidden"}, Name: "n"}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDecodedTextIsCutFromOneCopyUnlessTagged(t *testing.T) {
	type texts struct {
		A, B string
		C    string `cbor:",copy"`
	}
	msg := appendOf(t, &texts{"aa", "bb", "cc"})
	var got texts
	if err := codecOf(t, &got).Decode(msg, &got, Limits{}); err != nil {
		t.Fatal(err)
	}
	a, b, c := unsafe.StringData(got.A), unsafe.StringData(got.B), unsafe.StringData(got.C)
	if d := uintptr(unsafe.Pointer(b)) - uintptr(unsafe.Pointer(a)); d != 3 {
		t.Errorf("the second text is %d bytes behind the first one, want 3", d)
	}
	if d := uintptr(unsafe.Pointer(c)) - uintptr(unsafe.Pointer(b)); d == 3 {
		t.Error("the text tagged copy is cut from the slab")
	}
	clear(msg)
	if got != (texts{"aa", "bb", "cc"}) {
		t.Errorf("what was decoded changes with the message: %+v", got)
	}
}

func TestForIsSafeForConcurrentUse(t *testing.T) {
	type fresh struct {
		A *fresh
		B []map[string]fresh
	}
	var wg sync.WaitGroup
	got := make([]*Codec, 8)
	for i := range got {
		wg.Go(func() { // ends by itself; Wait is below
			got[i], _ = Of[fresh]()
			_, _ = got[i].Append(nil, &fresh{A: &fresh{}})
		})
	}
	wg.Wait()
	for _, c := range got {
		if c == nil || c != got[0] {
			t.Fatal("different codecs for one type")
		}
	}
}
