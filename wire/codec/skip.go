package codec

import (
	"errors"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// skipMode says what [decoder.skip] allows and counts.
type skipMode uint8

const (
	skipIndefinite skipMode = 1 << iota // items of indefinite length are allowed: other encoders make them
	skipCharge                          // elements count against the memory limit, because they will be kept
)

// genericElementBytes is what one element of an array or map of unknown type takes in memory, at most, without the
// text and bytes in it.
const genericElementBytes = 64

// skip passes over one item and checks that it is well-formed (RFC 8949, section 5.3.1) and within the limits.
func (d *decoder) skip(mode skipMode) {
	if d.i >= len(d.b) {
		d.failAt(d.i, "message ends early")
		return
	}
	c := d.b[d.i]
	if c&31 == 31 && mode&skipIndefinite != 0 {
		d.skipIndefinite(c>>5, mode)
		return
	}
	switch major := c >> 5; major {
	case item.Uint, item.Nint:
		d.head(major)
	case item.Bytes, item.Text:
		d.raw(major)
	case item.Array, item.Map:
		least := uint64(major-item.Array) + 1 // an entry of a map is two items
		d.skipItems(d.count(major, least, d.elementBytes(mode))*int(least), mode)
	case item.Tag:
		d.head(item.Tag)
		d.skipItems(1, mode)
	default:
		d.skipSimple()
	}
}

func (d *decoder) elementBytes(mode skipMode) uintptr {
	if mode&skipCharge != 0 {
		return max(d.kept, genericElementBytes)
	}
	return 0
}

func (d *decoder) skipItems(n int, mode skipMode) {
	if n == 0 || !d.enter() {
		return
	}
	for ; n > 0 && !d.failed(); n-- {
		d.skip(mode)
	}
	d.depth++
}

func (d *decoder) skipSimple() {
	h, size, err := item.ParseHead(d.b[d.i:])
	switch {
	case size == 2 && h.N < 32: // one more byte, which must not be a value that fits here
		d.failAt(d.i, "simple value in the wrong form")
	case errors.Is(err, item.ErrReserved):
		d.failAt(d.i, "reserved simple value")
	case err != nil:
		d.failAt(d.i, "message ends early")
	default:
		d.i += size
	}
}

// skipIndefinite passes over an item without a length: parts up to a break.
func (d *decoder) skipIndefinite(major byte, mode skipMode) {
	const stop = 0xff
	switch major {
	case item.Bytes, item.Text, item.Array, item.Map:
	default:
		d.failAt(d.i, "item cannot be of indefinite length")
		return
	}
	if !d.enter() {
		return
	}
	d.i++
	n := 0
	for ; !d.failed() && d.i < len(d.b) && d.b[d.i] != stop; n++ {
		if major == item.Bytes || major == item.Text {
			d.raw(major) // each part has a length of its own
			continue
		}
		if d.items--; d.items < 0 {
			d.failLimit("MaxElements", d.lim.MaxElements+1, d.lim.MaxElements)
			return
		}
		d.memory(1, d.elementBytes(mode))
		d.skip(mode)
	}
	switch {
	case d.failed():
	case d.i >= len(d.b):
		d.failAt(d.i, "message ends early")
	case major == item.Map && n%2 != 0:
		d.failAt(d.i, "map ends after a key")
	default:
		d.i++
		d.depth++
	}
}
