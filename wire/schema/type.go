package schema

import (
	"slices"
	"strings"
)

// Kind says what a [Type] is. The numbers are the ones of the canonical bytes, so they never change.
type Kind uint8

const (
	KindBool    Kind = 1
	KindInt8    Kind = 2
	KindInt16   Kind = 3
	KindInt32   Kind = 4
	KindInt64   Kind = 5
	KindUint8   Kind = 6
	KindUint16  Kind = 7
	KindUint32  Kind = 8
	KindUint64  Kind = 9
	KindFloat32 Kind = 10
	KindFloat64 Kind = 11
	KindText    Kind = 12
	KindBytes   Kind = 13
	KindTime    Kind = 14 // an instant: seconds and nanoseconds since 1970 UTC
	KindAny     Kind = 15 // one self-describing CBOR item
	KindExtra   Kind = 16 // fields that the sender has received and does not know; of a field of a struct only

	KindList     Kind = 32 // Elem
	KindArray    Kind = 33 // Len times Elem
	KindMap      Kind = 34 // Key, Elem
	KindOptional Kind = 35 // Elem or null
	KindStruct   Kind = 36 // Struct

	kindRef = 37 // canonical bytes only: a struct described earlier
)

var kindNames = map[Kind]string{
	KindBool: "bool", KindInt8: "int8", KindInt16: "int16", KindInt32: "int32", KindInt64: "int64",
	KindUint8: "uint8", KindUint16: "uint16", KindUint32: "uint32", KindUint64: "uint64",
	KindFloat32: "float32", KindFloat64: "float64", KindText: "text", KindBytes: "bytes", KindTime: "time",
	KindAny: "any", KindExtra: "extra", KindList: "list", KindArray: "array", KindMap: "map", KindOptional: "optional",
	KindStruct: "struct",
}

// String returns the word used for k in error messages, such as "text" or "int64".
func (k Kind) String() string {
	if s, ok := kindNames[k]; ok {
		return s
	}
	return "unknown kind"
}

// scalar reports whether a type of kind k has no parts.
func (k Kind) scalar() bool { return k >= KindBool && k <= KindExtra }

// Integer reports whether k is a signed or unsigned integer.
func (k Kind) Integer() bool { return k >= KindInt8 && k <= KindUint64 }

// Number reports whether k is an integer or a float.
func (k Kind) Number() bool { return k >= KindInt8 && k <= KindFloat64 }

// Type is one node of a schema. The types reachable from a [Schema] must not be modified.
type Type struct {
	Kind   Kind
	Elem   *Type   // of a list, array, optional; the values of a map
	Key    *Type   // of a map
	Len    int     // of an array, in elements
	Struct *Struct // of a struct; two types naming one Struct share it, which is how recursion is written
}

// Struct is a list of fields in the order they are sent.
type Struct struct {
	Name   string // bare name of the type, for people; no part of compatibility
	Fields []Field
}

// Field is one field of a [Struct].
type Field struct {
	Name     string // "" for the one of kind extra, whose name means nothing
	Type     *Type
	ID       uint32 // explicit identity, which survives a renaming; 0 is none
	Required bool   // as a reader: the writer must send it
	Default  string // as a reader: the value taken when the writer does not send it, as text; "" is zero
}

// hasExtra reports whether s sends fields that it does not describe.
func (s *Struct) hasExtra() bool {
	return slices.ContainsFunc(s.Fields, func(f Field) bool { return f.Type.Kind == KindExtra })
}

// words describes t for an error message.
func (t *Type) words() string {
	switch t.Kind {
	case KindList:
		return "list of " + t.Elem.words()
	case KindArray:
		return "array of " + itoa(t.Len) + " " + t.Elem.words()
	case KindOptional:
		return "optional " + t.Elem.words()
	case KindMap:
		return "map from " + t.Key.words() + " to " + t.Elem.words()
	case KindStruct:
		return strings.TrimSpace("struct " + quoted(t.Struct.Name))
	}
	return t.Kind.String()
}
