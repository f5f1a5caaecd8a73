package codec

import (
	"encoding"
	"reflect"
	"time"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// structure decodes a struct into base. Fields that are not on the wire get their defaults.
func (d *decoder) structure(p *plan, base unsafe.Pointer) {
	at := d.i
	if n := d.head(item.Array); n != uint64(len(p.ops)) {
		d.failLen(at, int(min(n, 1<<30)), len(p.ops))
		return
	}
	if !d.enter() {
		return
	}
	for i := range p.reset { // before the ops: an Extra among them may have those fields
		p.reset[i].apply(unsafe.Add(base, p.reset[i].off))
	}
	for i := range p.ops {
		o := &p.ops[i]
		f := unsafe.Add(base, o.off)
		switch o.kind {
		case kText:
			*(*string)(f) = d.text(o.flags)
		case kInt64:
			*(*int64)(f) = d.int64()
		case kUint64:
			*(*uint64)(f) = d.head(item.Uint)
		case kBool:
			*(*bool)(f) = d.bool()
		case kFloat64:
			*(*float64)(f) = d.float64()
		case kTexts:
			d.texts(o, f)
		case kStruct:
			d.structure(o.sub, f)
		case kSkip:
			d.skip(0)
		default:
			d.value(o, f)
		}
		if d.err != nil {
			d.err.under(p.names[i])
			return
		}
	}
	d.depth++
}

// apply stores the default of a field at f.
func (o *op) apply(f unsafe.Pointer) {
	switch o.kind {
	case kSet8:
		*(*uint8)(f) = uint8(o.x.bits)
	case kSet16:
		*(*uint16)(f) = uint16(o.x.bits)
	case kSet32:
		*(*uint32)(f) = uint32(o.x.bits)
	case kSet64:
		*(*uint64)(f) = o.x.bits
	case kSetText:
		*(*string)(f) = o.x.text
	case kSetSlice:
		*(*[]byte)(f) = nil // every nil slice is three zero words
	case kSetPointer:
		*(*unsafe.Pointer)(f) = nil
	default:
		reflect.NewAt(o.x.typ, f).Elem().SetZero()
	}
}

// value decodes one value into f.
func (d *decoder) value(o *op, f unsafe.Pointer) {
	switch o.kind {
	case kBool:
		*(*bool)(f) = d.bool()
	case kInt8, kInt16, kInt32, kInt64:
		at := d.i
		if !storeInt(o.kind, f, d.int64()) {
			d.failAt(at, "integer overflows "+o.kind.String())
		}
	case kUint8, kUint16, kUint32, kUint64:
		at := d.i
		if !storeUint(o.kind, f, d.head(item.Uint)) {
			d.failAt(at, "integer overflows "+o.kind.String())
		}
	case kFloat32:
		*(*float32)(f) = d.float32()
	case kFloat64:
		*(*float64)(f) = d.float64()
	case kWidenFloat:
		*(*float64)(f) = float64(d.float32())
	case kText:
		*(*string)(f) = d.text(o.flags)
	case kBytes:
		d.bytes(f)
	case kByteArray:
		d.byteArray(o, f)
	case kTime:
		*(*time.Time)(f) = d.time()
	case kAny:
		*(*any)(f) = d.generic(o.flags)
	case kCBOR:
		d.cbor(o, f)
	case kBinary, kTexter:
		d.unmarshaler(o, f)
	case kLinked:
		d.linked(o, f)
	case kStruct:
		d.structure(o.sub, f)
	case kOptional:
		d.optional(o, f)
	case kTexts:
		d.texts(o, f)
	case kNumbers:
		d.numbers(o, f)
	case kWidenNumbers:
		d.widenNumbers(o, f)
	case kNumberArray:
		d.numberArray(o, f)
	case kList, kStructs:
		d.list(o, f)
	case kArray:
		d.array(o, f)
	case kMapTextText, kMapTextInt64, kMapTextAny:
		d.textMap(o, f)
	case kMap:
		d.mapping(o, f)
	case kExtra:
		d.extra(o.x.extra, f)
	case kUnknown:
		d.unknown(o.x.unknown, f)
	case kSkip:
		d.skip(0)
	default:
		panic("codec: no way to decode an op of kind " + o.kind.String())
	}
}

// bytes decodes bytes into the slice at f, whose memory it reuses.
func (d *decoder) bytes(f unsafe.Pointer) {
	p := (*[]byte)(f)
	if raw := d.raw(item.Bytes); len(raw) > 0 {
		*p = item.AppendPieces((*p)[:0], raw)
	} else {
		*p = nil
	}
}

func (d *decoder) byteArray(o *op, f unsafe.Pointer) {
	at := d.i
	raw := d.raw(item.Bytes)
	if d.failed() {
		return
	}
	if len(raw) != o.x.n {
		d.failLen(at, len(raw), o.x.n)
		return
	}
	copy(unsafe.Slice((*byte)(f), o.x.n), raw)
}

func (d *decoder) optional(o *op, f unsafe.Pointer) {
	if d.i < len(d.b) && d.b[d.i] == byteNull {
		d.i++
		*(*unsafe.Pointer)(f) = nil
		return
	}
	if !d.memory(1, o.x.size) {
		return
	}
	p := reflect.New(o.x.typ).UnsafePointer()
	*(*unsafe.Pointer)(f) = p
	d.value(&o.x.elem, p)
}

func (d *decoder) texts(o *op, f unsafe.Pointer) {
	at := d.i
	if tag, tagged := d.tag(); tagged {
		d.packedTexts(o, f, at, tag)
		return
	}
	n := d.count(item.Array, 1, unsafe.Sizeof(""))
	if n == 0 {
		*(*[]string)(f) = nil
		return
	}
	s := make([]string, n)
	for i := range s {
		s[i] = d.text(o.flags)
	}
	*(*[]string)(f) = s
	if d.failed() {
		d.err.under("[]")
	}
}

// list decodes a list of anything.
func (d *decoder) list(o *op, f unsafe.Pointer) {
	at := d.i
	if tag, tagged := d.tag(); tagged {
		d.packedList(o, f, at, tag)
		return
	}
	n := d.count(item.Array, o.x.min, o.x.size)
	s := reflect.NewAt(o.x.typ, f).Elem()
	s.SetZero()
	if n == 0 || !d.enter() {
		return
	}
	s.Grow(n) // reflect.MakeSlice would allocate a header as well
	s.SetLen(n)
	d.elements(o, (*sliceHeader)(f).data, n)
	d.depth++
}

// array decodes the elements of a fixed array in place.
func (d *decoder) array(o *op, f unsafe.Pointer) {
	at := d.i
	if tag, tagged := d.tag(); tagged {
		d.viaExpanded(o, f, at, tag)
		return
	}
	n := d.count(item.Array, o.x.min, 0)
	if d.failed() {
		return
	}
	if n != o.x.n {
		d.failLen(at, n, o.x.n)
		return
	}
	if d.enter() {
		d.elements(o, f, n)
		d.depth++
	}
}

func (d *decoder) elements(o *op, p unsafe.Pointer, n int) {
	for i := range n {
		at := unsafe.Add(p, uintptr(i)*o.x.size)
		if o.x.elem.kind == kStruct {
			d.structure(o.x.elem.sub, at)
		} else {
			d.value(&o.x.elem, at)
		}
		if d.failed() {
			d.err.under("[]")
			return
		}
	}
}

// unmarshaler decodes with a method of the value's own.
func (d *decoder) unmarshaler(o *op, f unsafe.Pointer) {
	at, major := d.i, item.Text
	if o.kind == kBinary {
		major = item.Bytes
	}
	raw := d.raw(major)
	if major == item.Text && !d.failed() {
		d.checkText(raw)
	}
	if d.failed() {
		return
	}
	v := reflect.NewAt(o.x.typ, f)
	v.Elem().SetZero()
	if o.kind == kBinary {
		if err := v.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(raw); err != nil {
			d.failErr(at, "UnmarshalBinary", err)
		}
		return
	}
	if err := v.Interface().(encoding.TextUnmarshaler).UnmarshalText(raw); err != nil {
		d.failErr(at, "UnmarshalText", err)
	}
}
