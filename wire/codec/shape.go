package codec

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// In the generic form of a struct the first entry may be a map from the names of fields to their ids, with the empty text
// as its key. fxamacker/cbor knows nothing of that, nor of required fields and [Extra]: for types that have such fields,
// what it has written is rewritten, and what it shall read is.

// reasonRequired is said of a field that is not in a message although its tag says required.
const reasonRequired = "reader requires it, writer does not send it"

const breakByte = 0xff // ends an item of indefinite length

// shape is where in the generic form of a type structs are. A nil shape is a type without.
type shape struct {
	elem   *shape // of lists, arrays and maps
	isMap  bool
	fields []shapeField // of structs
	byName map[string]int
	byID   map[uint32]int
	extra  string // name of the field of type Extra; "" is none
}

type shapeField struct {
	name     string
	id       uint32
	required bool
	shape    *shape
}

// shape returns the shape of t, whose structs have been described.
func (d *describer) shape(t reflect.Type) *shape {
	for seen := 0; t.Kind() == reflect.Pointer; seen++ {
		if seen > maxDepth {
			return nil // a pointer to itself
		}
		t = t.Elem()
	}
	if s, ok := d.shapes[t]; ok {
		return s
	}
	if t == typeTime || t == typeExtra || customOf(t) != customNone {
		return nil
	}
	s := &shape{}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		d.shapes[t] = s // before its parts, which may lead back here
		s.elem, s.isMap = d.shape(t.Elem()), t.Kind() == reflect.Map
	case reflect.Struct:
		d.shapes[t] = s
		info := d.structs[t]
		for i := range info.fields {
			f := &info.fields[i]
			f.shape = d.shape(f.typ)
			if f.typ == typeExtra {
				s.extra = f.name
			} else {
				s.add(shapeField{f.name, f.opt.id, f.opt.required, f.shape})
			}
		}
	default:
		return nil
	}
	return s
}

func (s *shape) add(f shapeField) {
	if s.byName == nil {
		s.byName, s.byID = make(map[string]int), make(map[uint32]int)
	}
	s.byName[f.name] = len(s.fields)
	if f.id != 0 {
		s.byID[f.id] = len(s.fields)
	}
	s.fields = append(s.fields, f)
}

// takenBy returns which fields of s a struct has by their ids, when it has those in ids.
func (s *shape) takenBy(ids map[string]uint32) []bool {
	taken := make([]bool, len(s.fields))
	for _, id := range ids {
		if j, ok := s.byID[id]; ok {
			taken[j] = true
		}
	}
	return taken
}

// match returns the index of the field of s that the writer's field is, by the rules of package schema; -1 for none.
func (s *shape) match(name string, id uint32, taken []bool) int {
	if j, ok := s.byID[id]; ok {
		return j
	}
	if j, ok := s.byName[name]; ok && !taken[j] && (id == 0 || s.fields[j].id == 0) {
		return j
	}
	return -1
}

// lacks returns the index of the first required field that a message does not have, -1 for none; nil has none.
func (s *shape) lacks(has []bool) int {
	for j := range s.fields {
		if s.fields[j].required && (has == nil || !has[j]) {
			return j
		}
	}
	return -1
}

// mapWriter appends a struct in the generic form to b.
type mapWriter struct {
	b     []byte
	start int
	n     int
	names map[string]bool
	ids   []byte // entries of the map from names to ids
	nIDs  int
}

func beginMap(b []byte) mapWriter {
	return mapWriter{b: b, start: len(b), names: make(map[string]bool)}
}

// key appends a key; its value follows. It reports whether it is a new one.
func (w *mapWriter) key(name string, id uint32) bool {
	if w.names[name] {
		return false
	}
	w.names[name] = true
	w.b = item.AppendText(w.b, name)
	w.n++
	if id != 0 {
		w.ids = item.AppendUint(item.AppendText(w.ids, name), uint64(id))
		w.nIDs++
	}
	return true
}

