package codec

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTypesThatCannotBeSent(t *testing.T) {
	type inner struct{ Done chan int }
	for _, test := range []struct {
		name        string
		v           any
		field, text string
	}{
		{"channel", &struct{ Items []inner }{}, "Items[].Done", "a chan cannot be sent"},
		{"function", &struct{ F func() }{}, "F", "a func cannot be sent"},
		{"complex", &struct{ M map[string]complex128 }{}, "M[]", "a complex128 cannot be sent"},
		{"unsafe pointer", &struct{ P *uintptr }{}, "P", "a uintptr cannot be sent"},
		{"interface", &struct{ R io.Reader }{}, "R", "interface types other than any cannot be decoded"},
		{"id", &struct {
			A int `cbor:",id=x"`
		}{}, "A", "tag option id=x is not a number"},
		{"two ids", &struct {
			A int `cbor:",id=1"`
			B int `cbor:",id=1"`
		}{}, "B", "tag option id= is the one of field A"},
		{"default", &struct {
			A int8 `cbor:",default=300"`
		}{}, "A", "tag option default=300 is no int8"},
		{"default of a list", &struct {
			A []int `cbor:",default=3"`
		}{}, "A", "tag option default= is for bools, numbers and strings"},
		{"keyasint", &struct {
			A int `cbor:"1,keyasint"`
		}{}, "A", "not supported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := For(reflect.TypeOf(test.v).Elem())
			var te *TypeError
			if !errors.As(err, &te) || te.Field != test.field || !strings.Contains(te.Reason, test.text) {
				t.Fatalf("got %v", err)
			}
		})
	}
	if _, err := For(nil); !errors.Is(err, ErrType) {
		t.Error(err)
	}
}

type selfList []selfList

func TestTypesWithOnlyTheGenericForm(t *testing.T) {
	type embedded struct {
		*Base
		X int `cbor:",default=4"`
	}
	for name, v := range map[string]any{
		"embedded pointer":      &embedded{Base: &Base{ID: 1}, X: 2},
		"pointer to pointer":    &struct{ P **int }{ptr(ptr(1))},
		"float keys":            &struct{ M map[float64]int }{map[float64]int{1.5: 2}},
		"list of itself":        &selfList{nil, {nil}},
		"description too large": reflect.New(reflect.StructOf(manyFields(2000))).Interface(),
	} {
		t.Run(name, func(t *testing.T) {
			c := codecOf(t, v)
			if c.Schema() != nil {
				t.Fatal("has a schema")
			}
			if _, err := c.Reader(codecOf(t, &Call{}).Schema()); err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("got %v", err)
			}
			b, got := appendOf(t, v), newOf(v)
			if err := c.Decode(b, got, Limits{}); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, v) {
				t.Errorf("got %+v, want %+v", got, v)
			}
		})
	}
}

func manyFields(n int) (fs []reflect.StructField) {
	for i := range n {
		fs = append(fs, reflect.StructField{Name: "Field" + string(rune('A'+i%26)) + time.Duration(i).String(), Type: reflect.TypeFor[int]()})
		fs[i].Name = strings.Map(func(r rune) rune {
			if r == '.' || r == 'µ' {
				return '_'
			}
			return r
		}, fs[i].Name)
	}
	return fs
}

