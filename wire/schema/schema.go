package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// version is the first element of the canonical bytes.
const version = 1

// ID identifies a schema: the first 16 bytes of the SHA-256 of its canonical bytes.
type ID [16]byte

// String returns the ID in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Limits bounds a schema that comes from a peer. Zero fields take the value of [DefaultLimits].
type Limits struct {
	MaxBytes int // canonical bytes; default 16 KiB, negative is an error
	MaxDepth int // nested types, counted as in [Schema.Depth]; default 32, negative is an error
}

// DefaultLimits are the limits of a zero [Limits].
var DefaultLimits = Limits{MaxBytes: 16 << 10, MaxDepth: 32}

func (l Limits) orDefault() (Limits, error) {
	if l.MaxBytes < 0 || l.MaxDepth < 0 {
		return l, fmt.Errorf("schema: negative limit: MaxBytes %d, MaxDepth %d", l.MaxBytes, l.MaxDepth)
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = DefaultLimits.MaxBytes
	}
	if l.MaxDepth == 0 {
		l.MaxDepth = DefaultLimits.MaxDepth
	}
	return l, nil
}

// LimitError says that a schema exceeds a limit. Limit is the name of the field of [Limits] that can be raised.
type LimitError struct {
	Limit    string
	Got, Max int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("schema: %d exceeds schema.Limits.%s %d", e.Got, e.Limit, e.Max)
}

// ErrInvalid is wrapped by the errors of [Parse] and [New] about a description that breaks the rules of this package.
var ErrInvalid = errors.New("schema: invalid description")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Schema is the immutable description of a message type. It is safe for concurrent use.
type Schema struct {
	root      *Type
	canonical []byte
	id        ID
	depth     int
}

