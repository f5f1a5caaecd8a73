package codec

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/mycel-rpc/mycel/wire/compress"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// ErrType is wrapped by the errors about a value that is not of a codec's type, or nil.
var ErrType = errors.New("codec: wrong type of value")

// readersPerCodec is how many schemas of writers a codec remembers the plans for.
const readersPerCodec = 64

// Codec encodes and decodes values of one Go type. It is immutable and safe for concurrent use.
type Codec struct {
	typ, ptr  reflect.Type   // T and *T
	ptrWord   unsafe.Pointer // the first word of an any that holds a *T
	desc      *schema.Schema
	why       string     // why desc is nil
	linked    bool       // whether anything is encoded with a link
	inPlace   bool       // see InPlace
	secret    bool       // see Secret
	noDedup   bool       // see NoDedup
	packSites []packSite // fields that have packed forms, in the order of [Packer].sites
	info      map[*schema.Struct]*structInfo

	// Of the generic form:
	defaults     []op
	shape        *shape  // nil where fxamacker/cbor needs no help
	elementBytes uintptr // memory of the largest element of a list or map

	own     *Reader                              // reads our own schema; nil when desc is
	readers *lru.Cache[schema.ID, readerOrError] // by the ID of the writer's schema
}

type readerOrError struct {
	r   *Reader
	err error
}

var codecs sync.Map // reflect.Type -> *Codec

// For returns the codec of the type t: T itself, not *T. It is compiled at the first call for t and shared afterwards.
//
// Errors: *[TypeError] naming the field that cannot be sent or has a bad tag.
func For(t reflect.Type) (*Codec, error) {
	if c, ok := codecs.Load(t); ok {
		return c.(*Codec), nil
	}
	if t == nil {
		return nil, fmt.Errorf("%w: no type", ErrType)
	}
	c, err := compile(t)
	if err != nil {
		return nil, err
	}
	shared, _ := codecs.LoadOrStore(t, c)
	return shared.(*Codec), nil
}

// Of returns the codec of T, as [For] does.
func Of[T any]() (*Codec, error) { return For(reflect.TypeFor[T]()) }

func compile(t reflect.Type) (*Codec, error) {
	d := describer{
		structs:  make(map[reflect.Type]*structInfo),
		bySchema: make(map[*schema.Struct]*structInfo),
		open:     make(map[reflect.Type]bool),
		shapes:   make(map[reflect.Type]*shape),
	}
	root, err := d.typ(t)
	if err != nil {
		var te *TypeError
		if errors.As(err, &te) {
			return nil, &TypeError{Type: t, Field: te.Field, Reason: te.describe(t)}
		}
		return nil, err
	}
	nilT := reflect.Zero(reflect.PointerTo(t)).Interface()
	c := &Codec{typ: t, ptr: reflect.PointerTo(t), ptrWord: (*emptyInterface)(unsafe.Pointer(&nilT)).typ, why: d.notPlain, info: d.bySchema}
	c.elementBytes, c.linked, c.secret, c.noDedup = d.largest, d.linked, d.secret, d.noDedup
	if d.rewrites {
		c.shape = d.shape(t)
	}
	if c.readers, err = lru.New[schema.ID, readerOrError](readersPerCodec); err != nil {
		return nil, err
	}
	if root.Kind == schema.KindStruct && customOf(t) == customNone {
		b := builder{info: c.info}
		c.defaults = b.appendDefaults(nil, root.Struct, 0)
	}
	if c.why != "" {
		return c.withoutSchema()
	}
	if c.desc, err = schema.New(root, schema.DefaultLimits); err != nil {
		c.desc, c.why = nil, err.Error() // too large to be negotiated
		return c.withoutSchema()
	}
	res, err := schema.Resolve(c.desc, c.desc)
	if err != nil {
		return nil, err
	}
	var plans map[planKey]*plan
	c.own, plans = c.reader(c.desc, res)
	markPlans(&c.own.root, plans)
	c.findPackSites()
	c.inPlace = c.own.root.inPlace(map[*plan]bool{})
	return c, nil
}

// withoutSchema returns a codec for the generic form alone, which cannot express everything.
func (c *Codec) withoutSchema() (*Codec, error) {
	if c.linked {
		return nil, &TypeError{Type: c.typ, Reason: "has fields that are encoded with a link, but no positional form: " + c.why}
	}
	return c, nil
}

// Type returns T.
func (c *Codec) Type() reflect.Type { return c.typ }

// Schema returns the description of T, or nil when only the generic form can express it.
func (c *Codec) Schema() *schema.Schema { return c.desc }

