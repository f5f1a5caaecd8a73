package codec

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/internal/item"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// typedFrom is the number of elements from which a list of numbers is a typed array: below, plain CBOR is as short.
const typedFrom = 8

// number is how RFC 8746, section 2.1, writes an array of one kind of numbers, little-endian.
type number struct {
	kind  schema.Kind
	tag   uint64
	width int // bytes of one number
}

var numbers = map[schema.Kind]number{
	schema.KindUint8: {tag: 64, width: 1}, schema.KindUint16: {tag: 69, width: 2},
	schema.KindUint32: {tag: 70, width: 4}, schema.KindUint64: {tag: 71, width: 8},
	schema.KindInt8: {tag: 72, width: 1}, schema.KindInt16: {tag: 77, width: 2},
	schema.KindInt32: {tag: 78, width: 4}, schema.KindInt64: {tag: 79, width: 8},
	schema.KindFloat32: {tag: 85, width: 4}, schema.KindFloat64: {tag: 86, width: 8},
}

func numberOf(k schema.Kind) (number, bool) {
	n, ok := numbers[k]
	n.kind = k
	return n, ok
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// swap turns numbers of w bytes from one byte order into the other.
func swap(p []byte, w int) {
	for ; len(p) >= w; p = p[w:] {
		slices.Reverse(p[:w])
	}
}

// numbers appends n numbers in memory at data, packed if that is likely to pay.
func (e *encoder) numbers(b []byte, o *op, data unsafe.Pointer, n int) []byte {
	if e.packs(o) {
		if b, ok := e.packList(b, o.x.col, data, o.x.size, n, n*o.x.num.width); ok {
			return b
		}
	}
	return appendTyped(b, &o.x.num, data, n)
}

// appendTyped appends n numbers in memory at data as a typed array.
func appendTyped(b []byte, num *number, data unsafe.Pointer, n int) []byte {
	raw := unsafe.Slice((*byte)(data), n*num.width)
	b = item.AppendHead(b, item.Tag, num.tag)
	b = item.AppendHead(b, item.Bytes, uint64(len(raw)))
	start := len(b)
	b = append(b, raw...)
	if !littleEndian {
		swap(b[start:], num.width)
	}
	return b
}

// numberBytes reads what follows the tag of a typed array at byte at and returns its bytes, which alias the message, and the
// count of numbers.
func (d *decoder) numberBytes(at int, tag uint64, num *number) ([]byte, int) {
	if tag != num.tag {
		d.failAt(at, "typed array of another kind of numbers")
		return nil, 0
	}
	at = d.i
	raw := d.raw(item.Bytes)
	if len(raw)%num.width != 0 {
		d.failAt(at, "typed array ends within a number")
		return nil, 0
	}
	return raw, len(raw) / num.width
}

// numbers decodes a list of numbers into the slice at f.
func (d *decoder) numbers(o *op, f unsafe.Pointer) {
	at := d.i
	tag, tagged := d.tag()
	switch {
	case !tagged:
		d.list(o, f)
		return
	case tag == tagPacked:
		if p := d.packedHead(o.x.num.kind); d.memory(p.n, o.x.size) {
			d.unpack(at, p, o.x.col, makeNumbers(f, p.n, o.x.num.width), o.x.size)
		}
		return
	}
	raw, n := d.numberBytes(at, tag, &o.x.num)
	if d.failed() {
		return
	}
	h := makeNumbers(f, n, o.x.num.width)
	copyNumbers(h, raw, o.x.num.width)
}

// numberArray decodes the numbers of a fixed array in place.
func (d *decoder) numberArray(o *op, f unsafe.Pointer) {
	at := d.i
	tag, tagged := d.tag()
	switch {
	case !tagged:
		d.array(o, f)
		return
	case tag == tagPacked:
		if p := d.packedHead(o.x.num.kind); p.n != o.x.n {
			d.failLen(at, p.n, o.x.n)
		} else if !d.failed() {
			d.unpack(at, p, o.x.col, f, o.x.size)
		}
		return
	}
	raw, n := d.numberBytes(at, tag, &o.x.num)
	if d.failed() {
		return
	}
	if n != o.x.n {
		d.failLen(at, n, o.x.n)
		return
	}
	copyNumbers(f, raw, o.x.num.width)
}

func copyNumbers(dst unsafe.Pointer, raw []byte, width int) {
	if len(raw) == 0 {
		return
	}
	to := unsafe.Slice((*byte)(dst), len(raw))
	copy(to, raw)
	if !littleEndian {
		swap(to, width)
	}
}

// makeNumbers stores a slice of n numbers at f and returns its memory, which is the old one when that is large enough.
// Slices without pointers of one width are alike.
func makeNumbers(f unsafe.Pointer, n, width int) unsafe.Pointer {
	if n == 0 {
		*(*[]byte)(f) = nil
		return nil
	}
	if h := (*sliceHeader)(f); h.cap >= n {
		h.len = n
		return h.data
	}
	switch width {
	case 1:
		*(*[]uint8)(f) = make([]uint8, n)
	case 2:
		*(*[]uint16)(f) = make([]uint16, n)
	case 4:
		*(*[]uint32)(f) = make([]uint32, n)
	default:
		*(*[]uint64)(f) = make([]uint64, n)
	}
	return (*sliceHeader)(f).data
}

// widenNumbers decodes a list or array of numbers whose width in memory differs from the wire.
func (d *decoder) widenNumbers(o *op, f unsafe.Pointer) {
	x := o.x
	array := x.typ.Kind() == reflect.Array
	at := d.i
	tag, tagged := d.tag()
	if !tagged {
		if array {
			d.array(o, f)
		} else {
			d.list(o, f)
		}
		return
	}
	var raw []byte
	var n int
	var p packed
	if tag == tagPacked {
		p = d.packedHead(x.num.kind)
		n = p.n
	} else {
		raw, n = d.numberBytes(at, tag, &x.num)
	}
	if d.failed() {
		return
	}
	to := f
	if !array {
		if !d.memory(n, x.size) {
			return
		}
		to = makeNumbers(f, n, int(x.size))
	} else if n != x.n {
		d.failLen(at, n, x.n)
		return
	}
	if tag == tagPacked {
		d.unpack(at, p, x.col, to, x.size)
		return
	}
	for i := range n {
		if !storeNumber(x.elem.kind, unsafe.Add(to, uintptr(i)*x.size), x.num.kind, raw[i*x.num.width:]) {
			d.failAt(at, "number overflows "+x.typ.Elem().String())
			return
		}
	}
}

// storeNumber stores the first number of raw, of kind from, at p as kind to. It reports whether it fits.
func storeNumber(to kind, p unsafe.Pointer, from schema.Kind, raw []byte) bool {
	le := binary.LittleEndian
	switch from {
	case schema.KindInt8:
		return storeInt(to, p, int64(int8(raw[0])))
	case schema.KindInt16:
		return storeInt(to, p, int64(int16(le.Uint16(raw))))
	case schema.KindInt32:
		return storeInt(to, p, int64(int32(le.Uint32(raw))))
	case schema.KindInt64:
		return storeInt(to, p, int64(le.Uint64(raw)))
	case schema.KindUint8:
		return storeUint(to, p, uint64(raw[0]))
	case schema.KindUint16:
		return storeUint(to, p, uint64(le.Uint16(raw)))
	case schema.KindUint32:
		return storeUint(to, p, uint64(le.Uint32(raw)))
	case schema.KindUint64:
		return storeUint(to, p, le.Uint64(raw))
	case schema.KindFloat32:
		*(*float64)(p) = float64(math.Float32frombits(le.Uint32(raw)))
		return true
	}
	return false
}

// appendNumber appends the first number of raw, of kind k in a typed array, as an item of its own.
func appendNumber(b []byte, k schema.Kind, raw []byte) []byte {
	le := binary.LittleEndian
	switch k {
	case schema.KindFloat32:
		return appendFloat32(b, math.Float32frombits(le.Uint32(raw)))
	case schema.KindFloat64:
		return appendFloat64(b, math.Float64frombits(le.Uint64(raw)))
	case schema.KindUint8, schema.KindUint16, schema.KindUint32, schema.KindUint64:
		var v uint64
		storeNumber(kUint64, unsafe.Pointer(&v), k, raw)
		return item.AppendUint(b, v)
	}
	var v int64
	storeNumber(kInt64, unsafe.Pointer(&v), k, raw)
	return item.AppendInt(b, v)
}

// storeInt stores v as a signed integer of kind k at p and reports whether it fits.
func storeInt(k kind, p unsafe.Pointer, v int64) bool {
	switch k {
	case kInt8:
		*(*int8)(p) = int8(v)
		return int64(int8(v)) == v
	case kInt16:
		*(*int16)(p) = int16(v)
		return int64(int16(v)) == v
	case kInt32:
		*(*int32)(p) = int32(v)
		return int64(int32(v)) == v
	}
	*(*int64)(p) = v
	return true
}

// storeUint stores v as an unsigned integer of kind k at p and reports whether it fits.
func storeUint(k kind, p unsafe.Pointer, v uint64) bool {
	switch k {
	case kUint8:
		*(*uint8)(p) = uint8(v)
		return v <= math.MaxUint8
	case kUint16:
		*(*uint16)(p) = uint16(v)
		return v <= math.MaxUint16
	case kUint32:
		*(*uint32)(p) = uint32(v)
		return v <= math.MaxUint32
	}
	*(*uint64)(p) = v
	return true
}
