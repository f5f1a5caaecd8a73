package codec

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/schema"
)

// Three programs: an origin and a destination with a newer version of a type, and a relay between them with an older one.
type (
	newPart struct {
		Label string
		Serie string `cbor:"series,id=3"`
		Price int32
	}
	newOrder struct {
		Note   string `cbor:"note,id=9"`
		ID     uint32
		Parts  []newPart
		First  *newPart
		Floats []float64
		Ints   []int16
		Short  []float32
		Hash   [4]byte
		Box    [2]uint8
		When   time.Time
		Never  time.Time
		Any    any
		By     map[string]newPart
		Count  map[int8]uint64
		Data   []byte
		OK     bool
		Ratio  float32
		Weight float64
		None   *string
		Extra  string // a name as any other
	}
	lastPart struct {
		Label  string
		Price  int64  // wider
		Series string `cbor:"sort,id=3"` // renamed
	}
	lastOrder struct {
		Parts  []lastPart
		Floats []float64
		Ints   []int64
		Short  []float64
		Hash   [4]byte
		Box    [2]uint8
		When   time.Time
		Never  time.Time
		Any    any
		By     map[string]lastPart
		Count  map[int8]uint64
		Data   []byte
		OK     bool
		Ratio  float64
		Weight float64
		None   *string
		Extra  string
		ID     uint64
		First  *lastPart
		Text   string `cbor:"text,required,id=9"`
		More   int    `cbor:",default=5"`
	}
	relayPart struct {
		Label string
		Kept  Extra
	}
	relayOrder struct {
		Kept  Extra
		ID    uint64
		Parts []relayPart
		First *relayPart
	}
	droppingOrder struct{ ID uint64 }
)

var (
	soon      = time.Unix(1e9, 5).UTC()
	orderSent = newOrder{
		Note: "n", ID: 7, Parts: []newPart{{"a", "s", -3}, {"b", "", math.MaxInt32}}, First: &newPart{"c", "t", 1},
		Floats: []float64{1.5, math.Inf(1), 2, 3, 4, 5, 6, 7, math.Copysign(0, -1)}, Ints: numbersOf[int16](9), Short: []float32{1.5},
		Hash: [4]byte{1, 2}, Box: [2]uint8{3}, When: soon, Any: []any{int64(1), "x"}, By: map[string]newPart{"k": {"d", "u", 5}},
		Count: map[int8]uint64{-1: math.MaxUint64}, Data: []byte{9}, OK: true, Ratio: 0.5, Weight: 1e300, Extra: "extra",
	}
	orderWanted = lastOrder{
		Parts: []lastPart{{"a", -3, "s"}, {"b", math.MaxInt32, ""}}, Floats: orderSent.Floats, Ints: numbersOf[int64](9),
		Short: []float64{1.5}, Hash: orderSent.Hash, Box: orderSent.Box, When: soon, Any: orderSent.Any,
		By: map[string]lastPart{"k": {"d", 5, "u"}}, Count: orderSent.Count, Data: []byte{9}, OK: true, Ratio: 0.5,
		Weight: 1e300, Extra: "extra", ID: 7, First: &lastPart{"c", 1, "t"}, Text: "n", More: 5,
	}
)

// pass sends w in one of the two forms and decodes it into r.
func pass(t *testing.T, w, r any, generic bool) error {
	t.Helper()
	if !generic {
		return evolve(t, w, r)
	}
	b, err := codecOf(t, w).AppendGeneric(nil, w)
	if err != nil {
		t.Fatal(err)
	}
	if err := cbor.Wellformed(b); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return codecOf(t, r).DecodeGeneric(b, r, Limits{})
}

func TestARelayWithAnExtraLosesNothing(t *testing.T) {
	for relays := 1; relays <= 3; relays++ {
		for forms := range 1 << (relays + 1) { // which of the ways are in the generic form
			t.Run(fmt.Sprintf("%d relays, forms %b", relays, forms), func(t *testing.T) {
				var from any = &orderSent
				for i := range relays {
					via := &relayOrder{Kept: Extra{{Name: "old"}}}
					if err := pass(t, from, via, forms>>i&1 != 0); err != nil {
						t.Fatal(err)
					}
					if via.ID != 7 || len(via.Parts) != 2 || via.Parts[1].Label != "b" || len(via.Kept) != 17 || len(via.Parts[0].Kept) != 2 {
						t.Fatalf("the relay sees %+v", via)
					}
					from = via
				}
				var got lastOrder
				if err := pass(t, from, &got, forms>>relays != 0); err != nil {
					t.Fatal(err)
				}
				if !equal(reflect.ValueOf(got), reflect.ValueOf(orderWanted)) {
					t.Errorf("got  %+v\nwant %+v", got, orderWanted)
				}
			})
		}
	}
}

