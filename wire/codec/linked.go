package codec

import (
	"reflect"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// linked is what a type has that is encoded with a link; see [Codec.AppendLinked].
type linked interface {
	AppendLinked(dst []byte, link any) ([]byte, error)
	DecodeLinked(b []byte, link any) error
}

const reasonLinked = "a value that is encoded with a link has no generic form: the peer has refused the schema of the message"

func (e *encoder) linked(b []byte, o *op, f unsafe.Pointer) []byte {
	p, err := reflect.NewAt(o.x.typ, f).Interface().(linked).AppendLinked(nil, e.link)
	if err != nil {
		e.fail("AppendLinked", err)
	}
	return item.AppendBytes(b, p)
}

func (d *decoder) linked(o *op, f unsafe.Pointer) {
	at := d.i
	raw := d.raw(item.Bytes)
	if d.failed() {
		return
	}
	v := reflect.NewAt(o.x.typ, f)
	v.Elem().SetZero()
	if err := v.Interface().(linked).DecodeLinked(raw, d.lim.Link); err != nil {
		d.failErr(at, "DecodeLinked", err)
	}
}
