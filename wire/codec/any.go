package codec

import (
	"bytes"
	"math"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// The values that an any holds most of the time are encoded and decoded here, in the same bytes and to the same values
// as the generic form; fxamacker/cbor does the rest.

// generic appends a value of unknown type in self-describing CBOR.
func (e *encoder) generic(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, byteNull)
	case bool:
		return appendBool(b, v)
	case string:
		return item.AppendText(b, v)
	case int:
		return item.AppendInt(b, int64(v))
	case int64:
		return item.AppendInt(b, v)
	case float64:
		return appendFloat64(b, v)
	case []any:
		if v != nil {
			return e.genericList(b, v)
		}
	case map[string]any:
		if v != nil {
			return e.genericMap(b, v)
		}
	}
	buf := bytes.NewBuffer(b)
	if err := encMode.MarshalToBuffer(v, buf); err != nil {
		e.fail("generic encoding", err)
		return b
	}
	return buf.Bytes()
}

func (e *encoder) genericList(b []byte, v []any) []byte {
	if !e.enter() {
		return b
	}
	b = item.AppendHead(b, item.Array, uint64(len(v)))
	for i := range v {
		if b = e.generic(b, v[i]); e.err != nil {
			e.under("[]")
			return b
		}
	}
	e.depth--
	return b
}

func (e *encoder) genericMap(b []byte, v map[string]any) []byte {
	if !e.enter() {
		return b
	}
	b = item.AppendHead(b, item.Map, uint64(len(v)))
	for k, elem := range v {
		if b = e.generic(item.AppendText(b, k), elem); e.err != nil {
			e.under("[]")
			return b
		}
	}
	e.depth--
	return b
}

// generic decodes one item of unknown type. The flags are those of the field it is for.
func (d *decoder) generic(flags uint8) any {
	if d.i >= len(d.b) {
		d.failAt(d.i, "message ends early")
		return nil
	}
	c := d.b[d.i]
	switch c >> 5 {
	case item.Text:
		return d.text(flags)
	case item.Bytes:
		raw := d.raw(item.Bytes)
		return append(make([]byte, 0, len(raw)), raw...)
	case item.Uint, item.Nint:
		start := d.i
		if n := d.head(c >> 5); n > math.MaxInt64 {
			d.i = start
			break // to a big integer
		}
		d.i = start
		return d.int64()
	case item.Array:
		return d.genericList(flags)
	case item.Map:
		return d.genericMap(flags)
	}
	switch c {
	case byteNull:
		d.i++
		return nil
	case byteFalse, byteTrue:
		return d.bool()
	case byteFloat64:
		return d.float64()
	case byteFloat32:
		return float64(d.float32())
	}
	return d.rest()
}

func (d *decoder) genericList(flags uint8) any {
	n := d.count(item.Array, 1, genericElementBytes)
	if d.failed() || n > 0 && !d.enter() {
		return nil
	}
	s := make([]any, n)
	for i := range s {
		if s[i] = d.generic(flags); d.failed() {
			d.err.under("[]")
			return nil
		}
	}
	if n > 0 {
		d.depth++
	}
	return s
}

func (d *decoder) genericMap(flags uint8) any {
	at := d.i
	n := d.count(item.Map, 2, genericElementBytes)
	if d.failed() || n > 0 && !d.enter() {
		return nil
	}
	m := make(map[string]any, n)
	for range n {
		k := d.text(flags)
		if m[k] = d.generic(flags); d.failed() {
			d.err.under("[]")
			return nil
		}
	}
	if n > 0 {
		d.depth++
	}
	d.endMap(at, n, len(m))
	return m
}

// rest decodes one item of which only fxamacker/cbor knows what it is in Go: a tag, a big integer, a small float.
func (d *decoder) rest() (v any) {
	at := d.i
	raw := d.item()
	if d.failed() {
		return nil
	}
	if err := decMode.Unmarshal(raw, &v); err != nil {
		d.failErr(at, "generic decoding", err)
	}
	return v
}
