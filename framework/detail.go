package framework

import (
	"errors"
	"reflect"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire"
)

// MaxErrorDetailBytes bounds the details of one [Error] together, names and encoded values.
const MaxErrorDetailBytes = 64 << 10

// detailMode decodes details. They come from the peer, at most wire.MaxDetailBytes each.
var detailMode = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  16,
		MaxArrayElements: wire.MaxDetailBytes,
		MaxMapPairs:      wire.MaxDetailBytes,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return mode
}()

// WithDetail returns a copy of e that also carries v, so that errors declared once per package can be shared;
// e itself does not change. The caller finds the value with [Detail].
//
// A detail travels as the name of its type (without the package) and the value in self-describing CBOR, so any
// named type works, and neither side needs to know it to pass it on. v is encoded before WithDetail returns and may be
// changed afterwards. A value is left out when its type has no name or CBOR cannot express it (functions,
// channels), when its encoding exceeds [wire.MaxDetailBytes], or when with it e would carry more than
// [wire.MaxDetails] details or [MaxErrorDetailBytes].
func (e *Error) WithDetail(v any) *Error {
	c := *e
	name := detailName(reflect.TypeOf(v))
	if name == "" || len(e.details) >= wire.MaxDetails {
		return &c
	}
	data, err := cbor.Marshal(v)
	if err != nil || len(data) > wire.MaxDetailBytes {
		return &c
	}
	total := len(name) + len(data)
	for _, d := range e.details {
		total += len(d.Name) + len(d.Data)
	}
	if total > MaxErrorDetailBytes {
		return &c
	}
	c.details = append(e.details[:len(e.details):len(e.details)], wire.Detail{Name: name, Data: data})
	return &c
}

// Detail returns the first detail of type T, or of type *T, that err carries, and whether there is one. Details
// are found by the name of the type; one whose content does not fit into a T is passed over. When errors wrap
// each other the outermost are searched first. The result is a copy.
func Detail[T any](err error) (T, bool) {
	name := detailName(reflect.TypeFor[T]())
	for {
		e, ok := errors.AsType[*Error](err)
		if !ok || e == nil {
			var none T
			return none, false
		}
		for _, d := range e.details {
			var v T
			if d.Name == name && detailMode.Unmarshal(d.Data, &v) == nil {
				return v, true
			}
		}
		err = e.cause
	}
}

// detailName returns the name of a detail of type t or *t, "" when there is none.
func detailName(t reflect.Type) string {
	if t == nil {
		return ""
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	// The arguments of a generic type are written with their packages, which are ours alone.
	name, _, _ := strings.Cut(t.Name(), "[")
	if len(name) > wire.MaxMethodBytes {
		return ""
	}
	return name
}
