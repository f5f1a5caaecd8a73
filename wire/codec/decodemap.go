package codec

import (
	"reflect"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// textMap decodes the maps that need no reflect. A key that comes twice is an error, as in all maps.
func (d *decoder) textMap(o *op, f unsafe.Pointer) {
	at := d.i
	n := d.count(item.Map, o.x.min, o.x.size)
	*(*unsafe.Pointer)(f) = nil // every nil map is a nil pointer
	if n == 0 || !d.enter() {
		return
	}
	size := 0
	switch o.kind {
	case kMapTextText:
		m := make(map[string]string, n)
		for i := 0; i < n && !d.failed(); i++ {
			k := d.text(o.flags)
			m[k] = d.text(o.flags)
		}
		*(*map[string]string)(f), size = m, len(m)
	case kMapTextInt64:
		m := make(map[string]int64, n)
		for i := 0; i < n && !d.failed(); i++ {
			k := d.text(o.flags)
			m[k] = d.int64()
		}
		*(*map[string]int64)(f), size = m, len(m)
	case kMapTextAny:
		m := make(map[string]any, n)
		for i := 0; i < n && !d.failed(); i++ {
			k := d.text(o.flags)
			m[k] = d.generic(o.flags)
		}
		*(*map[string]any)(f), size = m, len(m)
	}
	d.depth++
	d.endMap(at, n, size)
}

// mapping decodes a map through reflect, which must know its type.
func (d *decoder) mapping(o *op, f unsafe.Pointer) {
	at := d.i
	n := d.count(item.Map, o.x.min, o.x.size)
	m := reflect.NewAt(o.x.typ, f).Elem()
	m.SetZero()
	if n == 0 || !d.enter() {
		return
	}
	m.Set(reflect.MakeMapWithSize(o.x.typ, n))
	key, elem := reflect.New(o.x.typ.Key()), reflect.New(o.x.typ.Elem())
	for range n {
		key.Elem().SetZero()
		elem.Elem().SetZero()
		if d.value(&o.x.key, key.UnsafePointer()); d.failed() {
			d.err.under("[key]")
			return
		}
		if d.value(&o.x.elem, elem.UnsafePointer()); d.failed() {
			d.err.under("[]")
			return
		}
		m.SetMapIndex(key.Elem(), elem.Elem())
	}
	d.depth++
	d.endMap(at, n, m.Len())
}

func (d *decoder) endMap(at, n, size int) {
	if d.failed() {
		d.err.under("[]")
	} else if size != n {
		d.failAt(at, "map has a key twice")
	}
}
