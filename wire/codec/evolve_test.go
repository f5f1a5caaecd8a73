package codec

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/wire/schema"
)

// evolve sends w and decodes it into r, a pointer, whose old content must not shine through.
func evolve(t *testing.T, w, r any) error {
	t.Helper()
	rd, err := codecOf(t, r).Reader(codecOf(t, w).Schema())
	if err != nil {
		return err
	}
	b := appendOf(t, w)
	if err := rd.Decode(b, r, Limits{}); err != nil {
		t.Fatalf("resolved, but: %v", err)
	}
	for i := range b {
		if rd.Decode(b[:i:i], newOf(r), Limits{}) == nil {
			t.Errorf("the first %d of %d bytes were accepted", i, len(b))
		}
	}
	return nil
}

func TestAcceptedEvolution(t *testing.T) {
	type (
		ab      struct{ A, B string }
		ba      struct{ B, A string }
		a       struct{ A string }
		renamed struct {
			New string `cbor:"New,id=1"`
			B   string
		}
		old struct {
			B   string
			Old string `cbor:"Old,id=1"`
		}
		inner struct {
			N int32 `cbor:",default=9"`
			M string
		}
		defaults struct {
			A string
			S string        `cbor:",default=x"`
			I int16         `cbor:",default=-3"`
			U uint32        `cbor:",default=0x10"`
			F float64       `cbor:",default=1.5"`
			B bool          `cbor:",default=true"`
			D time.Duration `cbor:",default=2s"`
			L []int
			M map[string]int
			P *int
			T time.Time
			Z any
			Q inner
			G [2]string
		}
		ints struct {
			A, B, C int8
			D       uint16
			L       []int8
			K       []uint32
			G       [9]int16
		}
		wide struct {
			A int16
			B int
			C int64
			D uint
			L []int32
			K []uint64
			G [9]int64
		}
		float   struct{ F, G float32 }
		wider   struct{ F, G float64 }
		floats  struct{ F []float32 }
		widerF  struct{ F []float64 }
		text    struct{ S string }
		optText struct{ S *string }
		list    struct{ L []ab }
		listBA  struct{ L []ba }
		mapAB   struct{ M map[string]ab }
		mapBA   struct{ M map[string]ba }
		kids    struct {
			Gone []string
			Name string
			Kids []kids
		}
		kids2 struct {
			Kids []kids2
			Name string
			Note string `cbor:",default=none"`
		}
		junk struct {
			X map[string][]any
			Y []Envelope
			A string
			Z *time.Time
			F float64
		}
	)
	day := time.Unix(5, 7).UTC()
	for _, test := range []struct {
		name  string
		w, r  any
		wants any
	}{
		{"reorder", &ab{"1", "2"}, &ba{}, &ba{A: "1", B: "2"}},
		{"remove a field", &ab{"1", "2"}, &a{}, &a{"1"}},
		{"rename by id", &old{"b", "o"}, &renamed{}, &renamed{"o", "b"}},
		{"add fields with defaults", &a{"1"},
			&defaults{L: []int{1}, M: map[string]int{}, P: new(int), T: day, Z: 1, G: [2]string{"q"}, Q: inner{M: "q"}},
			&defaults{A: "1", S: "x", I: -3, U: 16, F: 1.5, B: true, D: 2 * time.Second, Q: inner{N: 9}}},
		{"widen integers", &ints{-1, -128, 127, 65535, numbersOf[int8](12), []uint32{1, 2}, [9]int16{-5, 8: 7}}, &wide{},
			&wide{-1, -128, 127, 65535, numbersOf[int32](12), []uint64{1, 2}, [9]int64{-5, 8: 7}}},
		{"widen floats", &float{1.5, -2}, &wider{}, &wider{1.5, -2}},
		{"widen a typed array", &floats{numbersOf[float32](9)}, &widerF{}, &widerF{numbersOf[float64](9)}},
		{"widen a short list", &floats{[]float32{1, 2}}, &widerF{}, &widerF{[]float64{1, 2}}},
		{"make optional", &text{"x"}, &optText{}, &optText{ptr("x")}},
		{"list of structs", &list{[]ab{{"1", "2"}, {"3", "4"}}}, &listBA{}, &listBA{[]ba{{"2", "1"}, {"4", "3"}}}},
		{"map of structs", &mapAB{map[string]ab{"k": {"1", "2"}}}, &mapBA{}, &mapBA{map[string]ba{"k": {"2", "1"}}}},
		{"recursive", &kids{[]string{"x"}, "a", []kids{{Name: "b", Kids: []kids{{Name: "c"}}}}}, &kids2{},
			&kids2{[]kids2{{[]kids2{{nil, "c", "none"}}, "b", "none"}}, "a", "none"}},
		{"skip anything", &junk{map[string][]any{"k": {1, "x"}}, []Envelope{*newEnvelope(9)}, "a", &day, 1}, &a{}, &a{"a"}},
		{"rename the type", &ab{"1", "2"}, &struct{ A, B string }{}, &struct{ A, B string }{"1", "2"}},
		{"other messages", &[]int16{1, 2}, &[]int64{}, &[]int64{1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := evolve(t, test.w, test.r); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(test.r, test.wants) {
				t.Fatalf("got  %+v\nwant %+v", test.r, test.wants)
			}
		})
	}
}