// end puts the head of the map and the ids in front of it and returns the bytes.
func (w *mapWriter) end() []byte {
	if w.nIDs == 0 {
		return slices.Insert(w.b, w.start, item.AppendHead(nil, item.Map, uint64(w.n))...)
	}
	head := item.AppendText(item.AppendHead(nil, item.Map, uint64(w.n)+1), "")
	head = append(item.AppendHead(head, item.Map, uint64(w.nIDs)), w.ids...)
	return slices.Insert(w.b, w.start, head...)
}

// rewriter copies an item from d to out and calls structure for the structs in it.
type rewriter struct {
	d         decoder
	out       []byte
	structure func(*rewriter, *shape)
}

// rewrite copies raw, an item of shape s that is well-formed, appending it to out.
func rewrite(out, raw []byte, s *shape, structure func(*rewriter, *shape)) ([]byte, *failure) {
	w := rewriter{d: decoder{b: raw, depth: 2 * maxDepth, items: math.MaxInt, room: math.MaxInt}, out: out, structure: structure}
	w.item(s)
	return w.out, w.d.err
}

// normalized returns raw, an item in the generic form of shape s, as fxamacker/cbor shall decode it: with the names that
// fields have here, and unknown fields in a list of [ExtraField].
func normalized(raw []byte, s *shape) ([]byte, *failure) {
	if s == nil {
		return raw, nil
	}
	return rewrite(make([]byte, 0, len(raw)), raw, s, (*rewriter).normalize)
}

func (w *rewriter) item(s *shape) {
	d := &w.d
	if s == nil || d.i >= len(d.b) {
		w.copy()
		return
	}
	switch major := d.b[d.i] >> 5; {
	case major == item.Tag:
		at := d.i
		d.head(item.Tag)
		w.out = append(w.out, d.b[at:d.i]...)
		if d.enter() {
			w.item(s)
			d.depth++
		}
	case major == item.Array && !s.isMap && s.elem != nil, major == item.Map && s.isMap:
		w.elements(s)
	case major == item.Map && s.fields != nil, major == item.Map && s.extra != "":
		if d.enter() {
			w.structure(w, s)
			d.depth++
		}
	default:
		w.copy()
	}
}

// copy copies an item as it is.
func (w *rewriter) copy() {
	at := w.d.i
	w.d.skip(skipIndefinite)
	w.out = append(w.out, w.d.b[at:w.d.i]...)
}

func (w *rewriter) elements(s *shape) {
	d := &w.d
	if !d.enter() {
		return
	}
	at := d.i
	n := d.begin()
	w.out = append(w.out, d.b[at:d.i]...)
	for left := n; d.more(&left); {
		if s.isMap {
			w.copy()
		}
		if w.item(s.elem); d.failed() {
			d.err.under("[]")
			return
		}
	}
	if n < 0 {
		w.out = append(w.out, breakByte)
	}
	d.depth++
}

// begin reads the head of an array or map and returns the number of its elements or entries, -1 for an indefinite one.
func (d *decoder) begin() int {
	c := d.b[d.i]
	if c&31 == 31 {
		d.i++
		return -1
	}
	return d.count(c>>5, 1, 0)
}

// more reports whether another element follows where left, from [decoder.begin], are left.
func (d *decoder) more(left *int) bool {
	switch {
	case d.failed() || *left == 0:
		return false
	case *left > 0:
		*left--
		return true
	case d.i < len(d.b) && d.b[d.i] == breakByte:
		d.i++
		return false
	}
	return true
}