// New describes root, which must not be modified afterwards.
//
// Errors: one wrapping [ErrInvalid] when root breaks the rules of "Validity" in the package documentation;
// *[LimitError] when the description is larger or deeper than lim allows.
func New(root *Type, lim Limits) (*Schema, error) {
	lim, err := lim.orDefault()
	if err != nil {
		return nil, err
	}
	w := writer{lim: lim, index: make(map[*Struct]int)}
	if err := w.schema(root); err != nil {
		return nil, err
	}
	if err := w.size(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(w.b)
	return &Schema{root: root, canonical: w.b, id: ID(sum[:16]), depth: w.depth}, nil
}

// ID returns the identity of s.
func (s *Schema) ID() ID { return s.id }

// Canonical returns the canonical bytes of s. They are valid for ever and must not be modified.
func (s *Schema) Canonical() []byte { return s.canonical }

// Root returns the type described by s. It must not be modified.
func (s *Schema) Root() *Type { return s.root }

// Depth returns how many types are nested in s at most: 1 for a struct of numbers, 2 for one with a list of numbers.
// A struct met before counts as one more level and is not followed.
func (s *Schema) Depth() int { return s.depth }

// Name returns the bare name of the described struct, or words such as "list of text" for other types.
func (s *Schema) Name() string {
	if s.root.Kind == KindStruct {
		return s.root.Struct.Name
	}
	return s.root.words()
}

const (
	flagRequired = 1 << iota
	flagID
	flagDefault
)

// writer appends the canonical bytes and checks the rules on the way, so that there is one place for both.
type writer struct {
	b     []byte
	lim   Limits
	index map[*Struct]int // number of each struct met, in order
	depth int
}

func (w *writer) schema(root *Type) error {
	if root == nil {
		return invalid("no type")
	}
	if root.Kind == KindStruct && root.Struct != nil {
		w.head(item.Array, 3)
		w.head(item.Uint, version)
		return w.structure(root.Struct, 1)
	}
	w.head(item.Array, 2)
	w.head(item.Uint, version)
	return w.typ(root, 1)
}

func (w *writer) typ(t *Type, depth int) error {
	if t == nil {
		return invalid("a part of a type is missing")
	}
	if t.Kind == KindExtra {
		return invalid("extra is the type of a field of a struct without a name only")
	}
	if t.Kind.scalar() {
		w.head(item.Uint, uint64(t.Kind))
		return nil
	}
	if err := w.deeper(depth); err != nil {
		return err
	}
	switch t.Kind {
	case KindList:
		w.head(item.Array, 2)
		w.head(item.Uint, uint64(t.Kind))
	case KindOptional:
		if t.Elem != nil && (t.Elem.Kind == KindOptional || t.Elem.Kind == KindAny) {
			return invalid("optional %s cannot tell null from null", t.Elem.Kind)
		}
		w.head(item.Array, 2)
		w.head(item.Uint, uint64(t.Kind))
	case KindArray:
		if t.Len < 0 || t.Len > maxArrayLen {
			return invalid("array of %d elements", t.Len)
		}
		w.head(item.Array, 3)
		w.head(item.Uint, uint64(t.Kind))
		w.head(item.Uint, uint64(t.Len))
	case KindMap:
		if !validKey(t.Key) {
			return invalid("map keys must be a bool, an integer, text or bytes")
		}
		w.head(item.Array, 3)
		w.head(item.Uint, uint64(t.Kind))
		if err := w.typ(t.Key, depth+1); err != nil {
			return err
		}
	case KindStruct:
		if t.Struct == nil {
			return invalid("struct without description")
		}
		if i, ok := w.index[t.Struct]; ok {
			w.head(item.Array, 2)
			w.head(item.Uint, kindRef)
			w.head(item.Uint, uint64(i))
			return w.size()
		}
		w.head(item.Array, 3)
		w.head(item.Uint, uint64(t.Kind))
		return w.structure(t.Struct, depth)
	default:
		return invalid("kind %d", t.Kind)
	}
	return w.typ(t.Elem, depth+1)
}

func (w *writer) structure(s *Struct, depth int) error {
	if err := w.deeper(depth); err != nil {
		return err
	}
	w.index[s] = len(w.index)
	if !utf8.ValidString(s.Name) {
		return invalid("struct name is not UTF-8")
	}
	w.text(s.Name)
	w.head(item.Array, uint64(len(s.Fields)))
	names, ids := make(map[string]bool, len(s.Fields)), make(map[uint32]bool)
	for i := range s.Fields {
		f := &s.Fields[i]
		if extra := f.Type != nil && f.Type.Kind == KindExtra; extra != (f.Name == "") || names[f.Name] {
			return invalid("struct %q has two fields %q, or a name where there is none, or none where there is one", s.Name, f.Name)
		}
		if f.ID != 0 && ids[f.ID] {
			return invalid("struct %q has two fields with id %d", s.Name, f.ID)
		}
		names[f.Name], ids[f.ID] = true, true
		if err := w.field(f, depth); err != nil {
			return err
		}
	}
	return w.size()
}

func (w *writer) field(f *Field, depth int) error {
	if !utf8.ValidString(f.Name) || !utf8.ValidString(f.Default) {
		return invalid("field name or default is not UTF-8")
	}
	n, flags := uint64(3), uint64(0)
	if f.Required {
		flags |= flagRequired
	}
	if f.ID != 0 {
		n, flags = n+1, flags|flagID
	}
	if f.Default != "" {
		n, flags = n+1, flags|flagDefault
	}
	w.head(item.Array, n)
	w.text(f.Name)
	if f.Name == "" { // of kind extra
		if flags != 0 {
			return invalid("a field of kind extra has no flags")
		}
		w.head(item.Uint, uint64(KindExtra))
	} else if err := w.typ(f.Type, depth+1); err != nil {
		return err
	}
	w.head(item.Uint, flags)
	if f.ID != 0 {
		w.head(item.Uint, uint64(f.ID))
	}
	if f.Default != "" {
		w.text(f.Default)
	}
	return w.size()
}

func (w *writer) deeper(depth int) error {
	w.depth = max(w.depth, depth)
	if depth > w.lim.MaxDepth {
		return &LimitError{Limit: "MaxDepth", Got: depth, Max: w.lim.MaxDepth}
	}
	return nil
}

func (w *writer) size() error {
	if len(w.b) > w.lim.MaxBytes {
		return &LimitError{Limit: "MaxBytes", Got: len(w.b), Max: w.lim.MaxBytes}
	}
	return nil
}

// maxArrayLen keeps the length of an array an int on every platform.
const maxArrayLen = 1<<31 - 1

func validKey(t *Type) bool {
	if t == nil {
		return false
	}
	switch t.Kind {
	case KindBool, KindText, KindBytes:
		return true
	case KindArray:
		return t.Elem != nil && t.Elem.Kind == KindUint8
	}
	return t.Kind.Integer()
}

func (w *writer) head(major byte, n uint64) { w.b = item.AppendHead(w.b, major, n) }

func (w *writer) text(s string) { w.b = item.AppendText(w.b, s) }
