package codec

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/schema"
)

// second is the second opinion of all fuzz targets, as permissive as we can be.
var second = must(cbor.DecOptions{MaxNestedLevels: 4 * maxDepth, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32}.DecMode())

// equal is reflect.DeepEqual, but floats are compared bit by bit and times as instants.
func equal(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	case reflect.Pointer, reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || equal(a.Elem(), b.Elem()))
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			if v := b.MapIndex(it.Key()); !v.IsValid() || !equal(it.Value(), v) {
				return false
			}
		}
		return true
	case reflect.Struct:
		if t, ok := a.Interface().(time.Time); ok {
			return t.Equal(b.Interface().(time.Time))
		}
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() && !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// fuzzed are the types that fuzz targets choose from by number.
var fuzzed = []any{&Call{}, &Scalar{}, &Lists{}, &Arrays{}, &Maps{}, &Pointers{}, &Node{}, &Envelope{}, &Custom{}, ptr([]any{}), &Relay{}, &Columns{}, &Batch{}, &Packable{}}

func fuzzSeeds(f *testing.F, encode func(*Codec, []byte, any) ([]byte, error)) {
	for i, kind := range fuzzed {
		for _, v := range samples() {
			if reflect.TypeOf(v) != reflect.TypeOf(kind) {
				continue
			}
			b, err := encode(codecOf(f, v), nil, v)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(i), b)
		}
	}
}

// appendAllPacked appends v with everything packed, if there is anything to pack.
func appendAllPacked(t testing.TB) func(c *Codec, dst []byte, v any) ([]byte, error) {
	return func(c *Codec, dst []byte, v any) ([]byte, error) {
		if c.NewPacker() == nil {
			return c.Append(dst, v)
		}
		return append(dst, packedOf(t, v)...), nil
	}
}

func FuzzDecode(f *testing.F) {
	fuzzSeeds(f, (*Codec).Append)
	fuzzSeeds(f, appendAllPacked(f))
	f.Fuzz(func(t *testing.T, which byte, msg []byte) {
		kind := fuzzed[int(which)%len(fuzzed)]
		c, v := codecOf(t, kind), newOf(kind)
		buffer := bytes.Clone(msg)
		if c.Decode(buffer, v, Limits{MaxElements: 10000}) != nil {
			return
		}
		if err := second.Wellformed(msg); err != nil {
			t.Fatalf("accepted, but fxamacker/cbor: %v", err)
		}
		first := newOf(kind)
		if err := c.Decode(msg, first, Limits{}); err != nil {
			t.Fatal(err)
		}
		if clear(buffer); !equal(reflect.ValueOf(v), reflect.ValueOf(first)) {
			t.Fatalf("what was decoded changes with the message: %+v, was %+v", v, first)
		}
		if c.NewPacker() != nil && !holdsAny(kind) {
			again := newOf(kind)
			if err := c.Decode(packedOf(t, v), again, Limits{}); err != nil || !equal(reflect.ValueOf(v), reflect.ValueOf(again)) {
				t.Fatalf("packed, it comes back different: %v", err)
			}
		}
		rounds := 1
		if holdsAny(kind) {
			rounds = 2 // the generic form writes some values of any as others: after one round they must be stable
		}
		var again any
		for range rounds {
			b, err := c.Append(nil, v)
			if err != nil && holdsAny(kind) {
				return // a value that its own encoder refuses, such as a year of five digits
			}
			if err != nil {
				t.Fatalf("decoded % x, but cannot encode it: %v", msg, err)
			}
			again = newOf(kind)
			if err := c.Decode(b, again, Limits{}); err != nil {
				t.Fatalf("% x encoded as % x: %v", msg, b, err)
			}
			first, v = v, again
		}
		if !equal(reflect.ValueOf(first), reflect.ValueOf(again)) {
			t.Fatalf("% x\ngot  %+v\nwant %+v", msg, again, first)
		}
	})
}

func holdsAny(v any) bool {
	switch v.(type) {
	case *Custom, *Maps, *[]any:
		return true
	}
	return false
}

func FuzzDecodeGeneric(f *testing.F) {
	fuzzSeeds(f, (*Codec).AppendGeneric)
	f.Fuzz(func(t *testing.T, which byte, msg []byte) {
		kind := fuzzed[int(which)%len(fuzzed)]
		c, v := codecOf(t, kind), newOf(kind)
		if c.DecodeGeneric(msg, v, Limits{MaxElements: 10000}) != nil {
			return
		}
		if err := second.Wellformed(msg); err != nil {
			t.Fatalf("accepted, but fxamacker/cbor: %v", err)
		}
		b, err := c.AppendGeneric(nil, v)
		if err != nil {
			return // for instance a year that has five digits
		}
		if err := c.DecodeGeneric(b, newOf(kind), Limits{}); err != nil {
			t.Fatalf("% x encoded as % x: %v", msg, b, err)
		}
	})
}