// normalize copies a struct for [normalized].
func (w *rewriter) normalize(s *shape) {
	d := &w.d
	at, first := d.i, true
	var ids map[string]uint32
	taken, has := make([]bool, len(s.fields)), make([]bool, len(s.fields))
	unknown := make(map[string]bool)
	extra, nExtra := []byte(nil), 0
	w.out = append(w.out, item.Map<<5|31)
	for left := d.begin(); d.more(&left); first = false {
		name, ok := d.key()
		if first && ok && name == "" {
			ids = d.fieldIDs()
			taken = s.takenBy(ids)
			continue
		}
		j := -1
		if ok {
			j = s.match(name, ids[name], taken)
		}
		if j < 0 {
			start := d.i
			d.skip(skipIndefinite)
			if ok && (name == "" || unknown[name]) {
				d.failAt(start, fmt.Sprintf("map has the key %q twice, or not as the first one", name))
			}
			if ok && s.extra != "" && !d.failed() {
				extra = appendExtraField(extra, name, ids[name], d.b[start:d.i])
				nExtra++
			}
			unknown[name] = true
			continue
		}
		if has[j] {
			d.failAt(d.i, "field comes twice")
		}
		has[j] = true
		w.out = item.AppendText(w.out, s.fields[j].name)
		if w.item(s.fields[j].shape); d.failed() {
			d.err.under(s.fields[j].name)
			return
		}
	}
	if j := s.lacks(has); j >= 0 && !d.failed() {
		d.failAt(at, reasonRequired)
		d.err.under(s.fields[j].name)
	}
	if nExtra > 0 {
		w.out = item.AppendHead(item.AppendText(w.out, s.extra), item.Array, uint64(nExtra))
		w.out = append(w.out, extra...)
	}
	w.out = append(w.out, breakByte)
}

// key reads a key of a map and reports whether it is a text.
func (d *decoder) key() (name string, ok bool) {
	at := d.i
	if at >= len(d.b) || d.b[at]>>5 != item.Text {
		d.skip(skipIndefinite)
		return "", false
	}
	if d.b[at]&31 != 31 {
		return d.text(flagCopy), true
	}
	if d.skip(skipIndefinite); d.failed() {
		return "", false
	}
	if err := decMode.Unmarshal(d.b[at:d.i], &name); err != nil {
		d.failErr(at, "generic decoding", err)
	}
	return name, true
}

// fieldIDs reads the map from the names of fields to their ids.
func (d *decoder) fieldIDs() map[string]uint32 {
	at := d.i
	if d.skip(skipIndefinite); d.failed() {
		return nil
	}
	var ids map[string]uint32
	if err := decMode.Unmarshal(d.b[at:d.i], &ids); err != nil {
		d.failErr(at, "ids of fields", err)
	}
	return ids
}

// appendExtraField appends an [ExtraField] as fxamacker/cbor reads it.
func appendExtraField(b []byte, name string, id uint32, raw []byte) []byte {
	b = item.AppendHead(b, item.Map, 3)
	b = item.AppendText(item.AppendText(b, "Name"), name)
	b = item.AppendUint(item.AppendText(b, "ID"), uint64(id))
	return append(item.AppendText(b, "Item"), raw...)
}

// denormalize copies a struct that fxamacker/cbor has written, into the generic form: with its ids, and the fields of its
// Extra among the others.
func (w *rewriter) denormalize(s *shape) {
	d := &w.d
	m := beginMap(w.out)
	add := func(at int, name string, id uint32) {
		if !m.key(name, id) {
			d.failAt(at, "extra field "+name+" has the name of another one")
		}
	}
	for left := d.begin(); d.more(&left); {
		at := d.i
		name, _ := d.key()
		if j, ok := s.byName[name]; ok {
			add(at, name, s.fields[j].id)
			w.out = m.b
			if w.item(s.fields[j].shape); d.failed() {
				d.err.under(name)
				return
			}
			m.b = w.out
			continue
		}
		var x Extra // no other name is unknown
		start := d.i
		if d.skip(skipIndefinite); d.failed() {
			return
		}
		if err := decMode.Unmarshal(d.b[start:d.i], &x); err != nil {
			d.failErr(start, "generic encoding", err)
		}
		for i := range x {
			if x[i].Name == "" {
				d.failAt(start, "extra field without a name")
			}
			add(start, x[i].Name, x[i].ID)
			m.b = append(m.b, x[i].Item...)
		}
	}
	w.out = m.end()
}
