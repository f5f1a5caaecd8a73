package codec

import (
	"encoding"
	"reflect"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// encoder holds what encoding one message needs besides the bytes.
type encoder struct {
	depth int
	link  any // of AppendLinked
	err   *EncodeError

	packer *Packer // or nil; the others are set if it is not
	cost   float32 // of a byte, in nanoseconds
	dice   uint32  // see site.choose
}

func (e *encoder) fail(reason string, err error) {
	if e.err == nil {
		e.err = &EncodeError{Reason: reason, Err: err}
	}
}

// enter goes one level deeper and reports whether that is allowed. Leaving is e.depth--.
func (e *encoder) enter() bool {
	if e.depth++; e.depth > maxDepth {
		e.fail("nested too deeply, or a pointer leads back to where it is", nil)
		return false
	}
	return true
}

// under puts name in front of the path of the error.
func (e *encoder) under(name string) { e.err.Field = joinPath(name, e.err.Field) }

// structure appends the struct at base.
func (e *encoder) structure(b []byte, p *plan, base unsafe.Pointer) []byte {
	if !e.enter() {
		return b
	}
	b = item.AppendHead(b, item.Array, uint64(len(p.ops)))
	for i := range p.ops {
		o := &p.ops[i]
		f := unsafe.Add(base, o.off)
		switch o.kind {
		case kText:
			s := *(*string)(f)
			b = append(item.AppendHead(b, item.Text, uint64(len(s))), s...)
			continue
		case kInt64:
			b = item.AppendInt(b, *(*int64)(f))
			continue
		case kUint64:
			b = item.AppendUint(b, *(*uint64)(f))
			continue
		case kBool:
			b = appendBool(b, *(*bool)(f))
			continue
		case kFloat64:
			b = appendFloat64(b, *(*float64)(f))
			continue
		case kStruct:
			b = e.structure(b, o.sub, f)
		case kTexts:
			if e.packer == nil {
				b = appendTexts(b, *(*[]string)(f))
				continue
			}
			b = e.container(b, o, f)
		default:
			b = e.value(b, o, f)
		}
		if e.err != nil {
			e.under(p.names[i])
			return b
		}
	}
	e.depth--
	return b
}

func appendTexts(b []byte, s []string) []byte {
	b = item.AppendHead(b, item.Array, uint64(len(s)))
	for i := range s {
		b = item.AppendText(b, s[i])
	}
	return b
}

// value appends the value at f.
func (e *encoder) value(b []byte, o *op, f unsafe.Pointer) []byte {
	switch o.kind {
	case kBool:
		return appendBool(b, *(*bool)(f))
	case kInt8:
		return item.AppendInt(b, int64(*(*int8)(f)))
	case kInt16:
		return item.AppendInt(b, int64(*(*int16)(f)))
	case kInt32:
		return item.AppendInt(b, int64(*(*int32)(f)))
	case kInt64:
		return item.AppendInt(b, *(*int64)(f))
	case kUint8:
		return item.AppendUint(b, uint64(*(*uint8)(f)))
	case kUint16:
		return item.AppendUint(b, uint64(*(*uint16)(f)))
	case kUint32:
		return item.AppendUint(b, uint64(*(*uint32)(f)))
	case kUint64:
		return item.AppendUint(b, *(*uint64)(f))
	case kFloat32:
		return appendFloat32(b, *(*float32)(f))
	case kFloat64:
		return appendFloat64(b, *(*float64)(f))
	case kText:
		return item.AppendText(b, *(*string)(f))
	case kBytes:
		return item.AppendBytes(b, *(*[]byte)(f))
	case kByteArray:
		return item.AppendBytes(b, unsafe.Slice((*byte)(f), o.x.n))
	case kTime:
		return appendTime(b, f)
	case kAny:
		return e.generic(b, *(*any)(f))
	case kCBOR:
		return e.generic(b, reflect.NewAt(o.x.typ, f).Interface())
	case kBinary, kTexter:
		return e.marshaler(b, o, f)
	case kLinked:
		return e.linked(b, o, f)
	case kStruct:
		return e.structure(b, o.sub, f)
	case kOptional:
		p := *(*unsafe.Pointer)(f)
		if p == nil {
			return append(b, byteNull)
		}
		return e.value(b, &o.x.elem, p)
	}
	return e.container(b, o, f)
}

func (e *encoder) container(b []byte, o *op, f unsafe.Pointer) []byte {
	switch o.kind {
	case kTexts:
		h := (*sliceHeader)(f)
		if e.packs(o) && h.len >= typedFrom {
			if b, ok := e.packList(b, o.x.col, h.data, o.x.size, h.len, textBytes(h.data, o.x.size, h.len)); ok {
				return b
			}
		}
		return appendTexts(b, *(*[]string)(f))
	case kStructs:
		return e.structs(b, o, (*sliceHeader)(f))
	case kNumbers, kWidenNumbers, kList:
		h := (*sliceHeader)(f)
		if o.x.typ.Kind() == reflect.Array {
			return e.elements(b, o, f, o.x.n)
		}
		if o.kind == kNumbers && h.len >= typedFrom && o.flags&flagPlain == 0 {
			return e.numbers(b, o, h.data, h.len)
		}
		if e.packs(o) && h.len >= typedFrom {
			if b, ok := e.packList(b, o.x.col, h.data, o.x.size, h.len, h.len*leastPacked(o.x.col.from)); ok {
				return b
			}
		}
		return e.elements(b, o, h.data, h.len)
	case kNumberArray:
		if o.x.n >= typedFrom && o.flags&flagPlain == 0 {
			return e.numbers(b, o, f, o.x.n)
		}
		return e.elements(b, o, f, o.x.n)
	case kArray:
		return e.elements(b, o, f, o.x.n)
	case kMapTextText:
		m := *(*map[string]string)(f)
		b = item.AppendHead(b, item.Map, uint64(len(m)))
		for k, v := range m {
			b = item.AppendText(item.AppendText(b, k), v)
		}
		return b
	case kMapTextInt64:
		m := *(*map[string]int64)(f)
		b = item.AppendHead(b, item.Map, uint64(len(m)))
		for k, v := range m {
			b = item.AppendInt(item.AppendText(b, k), v)
		}
		return b
	case kMapTextAny:
		return e.genericMap(b, *(*map[string]any)(f))
	case kMap:
		return e.mapping(b, o, f)
	case kExtra:
		return e.extra(b, o.x.extra, f)
	}
	panic("codec: no way to encode an op of kind " + o.kind.String())
}

// rows appends a list of structs one by one.
func (e *encoder) rows(b []byte, o *op, h *sliceHeader) []byte {
	b = item.AppendHead(b, item.Array, uint64(h.len))
	for i := range h.len {
		if b = e.structure(b, o.sub, unsafe.Add(h.data, uintptr(i)*o.x.size)); e.err != nil {
			e.under("[]")
			break
		}
	}
	return b
}

// packs reports whether there is a list that could be packed.
func (e *encoder) packs(o *op) bool { return e.packer != nil && o.x.col != nil && o.x.col.site != 0 }

func (e *encoder) elements(b []byte, o *op, data unsafe.Pointer, n int) []byte {
	b = item.AppendHead(b, item.Array, uint64(n))
	for i := range n {
		if b = e.value(b, &o.x.elem, unsafe.Add(data, uintptr(i)*o.x.size)); e.err != nil {
			e.under("[]")
			break
		}
	}
	return b
}

// mapping appends a map through reflect, which must know its type.
func (e *encoder) mapping(b []byte, o *op, f unsafe.Pointer) []byte {
	m := reflect.NewAt(o.x.typ, f).Elem()
	b = item.AppendHead(b, item.Map, uint64(m.Len()))
	if m.Len() == 0 {
		return b
	}
	key, elem := reflect.New(o.x.typ.Key()), reflect.New(o.x.typ.Elem())
	for it := m.MapRange(); it.Next(); {
		key.Elem().SetIterKey(it)
		elem.Elem().SetIterValue(it)
		if b = e.value(b, &o.x.key, key.UnsafePointer()); e.err != nil {
			e.under("[key]")
			break
		}
		if b = e.value(b, &o.x.elem, elem.UnsafePointer()); e.err != nil {
			e.under("[]")
			break
		}
	}
	return b
}

// marshaler appends the value at f with a method of its own.
func (e *encoder) marshaler(b []byte, o *op, f unsafe.Pointer) []byte {
	v := reflect.NewAt(o.x.typ, f).Interface()
	if o.kind == kBinary {
		p, err := v.(encoding.BinaryMarshaler).MarshalBinary()
		if err != nil {
			e.fail("MarshalBinary", err)
		}
		return item.AppendBytes(b, p)
	}
	p, err := v.(encoding.TextMarshaler).MarshalText()
	if err != nil {
		e.fail("MarshalText", err)
	}
	return item.AppendText(b, p)
}
