package schema

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

func itoa(n int) string { return strconv.Itoa(n) }

// String returns s as Go-like type declarations, the message first:
//
//	type Order struct {
//		ID    uint64
//		Items []Item
//	}
//
//	type Item struct {
//		Price int64 `id=2,required`
//	}
//
// It is for people. Names that are no identifiers are quoted, and different structs of one name are numbered.
func (s *Schema) String() string {
	p := printer{names: make(map[*Struct]string), used: make(map[string]int)}
	if s.root.Kind != KindStruct {
		first := p.typ(s.root) + "\n"
		if len(p.todo) > 0 {
			first += "\n"
		}
		return first + p.structs()
	}
	p.name(s.root.Struct)
	return p.structs()
}

type printer struct {
	todo  []*Struct
	names map[*Struct]string
	used  map[string]int
}

// name returns the printed name of s and queues it for printing when it is new.
func (p *printer) name(s *Struct) string {
	if n, ok := p.names[s]; ok {
		return n
	}
	n := "struct"
	if s.Name != "" {
		n = quoted(s.Name)
	}
	p.used[n]++
	if c := p.used[n]; c > 1 {
		n = fmt.Sprintf("%s_%d", n, c)
	}
	p.names[s] = n
	p.todo = append(p.todo, s)
	return n
}

func (p *printer) structs() string {
	var b strings.Builder
	for i := 0; i < len(p.todo); i++ { // grows while printing
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		p.one(&b, p.todo[i])
	}
	return b.String()
}

func (p *printer) one(b *strings.Builder, s *Struct) {
	fmt.Fprintf(b, "type %s struct {\n", p.names[s])
	width := 0
	for i := range s.Fields {
		width = max(width, len(quoted(s.Fields[i].Name)))
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		if f.Type.Kind == KindExtra {
			b.WriteString("\textra\n")
			continue
		}
		fmt.Fprintf(b, "\t%-*s %s", width, quoted(f.Name), p.typ(f.Type))
		if o := f.options(); o != "" {
			fmt.Fprintf(b, " `%s`", o)
		}
		b.WriteByte('\n')
	}
	b.WriteString("}\n")
}

func (f *Field) options() string {
	var o []string
	if f.ID != 0 {
		o = append(o, "id="+strconv.FormatUint(uint64(f.ID), 10))
	}
	if f.Required {
		o = append(o, "required")
	}
	if f.Default != "" {
		o = append(o, "default="+quoted(f.Default))
	}
	return strings.Join(o, ",")
}

func (p *printer) typ(t *Type) string {
	switch t.Kind {
	case KindText:
		return "string"
	case KindBytes:
		return "[]byte"
	case KindTime:
		return "time.Time"
	case KindList:
		return "[]" + p.typ(t.Elem)
	case KindArray:
		return "[" + itoa(t.Len) + "]" + p.typ(t.Elem)
	case KindOptional:
		return "*" + p.typ(t.Elem)
	case KindMap:
		return "map[" + p.typ(t.Key) + "]" + p.typ(t.Elem)
	case KindStruct:
		return p.name(t.Struct)
	}
	return t.Kind.String()
}

// quoted returns s as it is when it is harmless to print, else as a Go string literal.
func quoted(s string) string {
	for _, r := range s {
		if r == '"' || r == '`' || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