func TestRefusedEvolution(t *testing.T) {
	type (
		b     struct{ B string }
		needs struct {
			A string `cbor:",required"`
			B string
		}
		priceText struct{ Price string }
		price     struct{ Price int64 }
		items     struct{ Items []priceText }
		itemsInt  struct{ Items []price }
		keys      struct{ M map[string]int }
		keysInt   struct{ M map[int]int }
		nested    struct{ P *items }
		nestedInt struct{ P *itemsInt }
	)
	field := func(v any) any { // *struct{ F T } for a T
		t := reflect.StructOf([]reflect.StructField{{Name: "F", Type: reflect.TypeOf(v)}})
		return reflect.New(t).Interface()
	}
	for _, test := range []struct {
		name          string
		w, r          any
		field, reason string
	}{
		{"required field missing", &b{}, &needs{}, "A", "reader requires it, writer does not send it"},
		{"narrow an integer", field(int64(0)), field(int32(0)), "F", "writer sends int64, reader wants int32"},
		{"narrow unsigned", field(uint16(0)), field(uint8(0)), "F", "writer sends uint16, reader wants uint8"},
		{"narrow a float", field(1.5), field(float32(0)), "F", "writer sends float64, reader wants float32"},
		{"float to int", field(1.5), field(0), "F", "writer sends float64, reader wants int64"},
		{"int to float", field(int32(1)), field(1.5), "F", "writer sends int32, reader wants float64"},
		{"string to bytes", field(""), field([]byte{}), "F", "writer sends text, reader wants bytes"},
		{"bytes to string", field([]byte{}), field(""), "F", "writer sends bytes, reader wants text"},
		{"unsigned to signed", field(uint8(0)), field(0), "F", "writer sends uint8, reader wants int64"},
		{"signed to unsigned", field(int8(0)), field(uint(0)), "F", "writer sends int8, reader wants uint64"},
		{"list to single", field([]string{}), field(""), "F", "writer sends list of text, reader wants text"},
		{"single to list", field(""), field([]string{}), "F", "writer sends text, reader wants list of text"},
		{"struct to map", field(b{}), field(map[string]string{}), "F", "writer sends struct b, reader wants map from text to text"},
		{"map to struct", field(map[string]string{}), field(b{}), "F", "writer sends map from text to text, reader wants struct b"},
		{"optional to plain", field(new(string)), field(""), "F", "writer sends optional text, reader wants text"},
		{"array of another length", field([2]int{}), field([3]int{}), "F", "writer sends array of 2 int64, reader wants array of 3 int64"},
		{"array of bytes to wider numbers", field([2]byte{}), field([2]uint16{}), "F", "writer sends array of 2 uint8, reader wants array of 2 uint16"},
		{"array to list", field([2]int{}), field([]int{}), "F", "writer sends array of 2 int64, reader wants list of int64"},
		{"time to number", field(time.Time{}), field(0), "F", "writer sends time, reader wants int64"},
		{"in a list", &items{}, &itemsInt{}, "Items[].Price", "writer sends text, reader wants int64"},
		{"in a list behind a pointer", &nested{}, &nestedInt{}, "P.Items[].Price", "writer sends text, reader wants int64"},
		{"in map keys", &keys{}, &keysInt{}, "M[key]", "writer sends text, reader wants int64"},
		{"the message itself", &[]string{}, &b{}, "", "writer sends list of text, reader wants struct b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := evolve(t, test.w, test.r)
			var m *schema.MismatchError
			if !errors.As(err, &m) {
				t.Fatalf("got %v, want a mismatch", err)
			}
			if m.Field != test.field || m.Reason != test.reason {
				t.Errorf("got %q: %s", m.Field, m.Reason)
			}
			if m.Writer != codecOf(t, test.w).Schema().ID() || m.Reader != codecOf(t, test.r).Schema().ID() {
				t.Error("the error names other schemas")
			}
			if again := evolve(t, test.w, test.r); again != err {
				t.Error("the answer was not remembered")
			}
		})
	}
}

func TestReaderIsSharedWhereTheLayoutIsTheSame(t *testing.T) {
	type one struct{ A int }
	type two struct {
		A int `cbor:",default=5"`
	}
	c := codecOf(t, &one{})
	own, err := c.Reader(c.Schema())
	if err != nil {
		t.Fatal(err)
	}
	if c.Schema().ID() == codecOf(t, &two{}).Schema().ID() {
		t.Error("name and default are not in the ID")
	}
	other, err := c.Reader(codecOf(t, &two{}).Schema())
	if err != nil || other != own {
		t.Errorf("got another reader, %v", err)
	}
}

func TestEvolvedListIsBoundedByTheReadersMemory(t *testing.T) {
	type thin struct{ L []struct{} }
	type fat struct{ L []struct{ A [64]string } }
	rd, err := codecOf(t, &fat{}).Reader(codecOf(t, &thin{}).Schema())
	if err != nil {
		t.Fatal(err)
	}
	msg := appendOf(t, &thin{make([]struct{}, 100000)})
	err = rd.Decode(msg, &fat{}, Limits{})
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Limit != "MaxMemoryBytes" || limit.Field != "L" {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "102400000 exceeds codec.Limits.MaxMemoryBytes 67108864") {
		t.Error(err)
	}
}
