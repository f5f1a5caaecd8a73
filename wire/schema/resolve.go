package schema

import "fmt"

// MismatchError says why a reader cannot read what a writer sends. It is found once, when the two schemas are
// resolved, and not when a message comes.
type MismatchError struct {
	Field  string // path from the message, such as "Items[].Price"; "" is the message itself
	Reason string // such as "writer sends text, reader wants int64"
	Writer ID
	Reader ID
}

func (e *MismatchError) Error() string {
	if e.Field == "" {
		return "schema: message: " + e.Reason
	}
	return fmt.Sprintf("schema: field %q: %s", e.Field, e.Reason)
}

// Match pairs the fields of a writer's struct with those of a reader's.
type Match struct {
	Fields  []int // for each field of the writer, in its order: the index of the reader's field, or -1 to skip it
	Missing []int // the fields of the reader that the writer does not send, in order
}

// Resolution is the answer of [Resolve]. It is immutable.
type Resolution struct {
	matches map[pair]*Match
	same    bool
}

type pair struct{ writer, reader *Struct }

// Match returns how the fields of w and r correspond; nil when the resolution did not meet the pair.
func (r *Resolution) Match(writer, reader *Struct) *Match { return r.matches[pair{writer, reader}] }

// SameLayout reports whether both schemas send the same bytes for the same value: the same types in the same order,
// whatever the names of types and the defaults.
func (r *Resolution) SameLayout() bool { return r.same }

// Resolve finds out how a reader reads what a writer sends, by the rules of "Evolution" in the package documentation.
// Errors: *[MismatchError] at the first field that cannot be read.
func Resolve(writer, reader *Schema) (*Resolution, error) {
	r := resolver{res: Resolution{matches: make(map[pair]*Match), same: true}}
	if reason, ok := r.types(writer.root, reader.root); !ok {
		return nil, &MismatchError{Field: r.path, Reason: reason, Writer: writer.id, Reader: reader.id}
	}
	return &r.res, nil
}

type resolver struct {
	res  Resolution
	path string // grows from the inside out while a mismatch returns
}

// under puts name in front of the path of a mismatch.
func (r *resolver) under(name string) {
	if r.path != "" && r.path[0] != '[' {
		name += "."
	}
	r.path = name + r.path
}

// types reports whether what w describes can be read as what rd describes, and if not why.
func (r *resolver) types(w, rd *Type) (reason string, ok bool) {
	if rd.Kind == KindOptional && w.Kind != KindOptional {
		r.res.same = false
		w = &Type{Kind: KindOptional, Elem: w} // T is a valid optional T
	}
	if w.Kind.scalar() && rd.Kind.scalar() {
		return r.scalars(w, rd)
	}
	if w.Kind != rd.Kind || w.Len != rd.Len {
		return refuse(w, rd), false
	}
	switch w.Kind {
	case KindStruct:
		return r.structs(w.Struct, rd.Struct)
	case KindArray:
		if w.Elem.Kind != rd.Elem.Kind && w.Elem.Kind == KindUint8 {
			return refuse(w, rd), false // it is sent as bytes
		}
	case KindMap:
		if reason, ok := r.types(w.Key, rd.Key); !ok {
			r.under("[key]")
			return reason, false
		}
	}
	reason, ok = r.types(w.Elem, rd.Elem)
	if !ok && w.Kind != KindOptional {
		r.under("[]")
	}
	return reason, ok
}

func (r *resolver) scalars(w, rd *Type) (string, bool) {
	if w.Kind == rd.Kind {
		return "", true
	}
	r.res.same = false
	if widens(w.Kind, rd.Kind) {
		return "", true
	}
	return refuse(w, rd), false
}

// widens reports whether every value of w is a value of rd.
func widens(w, rd Kind) bool {
	switch {
	case w >= KindInt8 && rd <= KindInt64, w >= KindUint8 && rd <= KindUint64, w >= KindFloat32 && rd <= KindFloat64:
		// one family each, ordered by width, and w and rd in the same one
		return w < rd && family(w) == family(rd)
	}
	return false
}

func family(k Kind) int {
	switch {
	case k >= KindInt8 && k <= KindInt64:
		return 1
	case k >= KindUint8 && k <= KindUint64:
		return 2
	case k == KindFloat32 || k == KindFloat64:
		return 3
	}
	return 0
}

func refuse(w, rd *Type) string {
	return "writer sends " + w.words() + ", reader wants " + rd.words()
}

func (r *resolver) structs(w, rd *Struct) (string, bool) {
	key := pair{w, rd}
	if r.res.matches[key] != nil {
		return "", true // done, or being done further up: then the outer one finds the mismatch
	}
	m := match(w, rd)
	r.res.matches[key] = m
	for i, j := range m.Fields {
		if i != j {
			r.res.same = false
		}
		if j < 0 {
			continue
		}
		if reason, ok := r.types(w.Fields[i].Type, rd.Fields[j].Type); !ok {
			r.under(rd.Fields[j].Name)
			return reason, false
		}
	}
	for _, j := range m.Missing {
		r.res.same = false
		if rd.Fields[j].Required && !w.hasExtra() {
			r.under(rd.Fields[j].Name)
			return "reader requires it, writer does not send it", false
		}
	}
	return "", true
}

// match pairs first the fields with equal ids, then those with equal names of which at most one has an id. The fields of
// kind extra, which have no name, make a pair, too.
func match(w, rd *Struct) *Match {
	m := &Match{Fields: make([]int, len(w.Fields))}
	ids, names := make(map[uint32]int), make(map[string]int, len(rd.Fields))
	for j := range rd.Fields {
		names[rd.Fields[j].Name] = j
		if id := rd.Fields[j].ID; id != 0 {
			ids[id] = j
		}
	}
	taken := make([]bool, len(rd.Fields))
	for i := range w.Fields {
		m.Fields[i] = -1
		if j, ok := ids[w.Fields[i].ID]; ok {
			m.Fields[i], taken[j] = j, true
		}
	}
	for i := range w.Fields {
		if m.Fields[i] >= 0 {
			continue
		}
		j, ok := names[w.Fields[i].Name]
		if ok && !taken[j] && (w.Fields[i].ID == 0 || rd.Fields[j].ID == 0) {
			m.Fields[i], taken[j] = j, true
		}
	}
	for j := range rd.Fields {
		if !taken[j] {
			m.Missing = append(m.Missing, j)
		}
	}
	return m
}
