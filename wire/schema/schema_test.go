package schema

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

func scalar(k Kind) *Type { return &Type{Kind: k} }

func list(t *Type) *Type { return &Type{Kind: KindList, Elem: t} }

func structOf(name string, fields ...Field) *Type {
	return &Type{Kind: KindStruct, Struct: &Struct{Name: name, Fields: fields}}
}

// tree is a description with everything in it, recursion included.
func tree() *Type {
	node := structOf("Node", Field{Name: "Name", Type: scalar(KindText), ID: 7, Required: true})
	other := structOf("Node", Field{Name: "odd name\n", Type: scalar(KindAny)})
	node.Struct.Fields = append(node.Struct.Fields,
		Field{Name: "Next", Type: &Type{Kind: KindOptional, Elem: node}},
		Field{Name: "Kids", Type: list(node)},
		Field{Name: "Level", Type: scalar(KindInt32), Default: "3"},
		Field{Name: "By", Type: &Type{Kind: KindMap, Key: scalar(KindText), Elem: list(other)}},
		Field{Name: "Box", Type: &Type{Kind: KindArray, Len: 4, Elem: scalar(KindFloat64)}},
		Field{Name: "Again", Type: other},
		Field{Name: "When", Type: scalar(KindTime)},
		Field{Name: "Data", Type: scalar(KindBytes)},
	)
	return node
}

