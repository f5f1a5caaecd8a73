package schema

import (
	"errors"
	"reflect"
	"testing"
)

func TestScalarsWidenWithinTheirFamily(t *testing.T) {
	families := [][]Kind{
		{KindInt8, KindInt16, KindInt32, KindInt64}, {KindUint8, KindUint16, KindUint32, KindUint64},
		{KindFloat32, KindFloat64}, {KindBool}, {KindText}, {KindBytes}, {KindTime}, {KindAny},
	}
	type place struct{ family, width int }
	places := make(map[Kind]place)
	for i, f := range families {
		for j, k := range f {
			places[k] = place{i, j}
		}
	}
	for w, pw := range places {
		for r, pr := range places {
			_, err := Resolve(mustNew(t, scalar(w)), mustNew(t, scalar(r)))
			if want := pw.family == pr.family && pw.width <= pr.width; want != (err == nil) {
				t.Errorf("%s read as %s: %v", w, r, err)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	f := func(name string, id uint32) Field { return Field{Name: name, Type: scalar(KindBool), ID: id} }
	for _, test := range []struct {
		name    string
		w, r    []Field
		fields  []int
		missing []int
	}{
		{"by name", []Field{f("a", 0), f("b", 0)}, []Field{f("b", 0), f("c", 0)}, []int{-1, 0}, []int{1}},
		{"by id", []Field{f("old", 1)}, []Field{f("x", 0), f("new", 1)}, []int{1}, []int{0}},
		{"by name when one side has no id", []Field{f("a", 0), f("b", 2)}, []Field{f("a", 1), f("b", 0)}, []int{0, 1}, nil},
		{"different ids are different fields", []Field{f("a", 1)}, []Field{f("a", 2)}, []int{-1}, []int{0}},
		{"an id goes before a name", []Field{f("b", 0), f("a", 1)}, []Field{f("b", 1)}, []int{-1, 0}, nil},
	} {
		m := match(&Struct{Fields: test.w}, &Struct{Fields: test.r})
		if !reflect.DeepEqual(m.Fields, test.fields) || !reflect.DeepEqual(m.Missing, test.missing) {
			t.Errorf("%s: got %+v", test.name, m)
		}
	}
}

func TestMismatchNamesTheFieldInWords(t *testing.T) {
	item := func(k Kind) *Type {
		return structOf("Order", Field{Name: "Items", Type: list(structOf("Item", Field{Name: "Price", Type: scalar(k)}))})
	}
	w, r := mustNew(t, item(KindText)), mustNew(t, item(KindInt64))
	_, err := Resolve(w, r)
	var m *MismatchError
	if !errors.As(err, &m) || m.Writer != w.ID() || m.Reader != r.ID() {
		t.Fatal(err)
	}
	if want := `schema: field "Items[].Price": writer sends text, reader wants int64`; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	_, err = Resolve(mustNew(t, scalar(KindText)), r)
	if want := `schema: message: writer sends text, reader wants struct Order`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestMismatchInRecursionIsFound(t *testing.T) {
	node := func(k Kind) *Type {
		n := structOf("Node")
		n.Struct.Fields = []Field{{Name: "Next", Type: &Type{Kind: KindOptional, Elem: n}}, {Name: "V", Type: scalar(k)}}
		return n
	}
	_, err := Resolve(mustNew(t, node(KindText)), mustNew(t, node(KindBytes)))
	var m *MismatchError
	if !errors.As(err, &m) || m.Field != "V" {
		t.Fatal(err)
	}
}
