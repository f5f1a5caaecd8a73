package codec

import (
	"encoding"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/schema"
)

var (
	typeTime = reflect.TypeFor[time.Time]()

	typeCBORMarshaler     = reflect.TypeFor[cbor.Marshaler]()
	typeCBORUnmarshaler   = reflect.TypeFor[cbor.Unmarshaler]()
	typeBinaryMarshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	typeBinaryUnmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
	typeTextMarshaler     = reflect.TypeFor[encoding.TextMarshaler]()
	typeTextUnmarshaler   = reflect.TypeFor[encoding.TextUnmarshaler]()
	typeLinked            = reflect.TypeFor[linked]()
)

// custom says which methods of its own a type is encoded with.
type custom uint8

const (
	customNone custom = iota
	customCBOR
	customBinary
	customText
	customLinked
)

// customOf looks at the methods of *t, because fields are addressable. The order is the one of the generic form.
func customOf(t reflect.Type) custom {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return customNone
	}
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(typeLinked):
		return customLinked
	case p.Implements(typeCBORMarshaler) && p.Implements(typeCBORUnmarshaler):
		return customCBOR
	case p.Implements(typeBinaryMarshaler) && p.Implements(typeBinaryUnmarshaler):
		return customBinary
	case p.Implements(typeTextMarshaler) && p.Implements(typeTextUnmarshaler):
		return customText
	}
	return customNone
}

// structInfo is a Go struct and its description; fields and desc.Fields have the same indexes.
type structInfo struct {
	desc   *schema.Struct
	fields []field
}

type field struct {
	name string
	typ  reflect.Type
	off  uintptr
	opt  options
	def  reflect.Value // of default=, else invalid

	shape    *shape // of typ, where the generic form needs it
	index    []int  // how reflect finds it, for the promotion rules
	named    bool   // by a tag
	indirect bool   // behind an embedded pointer: off is the one in there
}

// describer turns Go types into descriptions.
type describer struct {
	structs  map[reflect.Type]*structInfo
	bySchema map[*schema.Struct]*structInfo
	open     map[reflect.Type]bool // lists, maps and pointers being described, to find types like type T []T
	path     []string              // steps to where the walk is, such as ".Items", "[]"

	shapes   map[reflect.Type]*shape
	rewrites bool    // whether fxamacker/cbor alone cannot do the generic form
	largest  uintptr // bytes in memory of the largest element of a list, a map or behind a pointer
	secret   bool    // whether a field is tagged so
	noDedup  bool    // whether a field is tagged so
	linked   bool    // whether anything is encoded with a link
	notPlain string  // why the positional form cannot express the type, with the place; "" when it can
}

func (d *describer) fail(t reflect.Type, reason string) error {
	return &TypeError{Type: t, Field: strings.TrimPrefix(strings.Join(d.path, ""), "."), Reason: reason}
}

// generic notes that only the generic form can express what is being described; the walk goes on to find errors.
func (d *describer) generic(reason string) *schema.Type {
	if d.notPlain == "" {
		d.notPlain = strings.TrimPrefix(strings.Join(d.path, "")+": "+reason, ".")
	}
	return &schema.Type{Kind: schema.KindAny}
}

var kinds = map[reflect.Kind]schema.Kind{
	reflect.Bool: schema.KindBool, reflect.Int: schema.KindInt64, reflect.Int8: schema.KindInt8,
	reflect.Int16: schema.KindInt16, reflect.Int32: schema.KindInt32, reflect.Int64: schema.KindInt64,
	reflect.Uint: schema.KindUint64, reflect.Uint8: schema.KindUint8, reflect.Uint16: schema.KindUint16,
	reflect.Uint32: schema.KindUint32, reflect.Uint64: schema.KindUint64,
	reflect.Float32: schema.KindFloat32, reflect.Float64: schema.KindFloat64, reflect.String: schema.KindText,
}

