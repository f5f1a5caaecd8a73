package codec

import (
	"reflect"
	"slices"

	"github.com/mycel-rpc/mycel/wire/schema"
)

// builder makes ops for reading what one schema describes into Go types. With one schema on both sides it makes the
// plan for writing, too.
type builder struct {
	res   *schema.Resolution
	info  map[*schema.Struct]*structInfo
	plans map[planKey]*plan
	kept  uintptr // memory of the largest element of a list or map
}

type planKey struct {
	writer *schema.Struct
	typ    reflect.Type
	flags  uint8
}

var scalarKinds = map[schema.Kind]kind{
	schema.KindBool: kBool, schema.KindInt8: kInt8, schema.KindInt16: kInt16, schema.KindInt32: kInt32,
	schema.KindInt64: kInt64, schema.KindUint8: kUint8, schema.KindUint16: kUint16, schema.KindUint32: kUint32,
	schema.KindUint64: kUint64, schema.KindFloat32: kFloat32, schema.KindFloat64: kFloat64,
	schema.KindText: kText, schema.KindBytes: kBytes, schema.KindTime: kTime, schema.KindAny: kAny,
}

// value makes the op for a value that w describes on the wire, r in this program, and t holds in memory.
func (b *builder) value(w, r *schema.Type, t reflect.Type, flags uint8) op {
	o := op{kind: scalarKinds[r.Kind], flags: flags}
	switch customOf(t) {
	case customCBOR:
		o.kind, o.x = kCBOR, &detail{typ: t}
		return o
	case customBinary:
		if t != typeTime {
			o.kind, o.x = kBinary, &detail{typ: t}
			return o
		}
	case customLinked:
		o.kind, o.x = kLinked, &detail{typ: t}
		return o
	case customText:
		o.kind, o.x = kTexter, &detail{typ: t}
		return o
	}
	switch r.Kind {
	case schema.KindInt64, schema.KindUint64:
		if t.Size() == 4 { // int and uint where they have 32 bits
			o.kind -= kInt64 - kInt32
		}
	case schema.KindFloat64:
		if w.Kind == schema.KindFloat32 {
			o.kind = kWidenFloat
		}
	case schema.KindStruct:
		o.kind, o.sub = kStruct, b.structure(w.Struct, r.Struct, t, flags)
	case schema.KindOptional:
		inner := w
		if w.Kind == schema.KindOptional {
			inner = w.Elem
		}
		o.kind = kOptional
		o.x = &detail{typ: t.Elem(), size: t.Elem().Size(), elem: b.value(inner, r.Elem, t.Elem(), flags)}
	case schema.KindList, schema.KindArray:
		b.list(&o, w, r, t)
	case schema.KindMap:
		b.mapping(&o, w, r, t)
	}
	return o
}

func (b *builder) list(o *op, w, r *schema.Type, t reflect.Type) {
	o.x = &detail{
		typ: t, size: t.Elem().Size(), n: r.Len, min: leastBytes(w.Elem),
		elem: b.value(w.Elem, r.Elem, t.Elem(), o.flags), wire: w,
	}
	num, isNumber := numberOf(w.Elem.Kind)
	_, numberHere := numberOf(r.Elem.Kind) // or a pointer to one
	isNumber = isNumber && numberHere && customOf(t.Elem()) == customNone
	array := r.Kind == schema.KindArray
	switch {
	case array && r.Elem.Kind == schema.KindUint8 && w.Elem.Kind == r.Elem.Kind && isNumber:
		o.kind = kByteArray
	case isNumber && w.Elem.Kind == r.Elem.Kind && uintptr(num.width) == o.x.size:
		o.x.num, o.kind = num, kNumbers
		if array {
			o.kind = kNumberArray
		}
	case isNumber:
		o.x.num, o.kind = num, kWidenNumbers
	case array:
		o.kind = kArray
	case o.x.elem.kind == kText:
		o.kind = kTexts
	case o.x.elem.kind == kStruct:
		o.kind, o.sub = kStructs, o.x.elem.sub
	default:
		o.kind = kList
	}
	switch {
	case isNumber:
	case o.kind == kTexts, o.kind == kList && (o.x.elem.kind == kBool || o.x.elem.kind == kTime):
	default:
		return
	}
	o.x.col = &column{op: o.x.elem, from: w.Elem.Kind, codec: packCodec(w.Elem.Kind)}
}

func (b *builder) mapping(o *op, w, r *schema.Type, t reflect.Type) {
	o.kind = kMap
	o.x = &detail{
		typ: t, size: t.Key().Size() + t.Elem().Size(), min: leastBytes(w.Key) + leastBytes(w.Elem),
		key: b.value(w.Key, r.Key, t.Key(), o.flags), elem: b.value(w.Elem, r.Elem, t.Elem(), o.flags),
	}
	if t.Key() != reflect.TypeFor[string]() {
		return
	}
	switch t.Elem() {
	case reflect.TypeFor[string]():
		o.kind = kMapTextText
	case reflect.TypeFor[int64]():
		o.kind = kMapTextInt64
	case reflect.TypeFor[any]():
		o.kind = kMapTextAny
	}
}

