package codec

import (
	"reflect"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/schema"
)

// kind says what an op does with one value.
type kind uint8

const (
	kSkip kind = iota // the writer sends what the reader does not have
	kBool
	kInt8
	kInt16
	kInt32
	kInt64
	kUint8
	kUint16
	kUint32
	kUint64
	kFloat32
	kFloat64
	kWidenFloat // float32 on the wire, float64 in memory
	kText
	kBytes
	kByteArray
	kTime
	kAny
	kCBOR   // a type with MarshalCBOR
	kBinary // a type with MarshalBinary
	kTexter // a type with MarshalText
	kLinked // a type with AppendLinked
	kStruct
	kOptional
	kList
	kStructs // list of structs
	kTexts
	kNumbers      // list of numbers that are in memory as on the wire
	kWidenNumbers // list of numbers that are not
	kArray
	kNumberArray
	kMap
	kMapTextText
	kMapTextInt64
	kMapTextAny
	kExtra   // an Extra; the op stands for the whole struct, because fields of the reader may be in there
	kUnknown // the writer sends what the reader keeps in its Extra

	// What is done to a field that the writer does not send.
	kSet8
	kSet16
	kSet32
	kSet64
	kSetText
	kSetSlice
	kSetPointer
	kSetZero
)

const (
	flagCopy    = 1 << iota // texts are not cut from the slab
	flagPlain               // no typed arrays
	flagSecret              // see Span
	flagNoDedup             // see Span
)

// op is one step of a plan: a value at an offset.
type op struct {
	kind  kind
	flags uint8
	marks uint8 // flagSecret and flagNoDedup of the op and all below; of our own plans only
	off   uintptr
	sub   *plan   // kStruct, kStructs
	x     *detail // nil for kinds that need none
}

// detail is the part of an op that only some kinds need.
type detail struct {
	typ   reflect.Type // of the value in memory
	elem  op           // of lists, arrays, optionals and maps; its off is 0
	key   op
	size  uintptr // of an element in memory
	n     int     // of elements in an array
	min   uint64  // bytes of an element on the wire, at least
	num   number
	wire  *schema.Type // of lists and arrays
	col   *column      // of lists and arrays that have a packed form, which the writer and the op agree on
	table *table       // kStructs that are read from tables
	site  int          // of the table, see Packer
	bits  uint64       // kSet…
	text  string       // kSetText

	extra   *extraPlan // kExtra
	unknown *unknown   // kUnknown
}

// plan encodes and decodes one struct: ops in the order of the wire. A plan is built once and never changes.
type plan struct {
	typ   reflect.Type
	ops   []op
	names []string // of the ops, for errors
	reset []op     // fields of the struct that are not on the wire, or only in an Extra
}

// sliceHeader is the layout of every slice.
type sliceHeader struct {
	data     unsafe.Pointer
	len, cap int
}

// leastBytes returns how many bytes a value of t takes on the wire at least. It need not be exact, but never more.
func leastBytes(t *schema.Type) uint64 {
	switch t.Kind {
	case schema.KindFloat32:
		return 5
	case schema.KindFloat64:
		return 9
	case schema.KindTime:
		return 2
	case schema.KindStruct:
		return 1 + uint64(len(t.Struct.Fields))
	}
	return 1
}

// texts estimates how many texts a message has that could be cut from the slab: none, one or several.
func (o *op) texts(open map[*plan]bool) int {
	if o.flags&flagCopy != 0 {
		return 0
	}
	switch o.kind {
	case kText:
		return 1
	case kTexts, kMapTextText:
		return 2
	case kMapTextInt64, kMapTextAny:
		return 2
	case kOptional:
		return o.x.elem.texts(open)
	case kList, kArray:
		return 2 * o.x.elem.texts(open)
	case kMap:
		return 2 * (o.x.key.texts(open) + o.x.elem.texts(open))
	case kStruct, kStructs:
		if open[o.sub] {
			return 0
		}
		open[o.sub] = true
		defer delete(open, o.sub)
		n := 0
		for i := range o.sub.ops {
			if n += o.sub.ops[i].texts(open); n > 1 {
				return n
			}
		}
		if o.kind == kStructs {
			n *= 2
		}
		return n
	}
	return 0
}

// inPlace reports whether the op reads every byte of a message once; seen has the plans that have been looked at.
func (o *op) inPlace(seen map[*plan]bool) bool {
	switch o.kind {
	case kAny, kCBOR, kBinary, kTexter, kLinked, kExtra, kUnknown, kSkip, kMapTextAny:
		return false
	}
	if o.sub != nil && !seen[o.sub] {
		seen[o.sub] = true
		for i := range o.sub.ops {
			if !o.sub.ops[i].inPlace(seen) {
				return false
			}
		}
	}
	if o.x == nil {
		return true
	}
	switch o.kind {
	case kOptional, kList, kArray:
		return o.x.elem.inPlace(seen)
	case kMap:
		return o.x.key.inPlace(seen) && o.x.elem.inPlace(seen)
	}
	return true
}