func (d *describer) typ(t reflect.Type) (*schema.Type, error) {
	switch t {
	case typeTime:
		return &schema.Type{Kind: schema.KindTime}, nil
	case typeExtra:
		return nil, d.fail(t, "an Extra is a field of a struct and nothing else")
	}
	switch customOf(t) {
	case customCBOR:
		return &schema.Type{Kind: schema.KindAny}, nil
	case customBinary:
		return &schema.Type{Kind: schema.KindBytes}, nil
	case customLinked:
		d.linked = true
		return &schema.Type{Kind: schema.KindBytes}, nil
	case customText:
		return &schema.Type{Kind: schema.KindText}, nil
	}
	if k, ok := kinds[t.Kind()]; ok {
		return &schema.Type{Kind: k}, nil
	}
	switch t.Kind() {
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return nil, d.fail(t, "interface types other than any cannot be decoded")
		}
		return &schema.Type{Kind: schema.KindAny}, nil
	case reflect.Struct:
		s, err := d.structure(t)
		if err != nil {
			return nil, err
		}
		return &schema.Type{Kind: schema.KindStruct, Struct: s.desc}, nil
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
	default:
		return nil, d.fail(t, "a "+t.Kind().String()+" cannot be sent")
	}
	if d.open[t] {
		return d.generic("list, map or pointer that contains itself without a struct in between"), nil
	}
	d.open[t] = true
	defer delete(d.open, t)
	return d.composite(t)
}

func (d *describer) composite(t reflect.Type) (*schema.Type, error) {
	elem := t.Elem()
	if t.Kind() != reflect.Array {
		d.largest = max(d.largest, elem.Size())
	}
	switch t.Kind() {
	case reflect.Slice:
		if elem.Kind() == reflect.Uint8 && customOf(elem) == customNone {
			return &schema.Type{Kind: schema.KindBytes}, nil
		}
		e, err := d.under("[]", elem)
		return &schema.Type{Kind: schema.KindList, Elem: e}, err
	case reflect.Array:
		e, err := d.under("[]", elem)
		return &schema.Type{Kind: schema.KindArray, Len: t.Len(), Elem: e}, err
	case reflect.Map:
		k, err := d.under("[key]", t.Key())
		if err != nil {
			return nil, err
		}
		e, err := d.under("[]", elem)
		if !mapKey(k) {
			return d.generic("map with keys other than bools, integers, text and bytes"), err
		}
		return &schema.Type{Kind: schema.KindMap, Key: k, Elem: e}, err
	}
	e, err := d.typ(elem)
	if err == nil && (e.Kind == schema.KindOptional || e.Kind == schema.KindAny) {
		return d.generic("pointer to a pointer or to any"), nil
	}
	return &schema.Type{Kind: schema.KindOptional, Elem: e}, err
}

func mapKey(k *schema.Type) bool {
	switch k.Kind {
	case schema.KindBool, schema.KindText, schema.KindBytes:
		return true
	case schema.KindArray:
		return k.Elem.Kind == schema.KindUint8
	}
	return k.Kind.Integer()
}

func (d *describer) under(step string, t reflect.Type) (*schema.Type, error) {
	d.path = append(d.path, step)
	s, err := d.typ(t)
	d.path = d.path[:len(d.path)-1]
	return s, err
}

func (d *describer) structure(t reflect.Type) (*structInfo, error) {
	if s := d.structs[t]; s != nil {
		return s, nil
	}
	name, _, _ := strings.Cut(t.Name(), "[") // the arguments of a generic type hold package paths
	s := &structInfo{desc: &schema.Struct{Name: name}}
	d.structs[t], d.bySchema[s.desc] = s, s
	var err error
	if s.fields, err = d.fieldsOf(t); err != nil {
		return nil, err
	}
	s.desc.Fields = make([]schema.Field, 0, len(s.fields))
	for i := range s.fields {
		f := &s.fields[i]
		if f.typ == typeExtra {
			if err := d.extra(s.desc, f); err != nil {
				return nil, err
			}
			continue
		}
		d.rewrites = d.rewrites || f.opt.id != 0 || f.opt.required
		ft, err := d.under("."+f.name, f.typ)
		if err != nil {
			return nil, err
		}
		if f.opt.def != "" {
			if f.def, err = parseDefault(f.typ, f.opt.def); err == nil && customOf(f.typ) != customNone {
				err = errors.New("tag option default= is for bools, numbers and strings without methods of their own")
			}
			if err != nil {
				return nil, d.failField(f.typ, f.name, err)
			}
		}
		s.desc.Fields = append(s.desc.Fields, schema.Field{
			Name: f.name, Type: ft, ID: f.opt.id, Required: f.opt.required, Default: f.opt.def,
		})
	}
	return s, nil
}

