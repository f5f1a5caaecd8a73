package codec

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/schema"
)

// evolvePacked decodes what is packed in w, and what is not, into types of r: both must give the same.
func evolvePacked(t *testing.T, w, r any) any {
	t.Helper()
	rd, err := codecOf(t, r).Reader(codecOf(t, w).Schema())
	if err != nil {
		t.Fatal(err)
	}
	want, got := newOf(r), newOf(r)
	if err := rd.Decode(appendOf(t, w), want, Limits{}); err != nil {
		t.Fatal("plain:", err)
	}
	msg := packedOf(t, w)
	if len(msg) >= len(appendOf(t, w)) {
		t.Fatal("nothing is packed, so this shows nothing")
	}
	if err := rd.Decode(msg, got, Limits{}); err != nil {
		t.Fatal("packed:", err)
	}
	checkEqual(t, got, want)
	for i := 0; i < len(msg); i += 11 {
		if rd.Decode(msg[:i:i], newOf(r), Limits{}) == nil {
			t.Errorf("the first %d of %d bytes were accepted", i, len(msg))
		}
	}
	return got
}

// upper is a text with methods of its own.
type upper string

func (u upper) MarshalText() ([]byte, error)  { return []byte(strings.ToLower(string(u))), nil }
func (u *upper) UnmarshalText(p []byte) error { *u = upper(strings.ToUpper(string(p))); return nil }

func TestEvolutionOfPackedLists(t *testing.T) {
	type (
		optionals struct {
			I32 []*int64
			F32 []*float64
			F64 []*float64
			B   []*bool
			S   []*string
			T   []*time.Time
			W   []*Wide
			A   [40]*int32
		}
		wider struct {
			I8  []int16
			I16 []int64
			I32 []int64
			U16 []uint32
			U32 []uint64
			F32 []float64
			A   [40]int64
			G   [][]float64
			S   []upper
			P   *Batch
		}
		others struct{ X int }
	)
	for _, noise := range []bool{false, true} {
		v := newPackable(50, noise)
		got := evolvePacked(t, v, &wider{}).(*wider)
		if got.I32[1] != int64(v.I32[1]) || got.S[0] != upper(strings.ToUpper(v.S[0])) || got.A[39] != int64(v.A[39]) {
			t.Errorf("%+v", got)
		}
		if got := evolvePacked(t, v, &optionals{}).(*optionals); *got.S[3] != v.S[3] || got.W[7].At != v.W[7].At {
			t.Errorf("%+v", got)
		}
		evolvePacked(t, v, &others{})
	}
}

func TestEvolutionOfTables(t *testing.T) {
	type (
		reordered struct {
			Device string
			Note   string `cbor:",default=none"`
			Value  float64
			At     int64
		}
		reorderedBatch struct {
			Readings []reordered
			Site     string
		}
		widened struct {
			At    int64
			ID    uint64
			Value *float64
		}
		widenedBatch struct{ Readings []widened }
		pointers     struct{ Readings []*Reading }
		named        struct {
			Device upper
			At     int64
		}
		namedBatch struct{ Readings []named }
		kept       struct {
			At   int64
			Rest Extra
		}
		keptBatch struct{ Readings []kept }
		inner     struct {
			N string `cbor:",default=inner"`
			X float64
		}
		wideRead struct {
			I8  int64
			I16 int32
			I32 int64
			U8  uint16
			U16 uint64
			U32 uint64
			F32 float64
			At  inner
			Q   []string
			P   []byte
			ID  [4]byte
		}
		wideBatch struct {
			W []wideRead
			I []int64
		}
		innerGone struct{ W []struct{ S string } }
		optInner  struct {
			W []struct {
				At *Position
				S  string
			}
		}
	)
	batch := newBatch(60)
	if got := evolvePacked(t, batch, &reorderedBatch{}).(*reorderedBatch); got.Site != batch.Site ||
		got.Readings[59] != (reordered{batch.Readings[59].Device, "none", batch.Readings[59].Value, batch.Readings[59].At}) {
		t.Errorf("%+v", got)
	}
	if got := evolvePacked(t, batch, &widenedBatch{}).(*widenedBatch); *got.Readings[5].Value != batch.Readings[5].Value {
		t.Errorf("%+v", got)
	}
	if got := evolvePacked(t, batch, &pointers{}).(*pointers); *got.Readings[5] != batch.Readings[5] {
		t.Errorf("%+v", got)
	}
	if got := evolvePacked(t, batch, &namedBatch{}).(*namedBatch); got.Readings[5].Device != "PLANT-7/LINE-1/SENSOR-1" {
		t.Errorf("%+v", got)
	}
	relayed := evolvePacked(t, batch, &keptBatch{}).(*keptBatch)
	var again Batch
	rd, err := codecOf(t, &again).Reader(codecOf(t, relayed).Schema())
	if err != nil {
		t.Fatal(err)
	}
	if err := rd.Decode(appendOf(t, relayed), &again, Limits{}); err != nil {
		t.Fatal(err)
	}
	if again.Site != "" { // keptBatch itself has no Extra
		t.Error(again.Site)
	}
	again.Site = batch.Site
	checkEqual(t, &again, batch)
	for _, noise := range []bool{false, true} {
		all := newPackable(50, noise)
		got := evolvePacked(t, all, &wideBatch{}).(*wideBatch)
		if got.W[3].At != (inner{"inner", float64(all.W[3].At.X)}) && !noise || got.W[49].F32 != float64(all.W[49].F32) && !noise {
			t.Errorf("%+v", got.W[3])
		}
		evolvePacked(t, all, &innerGone{})
		if got := evolvePacked(t, all, &optInner{}).(*optInner); !got.W[4].At.Seen.Equal(all.W[4].At.Seen) {
			t.Errorf("%+v", got.W[4])
		}
	}
}

