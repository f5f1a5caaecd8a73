package codec

import (
	"bytes"
	"fmt"
	"reflect"
	"unicode/utf8"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/internal/item"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// Extra keeps the fields of a message that this program does not know. A struct with a field of this type, of any name,
// encodes again what it has decoded, so that a relay with an older version of a type loses nothing; the next reader finds
// the fields by id or name, as if they came from the first writer. See "Evolution" in the package documentation.
//
// Decoding replaces it; it holds copies. A program that builds a message itself leaves it nil.
type Extra []ExtraField

// ExtraField is one field that this program does not know.
type ExtraField struct {
	Name string          // as the writer calls it, not empty
	ID   uint32          // of the writer's tag id=, 0 for none
	Item cbor.RawMessage // the value, one item in the generic form; none is null
}

var typeExtra = reflect.TypeFor[Extra]()

// extraParts is how many items there are for each field in the positional form of an Extra: its name, id and item.
const extraParts = 3

// extraPlan is what reading the fields needs that the writer's schema does not describe.
type extraPlan struct {
	keep    bool              // whether the reader has an Extra
	name    string            // of that, for errors
	off     uintptr           // of that
	missing shape             // the fields of the reader that may be among them
	at      []place           // where those are in memory
	sent    map[fieldKey]bool // the fields that the writer's schema describes: they are not among them
	kept    uintptr           // memory of the largest element of a list or map
}

// fieldKey tells fields apart.
type fieldKey struct {
	name string
	id   uint32
}

type place struct {
	typ reflect.Type
	off uintptr
}

// unknown describes a field of the writer that the reader keeps in its Extra.
type unknown struct {
	name string
	id   uint32
	typ  *schema.Type
}

// extra appends the Extra of the struct at base in the positional form.
func (e *encoder) extra(b []byte, p *extraPlan, base unsafe.Pointer) []byte {
	x := *(*Extra)(unsafe.Add(base, p.off))
	b = item.AppendHead(b, item.Array, extraParts*uint64(len(x)))
	for i := range x {
		f := &x[i]
		if f.Name == "" || !utf8.ValidString(f.Name) {
			e.fail(fmt.Sprintf("name %q of an extra field is empty or not UTF-8", f.Name), nil)
			e.under(p.name)
			return b
		}
		if p.sent[fieldKey{f.Name, f.ID}] {
			e.fail("extra field "+f.Name+" has the name of another one", nil)
			e.under(p.name)
			return b
		}
		b = item.AppendUint(item.AppendText(b, f.Name), uint64(f.ID))
		if len(f.Item) == 0 {
			b = append(b, byteNull)
			continue
		}
		if err := decMode.Wellformed(f.Item); err != nil {
			e.fail("extra field "+f.Name, err)
			e.under(p.name)
			return b
		}
		b = append(b, f.Item...)
	}
	return b
}

// extraFields reads the positional form of an Extra. The items alias the message.
func (d *decoder) extraFields(kept uintptr) Extra {
	at := d.i
	n := d.count(item.Array, 1, unsafe.Sizeof(ExtraField{})/extraParts)
	if n%extraParts != 0 {
		d.failAt(at, "extra fields are not name, id and value each")
	}
	if n == 0 || !d.enter() {
		return nil
	}
	defer func(before uintptr) { d.kept = before }(d.kept)
	d.kept = kept
	x := make(Extra, n/extraParts)
	known := make(map[fieldKey]bool, len(x))
	for i := range x {
		at := d.i
		f := &x[i]
		f.Name = d.text(flagCopy)
		id := d.head(item.Uint)
		f.ID = uint32(id)
		start := d.i
		d.skip(skipIndefinite | skipCharge)
		k := fieldKey{f.Name, f.ID}
		if !d.failed() && (f.Name == "" || uint64(f.ID) != id || known[k]) {
			d.failAt(at, "extra field without a name, with a bad id or for the second time")
		}
		if d.failed() {
			return nil
		}
		f.Item, known[k] = d.b[start:d.i], true
	}
	d.depth++
	return x
}

// extra decodes the fields that the writer's schema does not describe into the struct at base.
func (d *decoder) extra(p *extraPlan, base unsafe.Pointer) {
	at := d.i
	x := d.extraFields(p.kept)
	if d.failed() {
		d.err.under(p.name)
		return
	}
	for i := range x {
		if p.sent[fieldKey{x[i].Name, x[i].ID}] {
			d.failAt(at, "extra field "+x[i].Name+" is one that the writer knows")
			d.err.under(p.name)
			return
		}
	}
	var has []bool
	if len(p.at) > 0 {
		has = make([]bool, len(p.at))
		ids := make(map[string]uint32, len(x))
		for i := range x {
			if x[i].ID != 0 {
				ids[x[i].Name] = x[i].ID
			}
		}
		taken := p.missing.takenBy(ids)
		rest := x[:0]
		for i := range x {
			j := p.missing.match(x[i].Name, x[i].ID, taken)
			if j < 0 {
				rest = append(rest, x[i])
				continue
			}
			if has[j] {
				d.failAt(at, "field comes twice")
			} else {
				d.extraField(at, &p.missing.fields[j], p.at[j].typ, x[i].Item, unsafe.Add(base, p.at[j].off))
			}
			if has[j] = true; d.failed() {
				d.err.under(p.missing.fields[j].name)
				return
			}
		}
		x = rest
	}
	if j := p.missing.lacks(has); j >= 0 {
		d.failAt(at, reasonRequired)
		d.err.under(p.missing.fields[j].name)
		return
	}
	if p.keep {
		to := (*Extra)(unsafe.Add(base, p.off))
		for i := range x {
			*to = append(*to, ExtraField{x[i].Name, x[i].ID, bytes.Clone(x[i].Item)})
		}
	}
}

// extraField decodes raw, an item in the generic form from the Extra at byte at, into the field s of type t at f.
func (d *decoder) extraField(at int, s *shapeField, t reflect.Type, raw []byte, f unsafe.Pointer) {
	raw, failed := normalized(raw, s.shape)
	if failed != nil {
		d.failErr(at, failed.reason, failed.err)
		d.err.path = failed.path
		return
	}
	if err := decMode.Unmarshal(raw, reflect.NewAt(t, f).Interface()); err != nil {
		d.failErr(at, "generic decoding", err)
	}
}

// unknown keeps the next value in the Extra at f.
func (d *decoder) unknown(u *unknown, f unsafe.Pointer) {
	if !d.memory(1, unsafe.Sizeof(ExtraField{})) {
		return
	}
	raw := d.selfDescribing(nil, u.typ)
	if !d.failed() && d.memory(len(raw), 1) {
		x := (*Extra)(f)
		*x = append(*x, ExtraField{u.name, u.id, raw})
	}
}

// selfDescribing passes over a value that t describes and appends it to b in the generic form.
func (d *decoder) selfDescribing(b []byte, t *schema.Type) []byte {
	at := d.i
	switch t.Kind {
	case schema.KindBool:
		d.bool()
	case schema.KindInt8, schema.KindInt16, schema.KindInt32, schema.KindInt64:
		d.int64()
	case schema.KindUint8, schema.KindUint16, schema.KindUint32, schema.KindUint64:
		d.head(item.Uint)
	case schema.KindFloat32:
		d.float32()
	case schema.KindFloat64:
		d.float64()
	case schema.KindText:
		d.checkText(d.raw(item.Text))
	case schema.KindBytes:
		d.raw(item.Bytes)
	case schema.KindAny:
		d.skip(0)
	case schema.KindTime:
		return d.selfDescribingTime(b)
	case schema.KindOptional:
		if d.i >= len(d.b) || d.b[d.i] != byteNull {
			return d.selfDescribing(b, t.Elem)
		}
		d.i++
	case schema.KindArray:
		if t.Elem.Kind != schema.KindUint8 {
			return d.selfDescribingList(b, t)
		}
		d.raw(item.Bytes)
	case schema.KindList:
		return d.selfDescribingList(b, t)
	case schema.KindMap:
		return d.selfDescribingMap(b, t)
	case schema.KindStruct:
		return d.selfDescribingStruct(b, t.Struct)
	}
	return append(b, d.b[at:d.i]...)
}

// timeBytes is more than what the generic form of a time takes.
const timeBytes = 40

func (d *decoder) selfDescribingTime(b []byte) []byte {
	at := d.i
	t := d.time()
	if !d.memory(1, timeBytes) {
		return b
	}
	buf := bytes.NewBuffer(b)
	if err := encMode.MarshalToBuffer(t, buf); err != nil {
		d.failErr(at, "generic encoding", err)
		return b
	}
	return buf.Bytes()
}

func (d *decoder) selfDescribingList(b []byte, t *schema.Type) []byte {
	at := d.i
	if tag, tagged := d.tag(); tagged {
		if num, ok := numberOf(t.Elem.Kind); ok && tag == num.tag {
			return d.selfDescribingNumbers(b, t, &num, at)
		}
		plain := d.expanded(at, tag, t)
		d.within(at, plain, func(in *decoder) { b = in.selfDescribingList(b, t) })
		return b
	}
	n := d.count(item.Array, leastBytes(t.Elem), 0)
	if t.Kind == schema.KindArray && n != t.Len {
		d.failLen(at, n, t.Len)
	}
	if !d.enter() {
		return b
	}
	b = item.AppendHead(b, item.Array, uint64(n))
	for range n {
		if b = d.selfDescribing(b, t.Elem); d.failed() {
			d.err.under("[]")
			return b
		}
	}
	d.depth++
	return b
}

// selfDescribingNumbers writes a typed array as an array, which every reader of the generic form knows. Its numbers count
// as elements, because they will for that reader.
func (d *decoder) selfDescribingNumbers(b []byte, t *schema.Type, num *number, at int) []byte {
	raw, n := d.numberBytes(at, num.tag, num)
	if t.Kind == schema.KindArray && n != t.Len {
		d.failLen(at, n, t.Len)
	}
	if n > d.items {
		d.failLimit("MaxElements", d.lim.MaxElements-d.items+n, d.lim.MaxElements)
	}
	if d.failed() {
		return b
	}
	d.items -= n
	b = item.AppendHead(b, item.Array, uint64(n))
	for ; len(raw) > 0; raw = raw[num.width:] {
		b = appendNumber(b, num.kind, raw)
	}
	return b
}

func (d *decoder) selfDescribingMap(b []byte, t *schema.Type) []byte {
	n := d.count(item.Map, leastBytes(t.Key)+leastBytes(t.Elem), 0)
	if !d.enter() {
		return b
	}
	b = item.AppendHead(b, item.Map, uint64(n))
	for range n {
		if b = d.selfDescribing(b, t.Key); d.failed() {
			d.err.under("[key]")
			return b
		}
		if b = d.selfDescribing(b, t.Elem); d.failed() {
			d.err.under("[]")
			return b
		}
	}
	d.depth++
	return b
}

func (d *decoder) selfDescribingStruct(b []byte, s *schema.Struct) []byte {
	at := d.i
	if n := d.head(item.Array); n != uint64(len(s.Fields)) {
		d.failLen(at, int(min(n, 1<<30)), len(s.Fields))
	}
	if !d.enter() {
		return b
	}
	m := beginMap(b)
	for i := range s.Fields {
		f := &s.Fields[i]
		if f.Type.Kind == schema.KindExtra {
			for _, x := range d.extraFields(0) {
				if !m.key(x.Name, x.ID) {
					d.failAt(at, "field "+x.Name+" comes twice")
				}
				m.b = append(m.b, x.Item...)
			}
		} else if d.memory(len(f.Name), 1) { // names are what makes the generic form much longer
			if !m.key(f.Name, f.ID) {
				d.failAt(at, "field "+f.Name+" comes twice")
			}
			m.b = d.selfDescribing(m.b, f.Type)
		}
		if d.failed() {
			d.err.under(f.Name)
			return b
		}
	}
	d.depth++
	return m.end()
}