// Append appends the value that v, a *T, points to: in the positional form, or in the generic one when Schema is nil.
// It borrows v until it returns and returns dst extended, or dst as it was with an error. Encoding a T without maps,
// values of type any and methods of its own allocates only to grow dst.
//
// Errors: *[EncodeError] when a method of a field fails or the value is nested too deeply; one wrapping [ErrType] when
// v is no *T or nil.
func (c *Codec) Append(dst []byte, v any) ([]byte, error) { return c.AppendLinked(dst, v, nil) }

// InPlace reports whether [Codec.Decode] may read a message from memory that somebody else can change meanwhile: whatever they
// do, the result is a value that some message could have had, or an error. It holds for a T without values of type any,
// Extra and methods of its own, which would be read twice.
func (c *Codec) InPlace() bool { return c.inPlace }

// Linked reports whether a T has values that are encoded with a link.
func (c *Codec) Linked() bool { return c.linked }

// Secret reports whether a T has a field with the tag secret. The size of what is compressed tells of its content, so that
// an attacker who can choose one part of a message, and sees its size, learns of another (CRIME, BREACH).
func (c *Codec) Secret() bool { return c.secret }

// NoDedup reports whether a T has a field with the tag nodedup: one that is not worth remembering, or must not be.
func (c *Codec) NoDedup() bool { return c.noDedup }

// AppendLinked is [Codec.Append] for a T with values of types that have the methods
//
//	AppendLinked(dst []byte, link any) ([]byte, error)
//	DecodeLinked(b []byte, link any) error
//
// the second one on a pointer: what they are on the wire, bytes, depends on the connection that the message travels on, which
// link stands for. [Limits].Link has the receiver's. They are in the positional form only.
func (c *Codec) AppendLinked(dst []byte, v, link any) ([]byte, error) {
	return c.AppendWith(dst, v, AppendOptions{Link: link})
}

// AppendOptions is what [Codec.AppendWith] has to know besides the value. The zero value is that of [Codec.Append].
type AppendOptions struct {
	// Link is what values are encoded with whose bytes depend on the connection; see [Codec.AppendLinked].
	Link any
	// Packer, unless it is nil, packs lists where that pays on Path. It is one of the same Codec.
	Packer *Packer
	Path   compress.Path
	// Spans, unless it is nil, gets the spans of the message appended: see [Span].
	Spans *[]Span
}

// AppendWith is [Codec.Append] with options. It borrows all of them until it returns. After an error *o.Spans is as it was.
func (c *Codec) AppendWith(dst []byte, v any, o AppendOptions) ([]byte, error) {
	p := c.pointer(v)
	if p == nil {
		return dst, c.wrongType(v)
	}
	if c.own == nil {
		b, err := c.AppendGeneric(dst, v)
		if err == nil && o.Spans != nil {
			*o.Spans = append(*o.Spans, Span{len(b) - len(dst), c.secret, c.noDedup})
		}
		return b, err
	}
	e := encoder{link: o.Link}
	if o.Packer != nil {
		if o.Packer.c != c {
			return dst, fmt.Errorf("%w: a Packer of %s for a %s", ErrType, o.Packer.c.typ, c.typ)
		}
		e.packer, e.cost, e.dice = o.Packer, float32(o.Path.Cost()), o.Packer.dice()
	}
	var b []byte
	switch root := &c.own.root; {
	case o.Spans != nil:
		b = e.withSpans(dst, root, p, o.Spans)
	case root.kind == kStruct:
		b = e.structure(dst, root.sub, p)
	default:
		b = e.value(dst, root, p)
	}
	if e.err != nil {
		e.err.Type = c.typ
		return dst, e.err
	}
	return b, nil
}

// Decode decodes b, which a writer with the same schema has appended, into the T that v points to. All exported fields
// are overwritten; memory they held is not reused. It borrows b until it returns; the result does not alias b.
//
// Errors: *[DecodeError] when b is malformed, holds more than one message or does not fit T; *[LimitError] when it
// exceeds lim; one wrapping [ErrType] when v is no *T or nil. What v points to after an error is undefined.
func (c *Codec) Decode(b []byte, v any, lim Limits) error {
	if c.own == nil {
		return c.DecodeGeneric(b, v, lim)
	}
	return c.own.Decode(b, v, lim)
}

// emptyInterface is the layout of a value of type any that holds a pointer.
type emptyInterface struct{ typ, data unsafe.Pointer }

// pointer returns v, which must be a *T, as a pointer to the T; nil when it is not one or nil.
func (c *Codec) pointer(v any) unsafe.Pointer {
	if e := (*emptyInterface)(unsafe.Pointer(&v)); e.typ == c.ptrWord {
		return e.data
	}
	return nil
}

// wrongType is the error for a v from which [Codec.pointer] made nil.
func (c *Codec) wrongType(v any) error {
	if reflect.TypeOf(v) == c.ptr {
		return fmt.Errorf("%w: nil *%s", ErrType, c.typ)
	}
	return fmt.Errorf("%w: %T where *%s is needed", ErrType, v, c.typ)
}