func TestMalformedMessages(t *testing.T) {
	for _, test := range []struct {
		name  string
		v     any
		msg   string
		field string
		text  string
	}{
		{"too few fields", &Call{}, "\x84", "", "4 elements, expected 5"},
		{"wrong type", &Call{}, "\x85\x01", "Method", "expected text, found unsigned integer"},
		{"text longer than the message", &Call{}, "\x85\x7b\xff\xff\xff\xff\xff\xff\xff\xff", "Method", "18446744073709551615 bytes of text, 0 are left"},
		{"text not UTF-8", &Call{}, "\x85\x61\xff\x00\x60\x00\xf4", "Method", "text is not UTF-8"},
		{"indefinite text", &Call{}, "\x85\x7f\x60\xff", "Method", "reserved or of indefinite length"},
		{"bool", &Call{}, "\x85\x60\x00\x60\x00\xf6", "OK", "expected bool, found null"},
		{"int8 overflow", &Small{}, "\x81\x18\x80", "A", "integer overflows int8"},
		{"int8 underflow", &Small{}, "\x81\x38\x80", "A", "integer overflows int8"},
		{"int64 overflow", &Base{}, "\x82\x1b\x80\x00\x00\x00\x00\x00\x00\x00\x60", "ID", "integer overflows int64"},
		{"int64 underflow", &Base{}, "\x82\x3b\x80\x00\x00\x00\x00\x00\x00\x00\x60", "ID", "integer overflows int64"},
		{"list longer than the message", &Texts{}, "\x81\x9a\xff\xff\xff\xff", "S", "4294967295 elements in 0 bytes"},
		{"key twice", &map[string]string{}, "\xa2\x60\x60\x60\x60", "", "map has a key twice"},
		{"key twice, by reflect", &map[int]int{}, "\xa2\x01\x01\x01\x01", "", "map has a key twice"},
		{"typed array of another kind", &Samples{}, "\x81\xd8\x55\x44\x00\x00\x00\x00", "V", "typed array of another kind of numbers"},
		{"typed array cut", &Samples{}, "\x81\xd8\x56\x44\x00\x00\x00\x00", "V", "typed array ends within a number"},
		{"nanoseconds", ptr(time.Time{}), "\x82\x00\x1a\x3b\x9a\xca\x00", "", "nanoseconds of a time exceed a second"},
		{"element of a list", &[]Call{}, "\x81\x85\x01\x00\x00\x00\x00", "[].Method", "expected text, found unsigned integer"},
		{"any", &[]any{}, "\x81\xf8\x00", "[]", "simple value in the wrong form"},
		{"unmarshaler", &Custom{}, "\x84\x62ab", "Color", "UnmarshalText"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := codecOf(t, test.v).Decode([]byte(test.msg), test.v, Limits{})
			var de *DecodeError
			if !errors.As(err, &de) || de.Field != test.field || !strings.Contains(de.Reason, test.text) {
				t.Fatalf("got %v", err)
			}
			if de.Offset < 0 || de.Offset > len(test.msg) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("byte %d of %d: %v", de.Offset, len(test.msg), err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	deep := &Node{}
	for range 20 {
		deep = &Node{Next: deep}
	}
	for _, test := range []struct {
		name string
		v    any
		lim  Limits
		want string
	}{
		{"depth", deep, Limits{MaxDepth: 20}, "MaxDepth"},
		{"depth of any", &[]any{[]any{[]any{}, []any{1}}}, Limits{MaxDepth: 2}, "MaxDepth"},
		{"elements", &Texts{make([]string, 11)}, Limits{MaxElements: 10}, "MaxElements"},
		{"elements in all", &[][]string{make([]string, 5), make([]string, 5)}, Limits{MaxElements: 11}, "MaxElements"},
		{"memory", &Texts{make([]string, 1000)}, Limits{MaxMemoryBytes: 1600}, "MaxMemoryBytes"},
		{"memory of any", &[]any{make([]any, 100)}, Limits{MaxMemoryBytes: 6400}, "MaxMemoryBytes"},
		{"memory of pointers", &Node{Next: &Node{}}, Limits{MaxMemoryBytes: 10}, "MaxMemoryBytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, c := appendOf(t, test.v), codecOf(t, test.v)
			err := c.Decode(b, newOf(test.v), test.lim)
			var le *LimitError
			if !errors.As(err, &le) || le.Limit != test.want || le.Got <= le.Max {
				t.Fatalf("got %v", err)
			}
			if err := c.Decode(b, newOf(test.v), Limits{}); err != nil {
				t.Errorf("within the defaults: %v", err)
			}
		})
	}
	for _, lim := range []Limits{{MaxDepth: -1}, {MaxDepth: 1025}, {MaxElements: -1}, {MaxMemoryBytes: -1}} {
		if err := codecOf(t, &Small{}).Decode([]byte{0x81, 0}, &Small{}, lim); err == nil {
			t.Errorf("%+v was accepted", lim)
		}
	}
	if err := codecOf(t, deep).Decode(appendOf(t, deep), &Node{}, Limits{MaxDepth: 21}); err != nil {
		t.Error(err)
	}
}

func TestHugeGenericMessageIsRefusedBeforeItIsKept(t *testing.T) {
	msg := append([]byte{0x9a, 0x00, 0x20, 0x00, 0x00}, bytes.Repeat([]byte{0xf6}, 1<<21)...)
	var le *LimitError
	if err := codecOf(t, ptr(any(nil))).DecodeGeneric(msg, ptr(any(nil)), Limits{}); !errors.As(err, &le) {
		t.Fatal(err)
	}
}

type failing struct{}

func (failing) MarshalText() ([]byte, error)  { return nil, io.ErrClosedPipe }
func (*failing) UnmarshalText(_ []byte) error { return nil }

func TestEncodeErrors(t *testing.T) {
	loop := &Node{Name: "a"}
	loop.Next = loop
	for _, v := range []any{loop, &struct{ L []failing }{make([]failing, 1)}, &struct{ A any }{make(chan int)}} {
		b, err := codecOf(t, v).Append([]byte("keep"), v)
		var ee *EncodeError
		if !errors.As(err, &ee) || string(b) != "keep" {
			t.Errorf("%T: %q, %.200v", v, b, err)
		}
	}
	_, err := codecOf(t, &struct{ L []failing }{}).Append(nil, &struct{ L []failing }{make([]failing, 1)})
	if !errors.Is(err, io.ErrClosedPipe) || !strings.Contains(err.Error(), ".L[]: MarshalText") {
		t.Error(err)
	}
}

func TestWrongValueIsAnError(t *testing.T) {
	c := codecOf(t, &Call{})
	for _, v := range []any{nil, Call{}, &Small{}, (*Call)(nil), "x", 5} {
		_, err1 := c.Append(nil, v)
		_, err2 := c.AppendGeneric(nil, v)
		for _, err := range []error{err1, err2, c.Decode([]byte{0x80}, v, Limits{}), c.DecodeGeneric([]byte{0xa0}, v, Limits{})} {
			if !errors.Is(err, ErrType) {
				t.Errorf("%T: %v", v, err)
			}
		}
	}
}
