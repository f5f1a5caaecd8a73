package codec

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/internal/item"
	"github.com/mycel-rpc/mycel/wire/schema"
)

const (
	maxColumns     = 128 // of a table
	maxTableLevels = 4   // of structs in the structs of a table
)

// columnTypes returns the types of the fields of s that are the columns of a table, in order, those of structs in it in
// their place; nil if a list of s cannot be a table. It depends on the schema alone: writer and reader have to agree.
func columnTypes(s *schema.Struct) []*schema.Type {
	var all []*schema.Type
	if !appendColumnTypes(&all, s, 0) {
		return nil
	}
	return all
}

// appendColumnTypes takes no longer than there may be columns: a struct without any ends it, too.
func appendColumnTypes(all *[]*schema.Type, s *schema.Struct, level int) bool {
	before := len(*all)
	for i := range s.Fields {
		t := s.Fields[i].Type
		switch {
		case t.Kind == schema.KindStruct:
			if level == maxTableLevels || !appendColumnTypes(all, t.Struct, level+1) {
				return false
			}
			continue
		case packCodec(t.Kind) != compress.None, t.Kind == schema.KindText, t.Kind == schema.KindBytes:
		case t.Kind == schema.KindArray && t.Elem.Kind == schema.KindUint8:
		default:
			return false
		}
		if len(*all) == maxColumns {
			return false
		}
		*all = append(*all, t)
	}
	return len(*all) > before
}

// table is how a list of structs is read from a table, and written as one.
type table struct {
	cols  []column
	reset []op // of fields that are in no column, for each struct
}

// newTable returns how structs of p, which has the fields of w, are filled from the columns of a table; nil if that takes
// more than to store what is in a column: then tables are expanded first.
func newTable(w *schema.Struct, p *plan) *table {
	if columnTypes(w) == nil {
		return nil
	}
	t := &table{}
	if !t.add(w, p, 0, "") {
		return nil
	}
	return t
}

func (t *table) add(w *schema.Struct, p *plan, off uintptr, path string) bool {
	for _, r := range p.reset {
		r.off += off
		t.reset = append(t.reset, r)
	}
	for i := range w.Fields {
		o, wt := p.ops[i], w.Fields[i].Type
		o.off += off
		name := joinPath(path, p.names[i])
		if wt.Kind == schema.KindStruct {
			switch o.kind {
			case kStruct:
				if !t.add(wt.Struct, o.sub, o.off, name) {
					return false
				}
			case kSkip:
				for range columnTypes(wt.Struct) {
					t.cols = append(t.cols, column{op: o, name: name})
				}
			default:
				return false
			}
			continue
		}
		switch o.kind {
		case kSkip, kBool, kInt8, kInt16, kInt32, kInt64, kUint8, kUint16, kUint32, kUint64, kFloat32, kFloat64, kWidenFloat,
			kText, kBytes, kByteArray, kTime:
		default:
			return false
		}
		t.cols = append(t.cols, column{op: o, from: wt.Kind, codec: packCodec(wt.Kind), name: name})
	}
	return true
}

// addTables finds the lists of structs in o that are read from tables. The plans of all structs are complete.
func (o *op) addTables() {
	if o.x == nil {
		return
	}
	if o.kind == kStructs {
		o.x.table = newTable(o.x.wire.Elem.Struct, o.sub)
	}
	o.x.key.addTables()
	o.x.elem.addTables()
}

// packedList decodes what follows the tag at byte at into the list at f.
func (d *decoder) packedList(o *op, f unsafe.Pointer, at int, tag uint64) {
	switch {
	case tag == tagTable && o.x.table != nil:
		d.table(o, f)
	case tag == tagPacked && o.x.col != nil:
		p := d.packedHead(o.x.col.from)
		if !d.elementsFit(p.n, o.x.size) {
			return
		}
		s := reflect.NewAt(o.x.typ, f).Elem()
		s.SetZero()
		if p.n > 0 {
			s.Grow(p.n)
			s.SetLen(p.n)
			d.unpack(at, p, o.x.col, (*sliceHeader)(f).data, o.x.size)
		}
	default:
		d.viaExpanded(o, f, at, tag)
	}
}