func mustNew(t testing.TB, root *Type) *Schema {
	t.Helper()
	s, err := New(root, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestParseReturnsWhatNewDescribed(t *testing.T) {
	for _, root := range []*Type{
		tree(), structOf("Empty"), scalar(KindText), list(list(scalar(KindUint8))), structOf("", Field{Name: "A", Type: structOf("")}),
		structOf("Relay", Field{Name: "A", Type: scalar(KindBool)}, Field{Type: scalar(KindExtra)}),
	} {
		s := mustNew(t, root)
		if err := cbor.Wellformed(s.Canonical()); err != nil {
			t.Errorf("%s: %v", s.Name(), err)
		}
		p, err := Parse(s.Canonical(), Limits{})
		if err != nil {
			t.Fatalf("%s: %v", s.Name(), err)
		}
		if p.ID() != s.ID() || p.String() != s.String() || p.Depth() != s.Depth() || p.Name() != s.Name() {
			t.Errorf("got %s, want %s", p, s)
		}
		res, err := Resolve(s, p)
		if err != nil || !res.SameLayout() {
			t.Errorf("%s: %v, %+v", s.Name(), err, res)
		}
	}
}

func TestParseRefusesEveryCutAndEveryChange(t *testing.T) {
	s := mustNew(t, tree())
	for i := range s.Canonical() {
		if _, err := Parse(s.Canonical()[:i], Limits{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("first %d bytes: %v", i, err)
		}
		for bit := range 8 {
			c := bytes.Clone(s.Canonical())
			c[i] ^= 1 << bit
			if p, err := Parse(c, Limits{}); err == nil && (p.ID() == s.ID() || !bytes.Equal(p.Canonical(), c)) {
				t.Errorf("byte %d, bit %d: accepted as the same schema", i, bit)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]string{
		"nothing":                  "",
		"trailing bytes":           "\x82\x01\x05\x00",
		"long head":                "\x82\x18\x01\x05",
		"indefinite array":         "\x9f\x01\x05\xff",
		"version":                  "\x82\x02\x05",
		"no such kind":             "\x82\x01\x00",
		"kind of a composite":      "\x82\x01\x18\x20",
		"reference to nothing":     "\x82\x01\x82\x18\x25\x00",
		"struct as nested":         "\x82\x01\x83\x18\x24\x60\x80", // the outer form is shorter
		"fields without end":       "\x83\x01\x60\x9a\xff\xff\xff\xff",
		"field twice":              "\x83\x01\x60\x82\x83\x61a\x01\x00\x83\x61a\x01\x00",
		"id twice":                 "\x83\x01\x60\x82\x84\x61a\x01\x02\x01\x84\x61b\x01\x02\x01",
		"id 0":                     "\x83\x01\x60\x81\x84\x61a\x01\x02\x00",
		"empty field name":         "\x83\x01\x60\x81\x83\x60\x01\x00",
		"extra with a name":        "\x83\x01\x60\x81\x83\x61a\x10\x00",
		"extra that is required":   "\x83\x01\x60\x81\x83\x60\x10\x01",
		"two extras":               "\x83\x01\x60\x82\x83\x60\x10\x00\x83\x60\x10\x00",
		"extra as message":         "\x82\x01\x10",
		"list of extra":            "\x82\x01\x82\x18\x20\x10",
		"empty default":            "\x83\x01\x60\x81\x84\x61a\x01\x04\x60",
		"unknown flag":             "\x83\x01\x60\x81\x83\x61a\x01\x08",
		"name not UTF-8":           "\x83\x01\x61\xff\x80",
		"optional of optional":     "\x82\x01\x82\x18\x23\x82\x18\x23\x01",
		"optional of any":          "\x82\x01\x82\x18\x23\x0f",
		"map with float keys":      "\x82\x01\x83\x18\x22\x0b\x01",
		"array of 2^31":            "\x82\x01\x83\x18\x21\x1a\x80\x00\x00\x00\x01",
		"array that is not a type": "\x82\x01\x80",
	} {
		if s, err := Parse([]byte(c), Limits{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestLimits(t *testing.T) {
	deep := scalar(KindBool)
	for range DefaultLimits.MaxDepth {
		deep = list(deep)
	}
	s := mustNew(t, deep)
	if s.Depth() != DefaultLimits.MaxDepth {
		t.Errorf("depth %d", s.Depth())
	}
	var le *LimitError
	if _, err := New(list(deep), Limits{}); !errors.As(err, &le) || le.Limit != "MaxDepth" || le.Got != 33 {
		t.Error(err)
	}
	if _, err := Parse(s.Canonical(), Limits{MaxDepth: 31}); !errors.As(err, &le) || le.Limit != "MaxDepth" {
		t.Error(err)
	}
	if _, err := Parse(bytes.Repeat([]byte{0x82, 0x18, 0x20}, 5000), Limits{}); !errors.As(err, &le) || le.Limit != "MaxDepth" {
		t.Log("a bomb of nested lists:", err)
	}
	if _, err := Parse(s.Canonical(), Limits{MaxBytes: 10}); !errors.As(err, &le) || le.Limit != "MaxBytes" {
		t.Error(err)
	}
	if _, err := New(structOf(strings.Repeat("x", 20000)), Limits{}); !errors.As(err, &le) || le.Limit != "MaxBytes" {
		t.Error(err)
	} else if want := "schema: 20006 exceeds schema.Limits.MaxBytes 16384"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if _, err := Parse(s.Canonical(), Limits{MaxBytes: -1}); err == nil {
		t.Error("a negative limit was accepted")
	}
}

func TestString(t *testing.T) {
	const want = "type Node struct {\n" +
		"\tName         string `id=7,required`\n" +
		"\tNext         *Node\n" +
		"\tKids         []Node\n" +
		"\tLevel        int32 `default=3`\n" +
		"\tBy           map[string][]Node_2\n" +
		"\tBox          [4]float64\n" +
		"\tAgain        Node_2\n" +
		"\tWhen         time.Time\n" +
		"\tData         []byte\n" +
		"}\n\n" +
		"type Node_2 struct {\n" +
		"\t\"odd name\\n\" any\n" +
		"}\n"
	if got := mustNew(t, tree()).String(); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := mustNew(t, list(structOf("X"))).String(); got != "[]X\n\ntype X struct {\n}\n" {
		t.Errorf("got %q", got)
	}
}

func TestOneStructUsedTwiceIsDescribedOnce(t *testing.T) {
	// Each level uses the next one twice: by value it would take 2^30 descriptions.
	inner := structOf("L0")
	for i := range 30 {
		inner = structOf(fmt.Sprint("L", i+1), Field{Name: "A", Type: inner}, Field{Name: "B", Type: inner})
	}
	s := mustNew(t, inner)
	if len(s.Canonical()) > 1000 {
		t.Errorf("%d bytes", len(s.Canonical()))
	}
	if _, err := Resolve(s, s); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, root := range []*Type{tree(), structOf("Empty"), list(scalar(KindInt8)), structOf("X", Field{Name: "a", Type: tree()})} {
		f.Add(mustNew(f, root).Canonical())
	}
	known := mustNew(f, tree())
	f.Fuzz(func(t *testing.T, c []byte) {
		s, err := Parse(c, Limits{})
		if err != nil {
			return
		}
		if !bytes.Equal(s.Canonical(), c) {
			t.Fatalf("accepted % x as % x", c, s.Canonical())
		}
		if err := cbor.Wellformed(c); err != nil && s.Depth() < 16 {
			t.Fatalf("accepted, but fxamacker/cbor: %v", err)
		}
		if s.Depth() > DefaultLimits.MaxDepth || len(s.String()) > 100*len(c)+100 {
			t.Fatalf("depth %d, text of %d bytes for %d", s.Depth(), len(s.String()), len(c))
		}
		if res, err := Resolve(s, s); err != nil || !res.SameLayout() {
			t.Fatalf("does not read itself: %v", err)
		}
		_, _ = Resolve(s, known)
		_, _ = Resolve(known, s)
	})
}

func BenchmarkResolve(b *testing.B) {
	s := mustNew(b, tree())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Resolve(s, s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	s := mustNew(b, tree())
	b.ReportAllocs()
	b.SetBytes(int64(len(s.Canonical())))
	for b.Loop() {
		if _, err := Parse(s.Canonical(), Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
