package codec

import (
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/internal/item"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// The packed forms of lists; see "Packed forms" in the package documentation. The tags are from the range that RFC 8949
// gives to whoever comes first; they are not registered.
const (
	tagPacked     = 58221 // bytes: a codec, and a column that is encoded with it
	tagTable      = 58222 // array: the count of structs, then a column for each of their fields
	tagDictionary = 58223 // array: texts, and which of them each element is
)

// column says what a list is made of that has a packed form, as a list of its own or as one of a table.
type column struct {
	op    op             // of an element; off is counted from the start of the struct if it is a field
	from  schema.Kind    // of an element on the wire
	codec compress.Codec // of numbers, bools and times; None if there is none
	name  string         // of the field
	site  int            // see Packer
}

// packCodec returns the codec that packs values of kind k.
func packCodec(k schema.Kind) compress.Codec {
	switch k {
	case schema.KindBool, schema.KindInt8, schema.KindInt16, schema.KindInt32, schema.KindUint8, schema.KindUint16, schema.KindUint32:
		return compress.Delta32
	case schema.KindInt64, schema.KindUint64, schema.KindTime:
		return compress.Delta64
	case schema.KindFloat32:
		return compress.Decimal32
	case schema.KindFloat64:
		return compress.Decimal64
	}
	return compress.None
}

// tag reads the tag of the next item if it has one.
func (d *decoder) tag() (tag uint64, tagged bool) {
	if d.i >= len(d.b) || d.b[d.i]>>5 != item.Tag {
		return 0, false
	}
	tag = d.head(item.Tag)
	return tag, !d.failed()
}

// packed is what follows [tagPacked]: n elements of a codec.
type packed struct {
	body  []byte // aliases the message
	codec compress.Codec
	n     int
}

// packedHead reads what follows [tagPacked] but for the elements, of kind from, and charges the message for them.
func (d *decoder) packedHead(from schema.Kind) (p packed) {
	at := d.i
	raw := d.raw(item.Bytes)
	if d.failed() {
		return
	}
	if len(raw) == 0 {
		d.failAt(at, "packed list without a codec")
		return
	}
	p = packed{body: raw[1:], codec: compress.Codec(raw[0])}
	if want := packCodec(from); p.codec != want {
		d.failAt(at, fmt.Sprintf("list of %v packed with %v, expected %v", from, p.codec, want))
		return packed{}
	}
	size, err := compress.PlainSize(p.body, p.codec, math.MaxInt)
	if err != nil {
		d.failErr(at, "packed list", err)
		return packed{}
	}
	if p.n = size / p.codec.ElementBytes(); !d.expand(size) {
		return packed{}
	}
	return p
}

// expand takes from the budget what n bytes of packed form stand for.
func (d *decoder) expand(n int) bool {
	if d.failed() {
		return false
	}
	if n > d.unpacked {
		d.failLimit("MaxMessageBytes", d.lim.MaxMessageBytes-d.unpacked+n, d.lim.MaxMessageBytes)
		return false
	}
	d.unpacked -= n
	return true
}

// unpack stores the elements of p, as many as there is room for, at base and every stride bytes behind it.
func (d *decoder) unpack(at int, p packed, c *column, base unsafe.Pointer, stride uintptr) {
	fits := true
	err := compress.DecodeElements(p.body, p.codec, p.n, func(in []uint64, first int) {
		if fits {
			fits = storeElements(c.op.kind, c.from, unsafe.Add(base, uintptr(first)*stride), stride, in)
		}
	})
	if err != nil {
		d.failErr(at, "packed list", err)
	} else if !fits {
		d.failAt(at, "element of a packed list is no "+c.from.String())
	}
}

// narrow returns an element that was packed as the value of kind from that it stands for, as the low bits of 64: a float as
// its bits. It reports whether there is such a value.
func narrow(from schema.Kind, x uint64) (uint64, bool) {
	switch from {
	case schema.KindBool:
		return x, x <= 1
	case schema.KindInt8:
		return x, int64(int8(x)) == int64(x)
	case schema.KindInt16:
		return x, int64(int16(x)) == int64(x)
	case schema.KindInt32:
		return uint64(int32(x)), true
	case schema.KindUint8:
		return x, x <= math.MaxUint8
	case schema.KindUint16:
		return x, x <= math.MaxUint16
	case schema.KindUint32, schema.KindFloat32:
		return uint64(uint32(x)), true
	}
	return x, true
}

// storeElements stores elements that were packed as values of kind from, as kind to. It reports whether they fit.
func storeElements(to kind, from schema.Kind, p unsafe.Pointer, stride uintptr, in []uint64) bool {
	if len(in) == 0 {
		return true
	}
	switch {
	case to == kInt64 && from == schema.KindInt64, to == kUint64 && from == schema.KindUint64, to == kFloat64:
		if stride == 8 {
			copy(unsafe.Slice((*uint64)(p), len(in)), in)
			return true
		}
		for i, x := range in {
			*(*uint64)(unsafe.Add(p, uintptr(i)*stride)) = x
		}
		return true
	case to == kInt32 && from == schema.KindInt32, to == kUint32 && from == schema.KindUint32, to == kFloat32:
		for i, x := range in {
			*(*uint32)(unsafe.Add(p, uintptr(i)*stride)) = uint32(x)
		}
		return true
	}
	for i, x := range in {
		at := unsafe.Add(p, uintptr(i)*stride)
		x, ok := narrow(from, x)
		switch {
		case !ok:
			return false
		case to == kBool:
			*(*bool)(at) = x == 1
		case to == kWidenFloat:
			*(*float64)(at) = float64(math.Float32frombits(uint32(x)))
		case to == kTime:
			*(*time.Time)(at) = time.Unix(0, int64(x)).UTC()
		case to >= kInt8 && to <= kInt64:
			ok = storeInt(to, at, int64(x))
		default:
			ok = storeUint(to, at, x)
		}
		if !ok {
			return false
		}
	}
	return true
}

// loadElements is the reverse of storeElements for values that are in memory as on the wire.
func loadElements(k kind, p unsafe.Pointer, stride uintptr, out []uint64) {
	switch k {
	case kInt64, kUint64, kFloat64:
		if stride == 8 {
			copy(out, unsafe.Slice((*uint64)(p), len(out)))
			return
		}
		for i := range out {
			out[i] = *(*uint64)(unsafe.Add(p, uintptr(i)*stride))
		}
	case kInt32:
		for i := range out {
			out[i] = uint64(*(*int32)(unsafe.Add(p, uintptr(i)*stride)))
		}
	case kUint32, kFloat32:
		for i := range out {
			out[i] = uint64(*(*uint32)(unsafe.Add(p, uintptr(i)*stride)))
		}
	case kInt16:
		for i := range out {
			out[i] = uint64(*(*int16)(unsafe.Add(p, uintptr(i)*stride)))
		}
	case kUint16:
		for i := range out {
			out[i] = uint64(*(*uint16)(unsafe.Add(p, uintptr(i)*stride)))
		}
	case kInt8:
		for i := range out {
			out[i] = uint64(*(*int8)(unsafe.Add(p, uintptr(i)*stride)))
		}
	case kUint8, kBool:
		for i := range out {
			out[i] = uint64(*(*uint8)(unsafe.Add(p, uintptr(i)*stride)))
		}
	case kTime:
		for i := range out {
			out[i] = uint64((*time.Time)(unsafe.Add(p, uintptr(i)*stride)).UnixNano())
		}
	}
}

// The times that nanoseconds in 64 bits can express.
var (
	firstNano = time.Unix(0, math.MinInt64)
	lastNano  = time.Unix(0, math.MaxInt64)
)

// packable reports whether loadElements can load the n values at p.
func packable(k kind, p unsafe.Pointer, stride uintptr, n int) bool {
	if k != kTime {
		return true
	}
	for i := range n {
		if t := (*time.Time)(unsafe.Add(p, uintptr(i)*stride)); t.Before(firstNano) || t.After(lastNano) {
			return false
		}
	}
	return true
}

// appendPacked appends the n values at p in packed form, if that takes at most limit bytes; otherwise it returns b as it was.
func appendPacked(b []byte, c *column, p unsafe.Pointer, stride uintptr, n, limit int) ([]byte, bool) {
	if !packable(c.op.kind, p, stride, n) {
		return b, false
	}
	// The length of the bytes stands before them and is not known yet. It is hardly ever much less than the limit allows,
	// in orders of magnitude; if it is, they are moved.
	head := item.HeadBytes(uint64(limit))
	out := item.AppendHead(b, item.Tag, tagPacked)
	at := len(out)
	for range head {
		out = append(out, 0)
	}
	out = append(out, byte(c.codec))
	limit -= len(out) - len(b)
	start := len(out) - 1
	out, err := compress.AppendElements(out, c.codec, n, limit, func(in []uint64, first int) {
		loadElements(c.op.kind, unsafe.Add(p, uintptr(first)*stride), stride, in)
	})
	if err != nil {
		return b, false
	}
	size := len(out) - start
	if short := item.HeadBytes(uint64(size)); short < head {
		copy(out[at+short:], out[start:])
		out = out[:len(out)-(head-short)]
	}
	item.AppendHead(out[:at], item.Bytes, uint64(size))
	return out, true
}
