package schema

import (
	"bytes"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// Parse reads a schema from its canonical bytes. It borrows canonical until it returns; the result holds a copy.
//
// Errors: *[LimitError] when the bytes are longer or the types more deeply nested than lim allows; one wrapping
// [ErrInvalid] when they are anything else than what [Schema.Canonical] returns for some schema, so that one schema
// has one ID.
func Parse(canonical []byte, lim Limits) (*Schema, error) {
	lim, err := lim.orDefault()
	if err != nil {
		return nil, err
	}
	if len(canonical) > lim.MaxBytes {
		return nil, &LimitError{Limit: "MaxBytes", Got: len(canonical), Max: lim.MaxBytes}
	}
	p := parser{b: canonical, lim: lim}
	root := p.schema()
	if p.err != nil {
		return nil, p.err
	}
	if len(p.b) > 0 {
		return nil, invalid("%d trailing bytes", len(p.b))
	}
	s, err := New(root, lim)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(s.canonical, canonical) {
		return nil, invalid("encoding is not canonical")
	}
	return s, nil
}

// parser reads a description. It accepts a little more than the canonical form; [Parse] compares in the end.
type parser struct {
	b       []byte // what is left
	lim     Limits
	structs []*Struct
	err     error // the first error; nothing is read after it
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err, p.b = invalid(format, args...), nil
	}
}

func (p *parser) schema() *Type {
	n := p.head(item.Array)
	if v := p.head(item.Uint); p.err == nil && v != version {
		p.fail("version %d is unknown, this side knows %d", v, version)
	}
	switch {
	case n == 3:
		return &Type{Kind: KindStruct, Struct: p.structure(1)}
	case n != 2:
		p.fail("outer array of %d elements", n)
	}
	return p.typ(1)
}

func (p *parser) typ(depth int) *Type {
	if p.err != nil {
		return nil
	}
	if depth > p.lim.MaxDepth+1 { // scalars may stand one below the deepest composite
		p.err = &LimitError{Limit: "MaxDepth", Got: depth, Max: p.lim.MaxDepth}
		return nil
	}
	if len(p.b) > 0 && p.b[0]>>5 == item.Uint {
		k := p.head(item.Uint)
		if k > 255 || !Kind(k).scalar() {
			p.fail("kind %d", k)
		}
		return &Type{Kind: Kind(k)}
	}
	n := p.head(item.Array)
	k := p.head(item.Uint)
	if want := 3; k == uint64(KindArray) || k == uint64(KindMap) || k == uint64(KindStruct) {
		if n != uint64(want) {
			p.fail("kind %d with %d parts", k, n)
		}
	} else if n != 2 {
		p.fail("kind %d with %d parts", k, n)
	}
	if p.err != nil {
		return nil
	}
	switch k {
	case uint64(KindList), uint64(KindOptional):
		return &Type{Kind: Kind(k), Elem: p.typ(depth + 1)}
	case uint64(KindArray):
		n := p.head(item.Uint)
		if n > maxArrayLen {
			p.fail("array of %d elements", n)
		}
		return &Type{Kind: KindArray, Len: int(n), Elem: p.typ(depth + 1)}
	case uint64(KindMap):
		return &Type{Kind: KindMap, Key: p.typ(depth + 1), Elem: p.typ(depth + 1)}
	case uint64(KindStruct):
		return &Type{Kind: KindStruct, Struct: p.structure(depth)}
	case kindRef:
		i := p.head(item.Uint)
		if i >= uint64(len(p.structs)) {
			p.fail("reference to struct %d of %d", i, len(p.structs))
			return nil
		}
		return &Type{Kind: KindStruct, Struct: p.structs[i]}
	}
	p.fail("kind %d", k)
	return nil
}

func (p *parser) structure(depth int) *Struct {
	s := &Struct{Name: p.text()}
	p.structs = append(p.structs, s)
	n := p.head(item.Array)
	if n > uint64(len(p.b)) { // a field takes several bytes
		p.fail("%d fields in %d bytes", n, len(p.b))
	}
	for i := uint64(0); i < n && p.err == nil; i++ {
		s.Fields = append(s.Fields, p.field(depth))
	}
	return s
}

func (p *parser) field(depth int) Field {
	n := p.head(item.Array)
	f := Field{Name: p.text(), Type: p.typ(depth + 1)}
	flags := p.head(item.Uint)
	if flags >= flagDefault<<1 {
		p.fail("field flags %#x", flags)
	}
	f.Required = flags&flagRequired != 0
	want := uint64(3)
	if flags&flagID != 0 {
		want++
		id := p.head(item.Uint)
		if id == 0 || id > 1<<32-1 {
			p.fail("field id %d", id)
		}
		f.ID = uint32(id)
	}
	if flags&flagDefault != 0 {
		want++
		f.Default = p.text()
	}
	if n != want {
		p.fail("field of %d parts where its flags ask for %d", n, want)
	}
	return f
}

func (p *parser) text() string {
	n := p.head(item.Text)
	if n > uint64(len(p.b)) {
		p.fail("text of %d bytes where %d are left", n, len(p.b))
		return ""
	}
	s := string(p.b[:n])
	p.b = p.b[n:]
	return s
}

func (p *parser) head(major byte) uint64 {
	if p.err != nil {
		return 0
	}
	if len(p.b) == 0 || p.b[0]>>5 != major {
		p.fail("expected CBOR major type %d with %d bytes left", major, len(p.b))
		return 0
	}
	h, size, err := item.ParseHead(p.b)
	if err != nil || size > 5 { // no number of a description takes more bytes
		p.fail("bad head %#x", p.b[0])
		return 0
	}
	p.b = p.b[size:]
	return h.N
}