// tableHead reads what follows [tagTable] up to the columns and returns the count of structs.
func (d *decoder) tableHead(columns int) int {
	at := d.i
	if n := d.head(item.Array); n != uint64(columns)+1 {
		d.failLen(at, int(min(n, 1<<30)), columns+1)
		return 0
	}
	at = d.i
	n := d.head(item.Uint)
	if n == 0 || n/8 > uint64(len(d.b)-d.i) { // an element takes a bit of each column, at least
		d.failAt(at, fmt.Sprintf("table of %d structs in %d bytes", n, len(d.b)-d.i))
	}
	if d.failed() {
		return 0
	}
	return int(n)
}

// table decodes the list at f from a table.
func (d *decoder) table(o *op, f unsafe.Pointer) {
	t := o.x.table
	n := d.tableHead(len(t.cols))
	if !d.elementsFit(n, o.x.size) || !d.enter() {
		return
	}
	s := reflect.NewAt(o.x.typ, f).Elem()
	s.SetZero()
	s.Grow(n)
	s.SetLen(n)
	base := (*sliceHeader)(f).data
	for i := range t.reset {
		r := &t.reset[i]
		for row := range n {
			r.apply(unsafe.Add(base, uintptr(row)*o.x.size+r.off))
		}
	}
	for i := range t.cols {
		c := &t.cols[i]
		if d.column(c, unsafe.Add(base, c.op.off), o.x.size, n); d.failed() {
			d.err.under(c.name)
			d.err.under("[]")
			return
		}
	}
	d.depth++
}

// elementsFit takes n elements of a list, of size bytes each in memory, from the budgets.
func (d *decoder) elementsFit(n int, size uintptr) bool {
	if d.failed() {
		return false
	}
	if n > d.items {
		d.failLimit("MaxElements", d.lim.MaxElements-d.items+n, d.lim.MaxElements)
		return false
	}
	if !d.memory(n, size) {
		return false
	}
	d.items -= n
	return true
}

// column decodes a list of n elements, in any of its forms, to base and every stride bytes behind it.
func (d *decoder) column(c *column, base unsafe.Pointer, stride uintptr, n int) {
	if c.op.kind == kSkip {
		d.skip(0)
		return
	}
	at := d.i
	tag, tagged := d.tag()
	switch {
	case !tagged:
		d.plainColumn(c, base, stride, n)
	case tag == tagPacked && c.codec != compress.None:
		if p := d.packedHead(c.from); p.n != n {
			d.failLen(at, p.n, n)
		} else if !d.failed() {
			d.unpack(at, p, c, base, stride)
		}
	case tag == tagDictionary && c.op.kind == kText:
		y := d.dictionary(c.op.flags)
		if y.n != n {
			d.failLen(at, y.n, n)
		} else if !d.failed() {
			d.lookUp(at, &y, base, stride)
		}
	default:
		num, ok := numberOf(c.from)
		if !ok || tag != num.tag {
			d.failAt(at, "column with an unknown tag")
			return
		}
		raw, got := d.numberBytes(at, tag, &num)
		if got != n {
			d.failLen(at, got, n)
			return
		}
		d.typedColumn(at, c, num.width, raw, base, stride)
	}
}

// plainColumn decodes a column that is an array of values.
func (d *decoder) plainColumn(c *column, base unsafe.Pointer, stride uintptr, n int) {
	at := d.i
	if got := d.head(item.Array); got != uint64(n) {
		d.failLen(at, int(min(got, 1<<30)), n)
		return
	}
	if !d.enter() {
		return
	}
	for i := 0; i < n && !d.failed(); i++ {
		d.value(&c.op, unsafe.Add(base, uintptr(i)*stride))
	}
	d.depth++
}

// blockElements is how many elements of a typed array are converted at a time.
const blockElements = 64