// extra describes f, a field of type Extra.
func (d *describer) extra(s *schema.Struct, f *field) error {
	if f.opt.id != 0 || f.opt.required || f.opt.def != "" {
		return d.failField(f.typ, f.name, errors.New("tag options id=, required and default= are not for an Extra"))
	}
	if slices.ContainsFunc(s.Fields, func(f schema.Field) bool { return f.Type.Kind == schema.KindExtra }) {
		return d.failField(f.typ, f.name, errors.New("second Extra of a struct"))
	}
	d.rewrites, d.largest = true, max(d.largest, f.typ.Elem().Size())
	s.Fields = append(s.Fields, schema.Field{Type: &schema.Type{Kind: schema.KindExtra}})
	return nil
}

func (d *describer) failField(t reflect.Type, name string, err error) error {
	d.path = append(d.path, "."+name)
	defer func() { d.path = d.path[:len(d.path)-1] }()
	return d.fail(t, err.Error())
}

// fieldsOf lists the fields of t in order, those of embedded structs in their place, by the promotion rules of
// encoding/json: of fields with one name the least nested wins, then the one named by a tag; a draw hides them all.
func (d *describer) fieldsOf(t reflect.Type) ([]field, error) {
	var all []field
	if err := d.collect(t, embedding{}, &all); err != nil {
		return nil, err
	}
	byName := make(map[string][]field)
	for _, f := range all {
		byName[f.name] = append(byName[f.name], f)
	}
	out := all[:0]
	ids := make(map[uint32]string)
	for _, f := range all {
		if !dominates(f, byName[f.name]) {
			continue
		}
		if other := ids[f.opt.id]; f.opt.id != 0 && other != "" {
			return nil, d.failField(f.typ, f.name, errors.New("tag option id= is the one of field "+other))
		}
		ids[f.opt.id] = f.name
		out = append(out, f)
	}
	return out, nil
}

func dominates(f field, rivals []field) bool {
	for _, r := range rivals {
		if slices.Equal(r.index, f.index) {
			continue
		}
		if len(r.index) < len(f.index) || len(r.index) == len(f.index) && (r.named || !f.named) {
			return false
		}
	}
	return true
}

// embedding says where the fields of an embedded struct are.
type embedding struct {
	off      uintptr
	index    []int
	outer    []reflect.Type
	indirect bool

	secret, noDedup bool // of the tag of the embedded struct, which count for its fields
}

func (d *describer) collect(t reflect.Type, in embedding, all *[]field) error {
	for i := range t.NumField() {
		f := t.Field(i)
		opt, err := parseTag(f)
		if err != nil {
			return d.failField(f.Type, f.Name, err)
		}
		if opt.skip {
			continue
		}
		opt.secret, opt.noDedup = opt.secret || in.secret, opt.noDedup || in.noDedup
		d.secret, d.noDedup = d.secret || opt.secret, d.noDedup || opt.noDedup
		at := append(slices.Clone(in.index), i)
		if e, pointer := embeddedStruct(f, opt); e != nil {
			inner := embedding{in.off + f.Offset, at, append(slices.Clone(in.outer), t), in.indirect, opt.secret, opt.noDedup}
			if pointer {
				d.generic("embedded pointer to a struct")
				inner.off, inner.indirect = 0, true
			}
			if slices.Contains(inner.outer, e) {
				continue // a pointer back: what is outside hides it all
			}
			if err := d.collect(e, inner, all); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		name := opt.name
		if name == "" {
			name = f.Name
		}
		*all = append(*all, field{
			name: name, typ: f.Type, off: in.off + f.Offset, opt: opt,
			index: at, named: opt.name != "", indirect: in.indirect,
		})
	}
	return nil
}

// embeddedStruct returns the struct that f embeds, directly or as a pointer, when its fields are to be promoted.
func embeddedStruct(f reflect.StructField, opt options) (t reflect.Type, pointer bool) {
	t = f.Type
	if !f.Anonymous || opt.name != "" {
		return nil, false
	}
	if t.Kind() == reflect.Pointer {
		t, pointer = t.Elem(), true
	}
	if t.Kind() != reflect.Struct || customOf(t) != customNone || t == typeTime {
		return nil, false
	}
	return t, pointer
}