func TestARelayWithoutAnExtraDropsWhatItDoesNotKnow(t *testing.T) {
	for _, generic := range []bool{false, true} {
		var via droppingOrder
		if err := pass(t, &orderSent, &via, generic); err != nil {
			t.Fatal(err)
		}
		var got struct {
			ID   uint64
			Text string `cbor:"text,id=9,default=none"`
		}
		if err := pass(t, &via, &got, generic); err != nil || got.ID != 7 || got.Text != "none" {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestRequiredFieldsMayComeInAnExtra(t *testing.T) {
	var got lastOrder
	for _, generic := range []bool{false, true} {
		c := codecOf(t, &got)
		err := func() error {
			if generic {
				b, err := codecOf(t, &relayOrder{}).AppendGeneric(nil, &relayOrder{})
				if err != nil {
					t.Fatal(err)
				}
				return c.DecodeGeneric(b, &got, Limits{})
			}
			r, err := c.Reader(codecOf(t, &relayOrder{}).Schema())
			if err != nil {
				t.Fatal("refused although the field may come: ", err)
			}
			return r.Decode(appendOf(t, &relayOrder{}), &got, Limits{})
		}()
		var de *DecodeError
		if !errors.As(err, &de) || de.Field != "text" || de.Reason != reasonRequired {
			t.Errorf("got %v", err)
		}
	}
}

func TestFieldsOfAnExtraThatDoNotFitAreRefused(t *testing.T) {
	type inner struct{ N int8 }
	type reader struct {
		A string
		B inner
	}
	type relay struct {
		R int8 `cbor:",id=1"`
		X Extra
	}
	raw := func(s string) cbor.RawMessage { return cbor.RawMessage(s) }
	for _, test := range []struct {
		name  string
		x     Extra
		field string
	}{
		{"another type", Extra{{Name: "A", Item: raw("\x05")}}, "A"},
		{"an overflow", Extra{{Name: "B", Item: raw("\xa1\x61N\x19\xff\xff")}}, "B"},
		{"a field that the writer knows", Extra{{Name: "R", ID: 1, Item: raw("\x05")}}, "extra"},
		{"text that is not UTF-8", Extra{{Name: "A", Item: raw("\x61\xff")}}, "A"},
		{"the same name twice", Extra{{Name: "A", Item: raw("\x60")}, {Name: "A", Item: raw("\x60")}}, "extra"},
		{"the same field twice", Extra{{Name: "A", Item: raw("\x60")}, {Name: "A", ID: 3, Item: raw("\x60")}}, "A"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rd, err := codecOf(t, &reader{}).Reader(codecOf(t, &relay{}).Schema())
			if err != nil {
				t.Fatal(err)
			}
			extra := appendOf(t, &struct{ X Extra }{test.x})[1:]
			err = rd.Decode(append([]byte{0x82, 0x00}, extra...), &reader{}, Limits{})
			var de *DecodeError
			if !errors.As(err, &de) || de.Field != test.field {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestABadExtraIsNotEncoded(t *testing.T) {
	type relay struct {
		A int
		X Extra
	}
	for _, test := range []struct {
		name string
		x    Extra
	}{
		{"half an item", Extra{{Name: "B", Item: cbor.RawMessage{0x82, 1}}}},
		{"two items", Extra{{Name: "B", Item: cbor.RawMessage{1, 1}}}},
		{"the name of another field", Extra{{Name: "A", Item: cbor.RawMessage{1}}}},
		{"no name", Extra{{Item: cbor.RawMessage{1}}}},
		{"a name that is not UTF-8", Extra{{Name: "\xff", Item: cbor.RawMessage{1}}}},
	} {
		c := codecOf(t, &relay{})
		for form, encode := range map[string]func([]byte, any) ([]byte, error){"positional": c.Append, "generic": c.AppendGeneric} {
			b, err := encode([]byte("prefix"), &relay{X: test.x})
			var ee *EncodeError
			if !errors.As(err, &ee) || string(b) != "prefix" {
				t.Errorf("%s, %s: got % x, %v", form, test.name, b, err)
			}
		}
	}
}

func TestWhereAnExtraMayStand(t *testing.T) {
	for field, v := range map[string]any{
		"L": &struct{ L []Extra }{},
		"P": &struct{ P *Extra }{},
		"B": &struct{ A, B Extra }{},
		"":  &Extra{},
		"K": &struct {
			K Extra `cbor:",id=1"`
		}{},
		"R": &struct {
			R Extra `cbor:",required"`
		}{},
	} {
		_, err := For(reflect.TypeOf(v).Elem())
		var te *TypeError
		if !errors.As(err, &te) || strings.TrimSuffix(te.Field, "[]") != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	type embedded struct {
		Extra
		A int
	}
	var got embedded
	for _, generic := range []bool{false, true} {
		if err := pass(t, &Call{Method: "m"}, &got, generic); err != nil || len(got.Extra) != 5 || got.Extra[0].Name != "Method" {
			t.Errorf("embedded: %+v, %v", got, err)
		}
	}
}

func TestAnExtraIsBounded(t *testing.T) {
	long := strings.Repeat("n", 5000)
	wide := func() any { // a list of structs of one byte, whose field has a long name
		field := reflect.StructOf([]reflect.StructField{{Name: "A", Type: reflect.TypeFor[bool](), Tag: reflect.StructTag(`cbor:"` + long + `"`)}})
		l := reflect.MakeSlice(reflect.SliceOf(field), 10_000, 10_000)
		w := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "L", Type: l.Type()}}))
		w.Elem().Field(0).Set(l)
		return w.Interface()
	}()
	many := make(Extra, 10_000)
	for i := range many {
		many[i] = ExtraField{Name: fmt.Sprint("f", i), Item: cbor.RawMessage{0x80}}
	}
	nested := cbor.RawMessage(append(bytes.Repeat([]byte{0x81}, 200), 0x80))
	for _, test := range []struct {
		name  string
		v     any
		lim   Limits
		limit string
	}{
		{"long names of small structs", wide, Limits{MaxMemoryBytes: 4 << 20}, "MaxMemoryBytes"},
		{"times", &struct{ T []time.Time }{make([]time.Time, 1000)}, Limits{MaxMemoryBytes: 20_000}, "MaxMemoryBytes"},
		{"numbers", &struct{ N []int64 }{make([]int64, 1000)}, Limits{MaxElements: 900}, "MaxElements"},
		{"many fields", &relayOrder{Kept: many}, Limits{MaxElements: 9_000}, "MaxElements"},
		{"many fields in little memory", &relayOrder{Kept: many}, Limits{MaxMemoryBytes: 100_000}, "MaxMemoryBytes"},
		{"a deep field", &struct{ A any }{[]any{[]any{[]any{[]any{}}}}}, Limits{MaxDepth: 3}, "MaxDepth"},
		{"a deep field of an extra", &relayOrder{Kept: Extra{{Name: "A", Item: nested}}}, Limits{}, "MaxDepth"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := codecOf(t, &relayPart{})
			rd, err := c.Reader(codecOf(t, test.v).Schema())
			if err != nil {
				t.Fatal(err)
			}
			var limit *LimitError
			if err := rd.Decode(appendOf(t, test.v), &relayPart{}, test.lim); !errors.As(err, &limit) || limit.Limit != test.limit {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnExtraOwnsItsBytes(t *testing.T) {
	for _, generic := range []bool{false, true} {
		var got relayOrder
		c := codecOf(t, &got)
		var b []byte
		var err error
		if generic {
			b, err = codecOf(t, &orderSent).AppendGeneric(nil, &orderSent)
			if err == nil {
				err = c.DecodeGeneric(b, &got, Limits{})
			}
		} else {
			b = appendOf(t, &relayOrder{Kept: Extra{{Name: "A", ID: 2, Item: cbor.RawMessage{0x61, 'a'}}}})
			err = c.Decode(b, &got, Limits{})
		}
		if err != nil {
			t.Fatal(err)
		}
		was := fmt.Sprint(got.Kept)
		clear(b)
		if fmt.Sprint(got.Kept) != was {
			t.Error("what was kept changes with the message")
		}
	}
}

func TestWriterSchemasWithAnExtraArePassedOver(t *testing.T) {
	s, err := schema.Parse(codecOf(t, &relayOrder{}).Schema().Canonical(), schema.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	rd, err := codecOf(t, &droppingOrder{}).Reader(s)
	if err != nil {
		t.Fatal(err)
	}
	var got droppingOrder
	msg := appendOf(t, &relayOrder{ID: 5, Kept: Extra{{Name: "A", Item: cbor.RawMessage("\x9f\x01\xff")}}})
	if err := rd.Decode(msg, &got, Limits{}); err != nil || got.ID != 5 {
		t.Errorf("got %+v, %v", got, err)
	}
	if text := s.String(); !strings.Contains(text, "\textra\n") {
		t.Error(text)
	}
}