// evolvedNode is what a newer program makes of Node.
type evolvedNode struct {
	Kids  []evolvedNode
	Note  string `cbor:",default=none"`
	Label string `cbor:"Name"`
}

// olderRelay knows less than Relay, and keeps it.
type olderRelay struct {
	Kids []olderRelay
	Rest Extra
}

// evolvedPackable is what a newer program makes of Packable: most of it has to be expanded.
type evolvedPackable struct {
	I8  []int32
	U16 []*uint64
	F32 []float64
	S   []*string
	T   []*time.Time
	A   [40]int64
	W   []struct {
		I32 int64
		At  struct{ Seen *time.Time }
		S   *string
	}
}

// keptPackable knows nothing of it, and keeps it.
type keptPackable struct{ Rest Extra }

// evolvedBatch reads tables column by column.
type evolvedBatch struct {
	Readings []struct {
		ID   uint64
		Note string `cbor:",default=x"`
		At   int64
	}
}

// FuzzReader decodes messages of one schema into the types of another one, and the same messages into their own type:
// whatever an evolved reader accepts consists of items that are well-formed.
func FuzzReader(f *testing.F) {
	for _, v := range samples() {
		switch v.(type) {
		case *Node:
			f.Add(byte(0), appendOf(f, v))
		case *Call:
			f.Add(byte(1), appendOf(f, v))
		}
	}
	f.Add(byte(1), appendOf(f, &CallV2{"k/1", "get", "a note", 7, true, []string{"x", "y"}}))
	for _, v := range samples() {
		if _, ok := v.(*Relay); ok {
			f.Add(byte(2), appendOf(f, v))
		}
	}
	for _, noise := range []bool{false, true} {
		f.Add(byte(3), packedOf(f, newPackable(20, noise)))
		f.Add(byte(4), packedOf(f, newPackable(20, noise)))
	}
	f.Add(byte(5), packedOf(f, newBatch(30)))
	pairs := []struct{ writer, reader any }{
		{&Node{}, &evolvedNode{}}, {&CallV2{}, &Call{}}, {&Relay{}, &olderRelay{}},
		{&Packable{}, &evolvedPackable{}}, {&Packable{}, &keptPackable{}}, {&Batch{}, &evolvedBatch{}},
	}
	f.Fuzz(func(t *testing.T, which byte, msg []byte) {
		p := pairs[int(which)%len(pairs)]
		w, r := codecOf(t, p.writer), codecOf(t, p.reader)
		rd, err := r.Reader(w.Schema())
		if err != nil {
			t.Fatal(err)
		}
		v := newOf(p.reader)
		readErr, ownErr := rd.Decode(msg, v, Limits{}), w.Decode(msg, newOf(p.writer), Limits{})
		if ownErr == nil && readErr != nil {
			t.Fatalf("the writer's own type accepts % x, the evolved one does not: %v", msg, readErr)
		}
		if readErr != nil {
			return
		}
		if err := second.Wellformed(msg); err != nil {
			t.Fatalf("accepted, but fxamacker/cbor: %v", err)
		}
		b, err := r.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		again := newOf(p.reader)
		if err := r.Decode(b, again, Limits{}); err != nil || !equal(reflect.ValueOf(v), reflect.ValueOf(again)) {
			t.Fatalf("got %+v, want %+v, %v", again, v, err)
		}
	})
}

// FuzzWriterSchema reads a message by any schema a peer may send.
func FuzzWriterSchema(f *testing.F) {
	for _, v := range []any{&Call{}, &CallV2{}, &Node{}, &Lists{}, &Empty{}, &Relay{}, &Scalar{}, &Maps{}} {
		f.Add(codecOf(f, v).Schema().Canonical(), appendOf(f, v))
	}
	f.Add(codecOf(f, &Packable{}).Schema().Canonical(), packedOf(f, newPackable(20, false)))
	f.Add(codecOf(f, &Batch{}).Schema().Canonical(), packedOf(f, newBatch(20)))
	f.Fuzz(func(t *testing.T, canonical, msg []byte) {
		s, err := schema.Parse(canonical, schema.Limits{})
		if err != nil {
			return
		}
		for _, kind := range []any{&Call{}, &Node{}, &Lists{}, &olderRelay{}, &Relay{}, &evolvedPackable{}, &evolvedBatch{}} {
			rd, err := codecOf(t, kind).Reader(s)
			if err != nil {
				continue
			}
			v := newOf(kind)
			if rd.Decode(msg, v, Limits{}) != nil {
				continue
			}
			if second.Wellformed(msg) != nil {
				t.Fatalf("accepted % x", msg)
			}
			b, err := codecOf(t, kind).Append(nil, v)
			if err != nil {
				t.Fatalf("decoded % x, but cannot encode it: %v", msg, err)
			}
			again := newOf(kind)
			if err := codecOf(t, kind).Decode(b, again, Limits{}); err != nil || !equal(reflect.ValueOf(v), reflect.ValueOf(again)) {
				t.Fatalf("got %+v, want %+v, %v", again, v, err)
			}
		}
	})
}
