package codec

import (
	"errors"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

type (
	OldName struct {
		A   string
		Old string `cbor:"old,id=4"`
	}
	NewName struct {
		New string `cbor:"new,id=4"`
		A   string `cbor:",id=2"`
	}
)

func TestIDsApplyInTheGenericForm(t *testing.T) {
	type (
		all[T any] struct {
			One  T
			List []T
			Two  [2]T
			Map  map[string]T
			Ptr  *T
			Deep [][]map[int]*T
			Any  any
		}
		swapped struct {
			A string `cbor:"B,id=1"`
			B string `cbor:"A,id=2"`
		}
		straight struct {
			A string `cbor:"A,id=1"`
			B string `cbor:"B,id=2"`
		}
		other struct {
			A   string
			Old string `cbor:"old,id=5,default=none"`
		}
		plain struct {
			Old string `cbor:"old"`
			A   string `cbor:"A,omitempty"`
		}
		omits struct {
			Old string `cbor:"old,omitempty,id=4"`
		}
		kids struct {
			Name string `cbor:"n,id=1"`
			Kids []kids
		}
		kids2 struct {
			Kids []*kids2
			Name string `cbor:"name,id=1"`
		}
		point   struct{ X, Y int }
		generic struct { // has no positional form
			*OldName
			P map[point]OldName
		}
		generic2 struct {
			*NewName
			P map[point]NewName
		}
	)
	o, n := OldName{"a", "o"}, NewName{"o", "a"}
	for _, test := range []struct {
		name        string
		w, r, wants any
	}{
		{"rename", &o, &NewName{}, &n},
		{"rename back", &n, &OldName{}, &o},
		{"everywhere",
			&all[OldName]{o, []OldName{o, {}}, [2]OldName{o}, map[string]OldName{"k": o}, &o, [][]map[int]*OldName{{{1: &o, 2: nil}}}, "x"},
			&all[NewName]{},
			&all[NewName]{n, []NewName{n, {}}, [2]NewName{n}, map[string]NewName{"k": n}, &n, [][]map[int]*NewName{{{1: &n, 2: nil}}}, "x"}},
		{"nothing there", &all[OldName]{}, &all[NewName]{}, &all[NewName]{}},
		{"names exchanged", &straight{"1", "2"}, &swapped{}, &swapped{"1", "2"}},
		{"other ids are other fields, whatever their names", &o, &other{}, &other{"a", "none"}},
		{"a writer without ids", &plain{"o", "a"}, &OldName{}, &o},
		{"a reader without ids", &o, &plain{}, &plain{"o", "a"}},
		{"an empty field left out", &omits{}, &NewName{}, &NewName{}},
		{"one that is not", &omits{"o"}, &NewName{}, &NewName{New: "o"}},
		{"recursive", &kids{"a", []kids{{"b", []kids{{Name: "c"}}}}}, &kids2{},
			&kids2{[]*kids2{{[]*kids2{{Name: "c"}}, "b"}}, "a"}},
		{"a type without a positional form", &generic{&o, map[point]OldName{{1, 2}: o}}, &generic2{},
			&generic2{&n, map[point]NewName{{1, 2}: n}}},
		{"a list as message", &[]OldName{o}, &[]NewName{}, &[]NewName{n}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := pass(t, test.w, test.r, true); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(test.r, test.wants) {
				t.Errorf("got  %+v\nwant %+v", test.r, test.wants)
			}
		})
	}
}

func TestRequiredAppliesInTheGenericForm(t *testing.T) {
	type (
		part struct {
			N int `cbor:",required"`
			M int
		}
		message struct {
			L []part
			M map[string]part
			P *part
			K string `cbor:"k,required,id=3"`
		}
		gap  struct{ M int }
		gaps struct {
			L []gap
			M map[string]gap
			P *gap
			K string `cbor:"renamed,id=3"`
		}
		noKey struct{ L []part }
	)
	for _, test := range []struct {
		name  string
		v     any
		field string // "" is accepted
	}{
		{"all there", &message{L: []part{{}}, M: map[string]part{"k": {}}, P: &part{}}, ""},
		{"renamed", &gaps{}, ""},
		{"in a list", &gaps{L: []gap{{}}}, "L[].N"},
		{"in a map", &gaps{M: map[string]gap{"": {}}}, "M[].N"},
		{"behind a pointer", &gaps{P: &gap{}}, "P.N"},
		{"in the message itself", &noKey{}, "k"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := pass(t, test.v, &message{}, true)
			var de *DecodeError
			switch {
			case test.field == "" && err != nil:
				t.Error(err)
			case test.field != "" && (!errors.As(err, &de) || de.Field != test.field || de.Reason != reasonRequired):
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestGenericFormOfOtherEncoders decodes what AppendGeneric does not write but others may.
func TestGenericFormOfOtherEncoders(t *testing.T) {
	type message struct {
		A string `cbor:"a,id=1,required"`
		L []OldName
		X Extra
	}
	for _, test := range []struct {
		name, msg string
		wants     *message // nil is refused
	}{
		{"without ids", "\xa1\x61a\x61x", &message{A: "x"}},
		{"indefinite lengths", "\xbf\x7f\x61a\xff\x61x\x61L\x9f\xbf\x61A\x61y\xff\xff\x61z\x9f\x01\xff\xff",
			&message{A: "x", L: []OldName{{A: "y"}}, X: Extra{{Name: "z", Item: cbor.RawMessage("\x9f\x01\xff")}}}},
		{"tagged", "\xd9\xd9\xf7\xa1\x61a\x61x", &message{A: "x"}},
		{"keys that are no text", "\xa2\x61a\x61x\x05\x06", &message{A: "x"}},
		{"null for a list", "\xa2\x61a\x61x\x61L\xf6", &message{A: "x"}},
		{"null for a struct", "\xa2\x61a\x61x\x61L\x81\xf6", &message{A: "x", L: []OldName{{}}}},
		{"ids of absent fields", "\xa2\x60\xa2\x61q\x01\x61r\x18\x63\x61q\x61x", &message{A: "x"}},
		{"an id for two fields", "\xa3\x60\xa2\x61q\x01\x61r\x01\x61q\x61x\x61r\x61x", nil},
		{"ids not first", "\xa2\x61a\x61x\x60\xa1\x61q\x01", nil},
		{"ids that are no map", "\xa2\x60\x05\x61a\x61x", nil},
		{"an id too large", "\xa2\x60\xa1\x61a\x1b\x00\x00\x00\x01\x00\x00\x00\x00\x61a\x61x", nil},
		{"a field twice", "\xa2\x61a\x61x\x61a\x61x", nil},
		{"an unknown field twice", "\xa3\x61a\x61x\x61z\x01\x61z\x01", nil},
		{"a key that is not UTF-8", "\xa2\x61a\x61x\x61\xff\x01", nil},
		{"another case", "\xa1\x61A\x61x", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got message
			err := codecOf(t, &got).DecodeGeneric([]byte(test.msg), &got, Limits{})
			if test.wants == nil {
				if err == nil {
					t.Errorf("accepted as %+v", got)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(&got, test.wants) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.wants)
			}
		})
	}
}

func TestTagOptionsThatContradictEachOther(t *testing.T) {
	_, err := For(reflect.TypeFor[struct {
		A int `cbor:",omitempty,required"`
	}]())
	var te *TypeError
	if !errors.As(err, &te) || te.Field != "A" {
		t.Error(err)
	}
}
