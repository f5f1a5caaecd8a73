package codec

import (
	"bytes"
	"math"
	"reflect"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

// encMode and decMode are the generic form. Its limits are as loose as they can be, because [decoder.skip] has
// checked what they see against ours.
var (
	encMode = must(cbor.EncOptions{
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		Time:          cbor.TimeRFC3339NanoUTC,
		TimeTag:       cbor.EncTagRequired,
		TextMarshaler: cbor.TextMarshalerTextString,
		ByteArray:     cbor.ByteArrayToByteSlice,
	}.UserBufferEncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   2 * maxDepth, // it counts a little differently
		MaxArrayElements:  math.MaxInt32,
		MaxMapPairs:       math.MaxInt32,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		DefaultMapType:    reflect.TypeFor[map[string]any](),
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants
	}
	return v
}

// AppendGeneric appends the value that v, a *T, points to in the generic form: self-describing CBOR, structs as maps
// from field names, with their ids where they have some. It borrows v until it returns and returns dst extended, or dst as it was with an error.
//
// Errors: *[EncodeError]; [ErrType] when v is no *T or nil.
func (c *Codec) AppendGeneric(dst []byte, v any) ([]byte, error) {
	if c.pointer(v) == nil {
		return dst, c.wrongType(v)
	}
	if c.linked {
		return dst, &EncodeError{Type: c.typ, Reason: reasonLinked}
	}
	if c.shape != nil {
		return c.appendRewritten(dst, v)
	}
	buf := bytes.NewBuffer(dst)
	if err := encMode.MarshalToBuffer(v, buf); err != nil {
		return dst, &EncodeError{Type: c.typ, Reason: "generic encoding", Err: err}
	}
	return buf.Bytes(), nil
}

// appendRewritten is AppendGeneric for types of which fxamacker/cbor cannot write all.
func (c *Codec) appendRewritten(dst []byte, v any) ([]byte, error) {
	raw, err := encMode.Marshal(v)
	if err != nil {
		return dst, &EncodeError{Type: c.typ, Reason: "generic encoding", Err: err}
	}
	b, failed := rewrite(dst, raw, c.shape, (*rewriter).denormalize)
	if failed != nil {
		return dst, &EncodeError{Type: c.typ, Field: failed.path, Reason: failed.reason, Err: failed.err}
	}
	return b, nil
}

// DecodeGeneric decodes b, one item in the generic form, into the T that v points to. Fields that are not in b get
// their defaults, unknown ones are ignored or kept in an [Extra]. It borrows b until it returns; the result does not alias b.
//
// Errors: as for [Codec.Decode]. What v points to after an error is undefined.
func (c *Codec) DecodeGeneric(b []byte, v any, lim Limits) error {
	p := c.pointer(v)
	if p == nil {
		return c.wrongType(v)
	}
	if c.linked {
		return &DecodeError{Type: c.typ, Reason: reasonLinked}
	}
	d := decoder{b: b, kept: c.elementBytes}
	if err := d.limit(lim); err != nil {
		return err
	}
	d.skip(skipIndefinite | skipCharge)
	if err := d.end(c.typ); err != nil {
		return err
	}
	b, failed := normalized(b, c.shape)
	if failed != nil {
		return failed.error(c.typ)
	}
	reflect.NewAt(c.typ, p).Elem().SetZero()
	for i := range c.defaults {
		c.defaults[i].apply(unsafe.Add(p, c.defaults[i].off))
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return &DecodeError{Type: c.typ, Reason: "generic decoding", Err: err}
	}
	return nil
}

// item passes over one item to be kept and returns its bytes, which alias the message.
func (d *decoder) item() []byte {
	at := d.i
	d.skip(skipCharge)
	if d.failed() {
		return nil
	}
	return d.b[at:d.i]
}

// cbor decodes one item with the UnmarshalCBOR of the value at f.
func (d *decoder) cbor(o *op, f unsafe.Pointer) {
	at := d.i
	raw := d.item()
	if d.failed() {
		return
	}
	v := reflect.NewAt(o.x.typ, f)
	v.Elem().SetZero()
	if err := decMode.Unmarshal(raw, v.Interface()); err != nil {
		d.failErr(at, "UnmarshalCBOR", err)
	}
}
