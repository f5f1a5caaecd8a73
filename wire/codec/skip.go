package codec

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
	case majorUint, majorNint:
		d.head(major)
	case majorBytes, majorText:
		d.raw(major)
	case majorArray, majorMap:
		least := uint64(major-majorArray) + 1 // an entry of a map is two items
		d.skipItems(d.count(major, least, d.elementBytes(mode))*int(least), mode)
	case majorTag:
		d.head(majorTag)
		d.skipItems(1, mode)
	default:
		d.skipSimple(c)
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

func (d *decoder) skipSimple(c byte) {
	n := 1
	switch c & 31 {
	case 24: // one more byte, which must not be a value that fits here
		if d.i+1 < len(d.b) && d.b[d.i+1] < 32 {
			d.failAt(d.i, "simple value in the wrong form")
			return
		}
		n = 2
	case 25:
		n = 3
	case 26:
		n = 5
	case 27:
		n = 9
	case 28, 29, 30, 31:
		d.failAt(d.i, "reserved simple value")
		return
	}
	if n > len(d.b)-d.i {
		d.failAt(d.i, "message ends early")
		return
	}
	d.i += n
}

// skipIndefinite passes over an item without a length: parts up to a break.
func (d *decoder) skipIndefinite(major byte, mode skipMode) {
	const stop = 0xff
	switch major {
	case majorBytes, majorText, majorArray, majorMap:
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
		if major == majorBytes || major == majorText {
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
	case major == majorMap && n%2 != 0:
		d.failAt(d.i, "map ends after a key")
	default:
		d.i++
		d.depth++
	}
}
