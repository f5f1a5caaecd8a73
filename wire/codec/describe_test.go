package codec

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/schema"
)

type (
	Inner struct {
		A, B int
		Deep
	}
	Deep struct {
		A, C, D int
	}
	Rival struct {
		B, D int
		E    int `json:"e"`
	}
	unexported struct{ F, G int }
	Tagged     struct {
		X int `json:"B"`
	}
	Number int
)

// TestPromotionIsThatOfEncodingJSON compares the names of our fields with the keys that encoding/json writes.
func TestPromotionIsThatOfEncodingJSON(t *testing.T) {
	for _, v := range []any{
		&Inner{},
		&struct{ Inner }{},
		&struct {
			Inner
			Rival
		}{},
		&struct {
			Inner
			Rival
			Tagged
		}{},
		&struct {
			Inner
			D string
		}{},
		&struct {
			unexported
			Number
			G string
		}{},
		&struct {
			Inner `json:"inner"`
			B     int `json:"-"`
			Deep
		}{},
		&struct {
			A int `json:"x"`
			Tagged
			Inner
		}{},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var keys map[string]any
		if err := json.Unmarshal(b, &keys); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range codecOf(t, v).Schema().Root().Struct.Fields {
			got = append(got, f.Name)
		}
		slices.Sort(got)
		if want := slices.Sorted(maps.Keys(keys)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", reflect.TypeOf(v), got, want)
		}
	}
}

// TestBothFormsNameTheSameFields reads the generic form of each sample by its description.
func TestBothFormsNameTheSameFields(t *testing.T) {
	for name, v := range samples() {
		c := codecOf(t, v)
		b, err := c.AppendGeneric(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		if c.Schema().Root().Struct == nil {
			continue
		}
		var keys map[string]cbor.RawMessage
		if err := decMode.Unmarshal(b, &keys); err != nil {
			t.Fatal(err)
		}
		delete(keys, "") // the ids
		for _, f := range c.Schema().Root().Struct.Fields {
			if f.Type.Kind == schema.KindExtra {
				x := reflect.ValueOf(v).Elem().FieldByName("Kept").Interface().(Extra)
				for i := range x {
					delete(keys, x[i].Name)
				}
				continue
			}
			if _, ok := keys[f.Name]; !ok {
				t.Errorf("%s: the generic form has no field %q", name, f.Name)
			}
			delete(keys, f.Name)
		}
		if len(keys) > 0 {
			t.Errorf("%s: the schema does not have %v", name, keys)
		}
	}
}

func TestSchemaHoldsNoPackagePaths(t *testing.T) {
	type generic[T any] struct{ V T }
	s := codecOf(t, &struct{ G generic[Small] }{}).Schema()
	if want := "type struct struct {\n\tG generic\n}\n\ntype generic struct {\n\tV Small\n}\n\ntype Small struct {\n\tA int8\n}\n"; s.String() != want {
		t.Errorf("got\n%s", s)
	}
}
