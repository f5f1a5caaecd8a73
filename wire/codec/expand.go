package codec

import (
	"fmt"
	"time"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/internal/item"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// Where a packed list goes to something that is not simply memory for its elements (an [Extra], values with methods,
// pointers), it is expanded to the array of values that it stands for, which is decoded instead.

// expandedBytes is what a value in a column that is packed or typed takes as an item, at most: a time.
const expandedBytes = 1 + 9 + 5

// expanded decodes what follows the tag at byte at, a list or array that t describes, in the form of an array.
func (d *decoder) expanded(at int, tag uint64, t *schema.Type) []byte {
	if tag == tagTable && t.Elem.Kind == schema.KindStruct {
		return d.expandedTable(at, t.Elem.Struct)
	}
	c := d.expandedColumn(at, tag, true, t.Elem)
	if d.failed() {
		return nil
	}
	return append(item.AppendHead(nil, item.Array, uint64(len(c.ends))), c.b...)
}

// items is a list of items.
type items struct {
	b    []byte
	ends []int
}

func (x *items) end() { x.ends = append(x.ends, len(x.b)) }

// next removes the first item from x and appends it to b.
func (x *items) next(b []byte, i int) []byte {
	from := 0
	if i > 0 {
		from = x.ends[i-1]
	}
	return append(b, x.b[from:x.ends[i]]...)
}

// itemsFit takes n items of size bytes from the memory budget.
func (d *decoder) itemsFit(n, size int) bool {
	return d.memory(n, uintptr(size)+unsafe.Sizeof(int(0)))
}

// expandedColumn decodes a list of values of a type that columns have, in any of its forms.
func (d *decoder) expandedColumn(at int, tag uint64, tagged bool, t *schema.Type) (x items) {
	num, isNumber := numberOf(t.Kind)
	codec := packCodec(t.Kind)
	switch {
	case !tagged:
		n := d.head(item.Array)
		if n > uint64(len(d.b)-d.i) {
			d.failAt(at, fmt.Sprintf("%d elements in %d bytes", n, len(d.b)-d.i))
		}
		start := d.i
		if !d.memory(int(n), unsafe.Sizeof(int(0))) || !d.enter() {
			return items{}
		}
		for range n {
			if d.skip(0); d.failed() {
				return items{}
			}
			x.ends = append(x.ends, d.i-start)
		}
		d.depth++
		x.b = d.b[start:d.i]
	case tag == tagPacked && codec != compress.None:
		p := d.packedHead(t.Kind)
		if !d.itemsFit(p.n, expandedBytes) {
			return items{}
		}
		ok := true
		err := compress.DecodeElements(p.body, p.codec, p.n, func(in []uint64, _ int) { ok = ok && x.add(t.Kind, in) })
		if err != nil {
			d.failErr(at, "packed list", err)
		} else if !ok {
			d.failAt(at, "element of a packed list is no "+t.Kind.String())
		}
	case tag == tagDictionary && t.Kind == schema.KindText:
		d.expandedDictionary(at, &x)
	case isNumber && tag == num.tag:
		raw, n := d.numberBytes(at, tag, &num)
		if !d.itemsFit(n, expandedBytes) {
			return items{}
		}
		for ; len(raw) > 0; raw = raw[num.width:] {
			x.b = appendNumber(x.b, num.kind, raw)
			x.end()
		}
	default:
		d.failAt(at, fmt.Sprintf("list of %v with tag %d", t.Kind, tag))
	}
	return x
}

// add appends elements that were packed as values of kind k, and reports whether they are.
func (x *items) add(k schema.Kind, in []uint64) bool {
	for _, v := range in {
		v, ok := narrow(k, v)
		if !ok {
			return false
		}
		switch k {
		case schema.KindBool:
			x.b = appendBool(x.b, v == 1)
		case schema.KindTime:
			x.b = appendInstant(x.b, time.Unix(0, int64(v)))
		case schema.KindFloat32:
			x.b = appendFloat32Bits(x.b, uint32(v))
		case schema.KindFloat64:
			x.b = appendFloat64Bits(x.b, v)
		case schema.KindUint8, schema.KindUint16, schema.KindUint32, schema.KindUint64:
			x.b = item.AppendUint(x.b, v)
		default:
			x.b = item.AppendInt(x.b, int64(v))
		}
		x.end()
	}
	return true
}

func (d *decoder) expandedDictionary(at int, x *items) {
	y := d.dictionary(flagCopy)
	if !d.itemsFit(y.n, int(unsafe.Sizeof(""))) {
		return
	}
	all := make([]string, y.n)
	d.lookUp(at, &y, unsafe.Pointer(unsafe.SliceData(all)), unsafe.Sizeof(""))
	total := 0
	for _, s := range all {
		total += len(s) + item.HeadBytes(uint64(len(s)))
	}
	if !d.memory(total, 1) {
		return
	}
	x.b = make([]byte, 0, total)
	for _, s := range all {
		x.b = item.AppendText(x.b, s)
		x.end()
	}
}

// expandedTable decodes a table of structs of s.
func (d *decoder) expandedTable(at int, s *schema.Struct) []byte {
	types := columnTypes(s)
	if types == nil {
		d.failAt(at, "table of "+s.Name+", which has fields that no column can have")
		return nil
	}
	n := d.tableHead(len(types))
	if !d.enter() {
		return nil
	}
	cols := make([]items, len(types))
	size := 0
	for i, t := range types {
		at := d.i
		tag, tagged := d.tag()
		cols[i] = d.expandedColumn(at, tag, tagged, t)
		if len(cols[i].ends) != n {
			d.failLen(at, len(cols[i].ends), n)
		}
		if d.failed() {
			d.err.under("[]")
			return nil
		}
		size += len(cols[i].b)
	}
	d.depth++
	heads := appendRow(nil, s, nil, 0)
	if !d.memory(n, uintptr(len(heads))) || !d.memory(size, 1) {
		return nil
	}
	b := item.AppendHead(make([]byte, 0, size+n*len(heads)+9), item.Array, uint64(n))
	for i := range n {
		b = appendRow(b, s, cols, i)
	}
	return b
}

// appendRow appends a struct of s whose fields are the items i of the columns; only its heads if there are none.
func appendRow(b []byte, s *schema.Struct, cols []items, i int) []byte {
	at := 0
	return appendRowFrom(b, s, cols, i, &at)
}

func appendRowFrom(b []byte, s *schema.Struct, cols []items, i int, at *int) []byte {
	b = item.AppendHead(b, item.Array, uint64(len(s.Fields)))
	for k := range s.Fields {
		if t := s.Fields[k].Type; t.Kind == schema.KindStruct {
			b = appendRowFrom(b, t.Struct, cols, i, at)
		} else if cols != nil {
			b = cols[*at].next(b, i)
			*at++
		}
	}
	return b
}

// within decodes b, which has been expanded from what is at byte at, with a decoder that has the budgets of d.
func (d *decoder) within(at int, b []byte, decode func(in *decoder)) {
	if d.failed() {
		return
	}
	in := decoder{b: b, depth: d.depth, items: d.items, room: d.room, unpacked: d.unpacked, lim: d.lim, kept: d.kept}
	decode(&in)
	if !in.failed() && in.i != len(b) {
		in.failAt(in.i, "a packed list that is more than a list")
	}
	d.items, d.room, d.unpacked = in.items, in.room, in.unpacked
	if in.failed() {
		in.err.at = at
		d.err, d.i = in.err, len(d.b)
	}
}

// viaExpanded decodes the value at f from the expanded form of what follows the tag at byte at.
func (d *decoder) viaExpanded(o *op, f unsafe.Pointer, at int, tag uint64) {
	b := d.expanded(at, tag, o.x.wire)
	d.within(at, b, func(in *decoder) { in.value(o, f) })
}