// typedColumn stores the elements of a typed array of that width.
func (d *decoder) typedColumn(at int, c *column, width int, raw []byte, base unsafe.Pointer, stride uintptr) {
	var block [blockElements]uint64
	for i := 0; len(raw) > 0; i += blockElements {
		in := block[:min(blockElements, len(raw)/width)]
		raw = loadTyped(in, c.from, width, raw)
		if !storeElements(c.op.kind, c.from, unsafe.Add(base, uintptr(i)*stride), stride, in) {
			d.failAt(at, "number overflows "+c.op.kind.String())
			return
		}
	}
}

// loadTyped fills in from a typed array of numbers of kind k and returns the rest of it. Integers keep their sign.
func loadTyped(in []uint64, k schema.Kind, width int, raw []byte) []byte {
	le := binary.LittleEndian
	for i := range in {
		switch width {
		case 1:
			in[i] = uint64(raw[i])
			if k == schema.KindInt8 {
				in[i] = uint64(int8(raw[i]))
			}
		case 2:
			in[i] = uint64(le.Uint16(raw[2*i:]))
			if k == schema.KindInt16 {
				in[i] = uint64(int16(in[i]))
			}
		case 4:
			in[i] = uint64(int32(le.Uint32(raw[4*i:])))
		default:
			in[i] = le.Uint64(raw[8*i:])
		}
	}
	return raw[len(in)*width:]
}

// appendTypedColumn is [appendTyped] for n numbers every stride bytes.
func appendTypedColumn(b []byte, c *column, num *number, p unsafe.Pointer, stride uintptr, n int) []byte {
	b = item.AppendHead(b, item.Tag, num.tag)
	b = item.AppendHead(b, item.Bytes, uint64(n*num.width))
	var block [blockElements]uint64
	for i := 0; i < n; i += blockElements {
		out := block[:min(blockElements, n-i)]
		loadElements(c.op.kind, unsafe.Add(p, uintptr(i)*stride), stride, out)
		for _, x := range out {
			switch num.width {
			case 1:
				b = append(b, byte(x))
			case 2:
				b = binary.LittleEndian.AppendUint16(b, uint16(x))
			case 4:
				b = binary.LittleEndian.AppendUint32(b, uint32(x))
			default:
				b = binary.LittleEndian.AppendUint64(b, x)
			}
		}
	}
	return b
}

// appendTable appends the n structs at p as a table.
func (e *encoder) appendTable(b []byte, o *op, p unsafe.Pointer, n int) []byte {
	t := o.x.table
	b = item.AppendHead(b, item.Tag, tagTable)
	b = item.AppendHead(b, item.Array, uint64(len(t.cols))+1)
	b = item.AppendUint(b, uint64(n))
	for i := range t.cols {
		c := &t.cols[i]
		if b = e.appendColumn(b, c, unsafe.Add(p, c.op.off), o.x.size, n); e.err != nil {
			e.under(c.name)
			e.under("[]")
			break
		}
	}
	return b
}

// appendColumn appends the n values at p in the form that is smallest as far as that has been found out.
func (e *encoder) appendColumn(b []byte, c *column, p unsafe.Pointer, stride uintptr, n int) []byte {
	num, isNumber := numberOf(c.from)
	if c.op.flags&(flagPlain|flagSecret) == 0 && n >= typedFrom {
		ok := false
		switch {
		case isNumber:
			if b, ok = e.packColumn(b, c, p, stride, n, n*num.width); !ok {
				return appendTypedColumn(b, c, &num, p, stride, n)
			}
		case c.codec != compress.None:
			b, ok = e.packColumn(b, c, p, stride, n, n*leastPacked(c.from))
		case c.op.kind == kText:
			b, ok = e.packColumn(b, c, p, stride, n, textBytes(p, stride, n))
		}
		if ok {
			return b
		}
	}
	b = item.AppendHead(b, item.Array, uint64(n))
	for i := 0; i < n && e.err == nil; i++ {
		b = e.value(b, &c.op, unsafe.Add(p, uintptr(i)*stride))
	}
	return b
}

// leastPacked is how many bytes a value of kind k, which is not a number, takes at least when it is not packed; nearly.
func leastPacked(k schema.Kind) int {
	if k == schema.KindTime {
		return 6
	}
	return 1
}