// TestPackedListsThatNobodyKnows are kept in an Extra as what they stand for, and read from there again.
func TestPackedListsThatNobodyKnows(t *testing.T) {
	type older struct{ Rest Extra }
	v := newPackable(50, false)
	relayed := evolvePacked(t, v, &older{}).(*older)
	for _, x := range relayed.Rest {
		if err := cbor.Wellformed(x.Item); err != nil {
			t.Fatal(x.Name, err)
		}
		if tag := x.Item[0] >> 5; tag == 6 {
			t.Errorf("%s is kept packed: readers of the generic form do not know that", x.Name)
		}
	}
	rd, err := codecOf(t, v).Reader(codecOf(t, relayed).Schema())
	if err != nil {
		t.Fatal(err)
	}
	var got Packable
	if err := rd.Decode(appendOf(t, relayed), &got, Limits{}); err != nil {
		t.Fatal(err)
	}
	checkEqual(t, &got, v)
	// In the generic form, too.
	var generic Packable
	b, err := codecOf(t, relayed).AppendGeneric(nil, relayed)
	if err != nil {
		t.Fatal(err)
	}
	if err := codecOf(t, v).DecodeGeneric(b, &generic, Limits{}); err != nil {
		t.Fatal(err)
	}
	checkEqual(t, &generic, v)
}

// TestTypesThatAreNoTables: what has other fields than columns can have goes row by row.
func TestTypesThatAreNoTables(t *testing.T) {
	type withList struct {
		A int
		L []int
	}
	type withPointer struct {
		A int
		P *int
	}
	type withExtra struct {
		A int
		X Extra
	}
	type tree struct {
		A    int
		Kids []tree
	}
	type deep4 struct{ A int }
	type deep3 struct{ D deep4 }
	type deep2 struct{ D deep3 }
	type deep1 struct{ D deep2 }
	type deep0 struct{ D deep1 }
	type tooDeep struct{ D deep0 }
	for _, v := range []any{&[]withList{}, &[]withPointer{}, &[]withExtra{}, &[]tree{}, &[]tooDeep{}, &[]struct{}{}, &[]any{}} {
		for _, s := range codecOf(t, v).packSites {
			if s.packing == "table" {
				t.Errorf("%T can be a table", v)
			}
		}
	}
	many := reflect.New(reflect.SliceOf(reflect.StructOf(manyFields(maxColumns + 1)))).Interface()
	if codecOf(t, many).NewPacker() != nil {
		t.Error("a table of too many columns")
	}
	for _, v := range []any{&[]deep0{}, &[]Wide{}, &[]Reading{}} {
		if p := codecOf(t, v).NewPacker(); p == nil || p.Stats(slow)[0].Packing != "table" {
			t.Errorf("%T cannot be a table", v)
		}
	}
}

// TestHostileSchemasOfTables: a schema is from the peer. One that contains itself by value, or twice at each of many
// levels, has no columns, and to find that out takes no time.
func TestHostileSchemasOfTables(t *testing.T) {
	type reader struct{ L []struct{ A int64 } }
	self := &schema.Struct{Name: "self"}
	self.Fields = []schema.Field{{Name: "A", Type: &schema.Type{Kind: schema.KindStruct, Struct: self}}}
	if columnTypes(self) != nil {
		t.Error("a struct that contains itself")
	}
	double := &schema.Struct{Fields: []schema.Field{{Name: "A", Type: &schema.Type{Kind: schema.KindInt64}}}}
	for range 20 {
		in := &schema.Type{Kind: schema.KindStruct, Struct: double}
		double = &schema.Struct{Fields: []schema.Field{{Name: "A", Type: in}, {Name: "B", Type: in}}}
	}
	if columnTypes(double) != nil {
		t.Error("a struct of a million fields")
	}
	none := &schema.Struct{Fields: []schema.Field{{Name: "E", Type: &schema.Type{Kind: schema.KindStruct, Struct: &schema.Struct{}}}}}
	if columnTypes(none) != nil {
		t.Error("a struct without columns")
	}
	empty := &schema.Struct{}
	for range 4 { // 10^12 fields, and no column
		in := &schema.Type{Kind: schema.KindStruct, Struct: empty}
		empty = &schema.Struct{Fields: make([]schema.Field, 1000)}
		for i := range empty.Fields {
			empty.Fields[i].Type = in
		}
	}
	if columnTypes(empty) != nil {
		t.Error("a struct of nothing but structs without fields")
	}
	s, err := schema.New(&schema.Type{Kind: schema.KindStruct, Struct: &schema.Struct{Fields: []schema.Field{{
		Name: "L", Type: &schema.Type{Kind: schema.KindList, Elem: &schema.Type{Kind: schema.KindStruct, Struct: none}}}}}}, schema.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	rd, err := codecOf(t, &reader{}).Reader(s)
	if err != nil {
		t.Fatal(err)
	}
	var failed *DecodeError
	err = rd.Decode([]byte("\x81\xd9\xe3\x6e\x81\x01"), &reader{}, Limits{})
	if !errors.As(err, &failed) || failed.Field != "L" || !strings.Contains(failed.Reason, "fields that no column can have") {
		t.Errorf("%v", err)
	}
}