func (b *builder) structure(w, r *schema.Struct, t reflect.Type, flags uint8) *plan {
	key := planKey{w, t, flags}
	if p := b.plans[key]; p != nil {
		return p
	}
	p := &plan{typ: t}
	b.plans[key] = p // before its fields, which may lead back here
	m, fields := b.res.Match(w, r), b.info[r].fields
	p.ops, p.names = make([]op, len(w.Fields)), make([]string, len(w.Fields))
	keep := slices.IndexFunc(fields, func(f field) bool { return f.typ == typeExtra })
	for i, j := range m.Fields {
		wf := &w.Fields[i]
		switch {
		case wf.Type.Kind == schema.KindExtra:
			p.ops[i] = op{kind: kExtra, x: &detail{extra: b.extra(w, r, m, keep)}}
			continue // its errors name other fields
		case j < 0:
			p.names[i] = wf.Name
			if keep >= 0 {
				p.ops[i] = op{kind: kUnknown, off: fields[keep].off, x: &detail{unknown: &unknown{wf.Name, wf.ID, wf.Type}}}
			}
			continue
		}
		f := &fields[j]
		p.names[i] = f.name
		p.ops[i] = b.value(wf.Type, r.Fields[j].Type, f.typ, flags|f.opt.flags())
		p.ops[i].off = f.off
	}
	for _, j := range m.Missing {
		if j != keep {
			p.reset = b.appendReset(p.reset, r.Fields[j].Type, &fields[j], 0)
		}
	}
	if keep >= 0 {
		p.reset = b.appendReset(p.reset, r.Fields[keep].Type, &fields[keep], 0)
	}
	return p
}

// extra describes how a reader that lacks the missing fields of m takes them from the writer's Extra. Its own Extra is
// the field with the index keep, negative for none.
func (b *builder) extra(w, r *schema.Struct, m *schema.Match, keep int) *extraPlan {
	x := &extraPlan{name: "extra", kept: b.kept, sent: make(map[fieldKey]bool, len(w.Fields))}
	for i := range w.Fields {
		x.sent[fieldKey{w.Fields[i].Name, w.Fields[i].ID}] = true
	}
	fields := b.info[r].fields
	if keep >= 0 {
		x.keep, x.name, x.off = true, fields[keep].name, fields[keep].off
	}
	for _, j := range m.Missing {
		if j == keep {
			continue
		}
		f := &fields[j]
		x.missing.add(shapeField{f.name, f.opt.id, r.Fields[j].Required, f.shape})
		x.at = append(x.at, place{f.typ, f.off})
	}
	return x
}

func (o options) flags() (f uint8) {
	if o.copy {
		f |= flagCopy
	}
	if o.plain {
		f |= flagPlain
	}
	if o.secret {
		f |= flagSecret
	}
	if o.noDedup {
		f |= flagNoDedup
	}
	return f
}

// appendReset appends the ops that give f its default, and the fields of a struct f theirs.
func (b *builder) appendReset(ops []op, r *schema.Type, f *field, base uintptr) []op {
	o := op{kind: kSetZero, off: base + f.off, x: &detail{typ: f.typ}}
	switch f.typ.Kind() {
	case reflect.String:
		o.kind = kSetText
		if f.def.IsValid() {
			o.x.text = f.def.String()
		}
	case reflect.Slice:
		o.kind = kSetSlice
	case reflect.Pointer, reflect.Map:
		o.kind = kSetPointer
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint,
		reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		o.kind, o.x.bits = scalarReset(f)
	}
	ops = append(ops, o)
	if r.Kind != schema.KindStruct {
		return ops
	}
	return b.appendDefaults(ops, r.Struct, base+f.off)
}

// appendDefaults appends the ops that give the fields of a zero s at base their defaults, where they have some.
func (b *builder) appendDefaults(ops []op, s *schema.Struct, base uintptr) []op {
	inner := b.info[s]
	if inner == nil {
		return ops
	}
	for i := range inner.fields {
		f := &inner.fields[i]
		if f.indirect {
			continue
		}
		if ft := s.Fields[i].Type; ft.Kind == schema.KindStruct {
			ops = b.appendDefaults(ops, ft.Struct, base+f.off)
		} else if f.def.IsValid() {
			ops = b.appendReset(ops, ft, f, base)
		}
	}
	return ops
}

func scalarReset(f *field) (kind, uint64) {
	def := f.def
	if !def.IsValid() {
		def = reflect.New(f.typ).Elem()
	}
	p := def.Addr().UnsafePointer()
	switch f.typ.Size() {
	case 1:
		return kSet8, uint64(*(*uint8)(p))
	case 2:
		return kSet16, uint64(*(*uint16)(p))
	case 4:
		return kSet32, uint64(*(*uint32)(p))
	}
	return kSet64, *(*uint64)(p)
}
