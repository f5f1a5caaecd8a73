package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"unicode/utf8"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// slabMaxBytes is the size of message up to which its texts are cut from one copy of it: a text that is kept pins
// that copy.
const slabMaxBytes = 64 << 10

// decoder reads one message. After the first failure nothing it returns means anything; callers check
// [decoder.failed] before they allocate or loop.
type decoder struct {
	b []byte
	i int // of the next byte

	slabs  bool   // whether texts are cut from the slab
	slab   string // a copy of b from slabAt on, made for the first text
	slabAt int

	depth, items, room int // what is left of MaxDepth, MaxElements and MaxMemoryBytes
	unpacked           int // what is left of MaxMessageBytes for what is packed
	lim                Limits
	kept               uintptr // memory of an element that skip passes over and that will be kept, if more than usual
	err                *failure
}

// failure is what went wrong and where. It becomes a *[DecodeError] or a *[LimitError] at the end.
type failure struct {
	path   string
	at     int
	reason string
	err    error

	limit    string // set for a limit
	got, max int
}

// under puts name in front of the path.
func (f *failure) under(name string) { f.path = joinPath(name, f.path) }

func (f *failure) error(t reflect.Type) error {
	if f.limit != "" {
		return &LimitError{Type: t, Field: f.path, Limit: f.limit, Got: f.got, Max: f.max}
	}
	return &DecodeError{Type: t, Field: f.path, Offset: f.at, Reason: f.reason, Err: f.err}
}

func (d *decoder) failed() bool { return d.err != nil }

func (d *decoder) failAt(at int, reason string) { d.failErr(at, reason, nil) }

func (d *decoder) failErr(at int, reason string, err error) {
	if d.err == nil {
		d.err = &failure{at: at, reason: reason, err: err}
		d.i = len(d.b)
	}
}

func (d *decoder) failLen(at, got, want int) {
	if d.err == nil {
		d.failAt(at, fmt.Sprintf("%d elements, expected %d", got, want))
	}
}

func (d *decoder) failLimit(limit string, got, most int) {
	if d.err == nil {
		d.err = &failure{at: d.i, limit: limit, got: got, max: most}
		d.i = len(d.b)
	}
}

// enter goes one level deeper and reports whether that is allowed. Leaving is d.depth++.
func (d *decoder) enter() bool {
	if d.failed() {
		return false
	}
	if d.depth--; d.depth < 0 {
		d.failLimit("MaxDepth", d.lim.MaxDepth+1, d.lim.MaxDepth)
		return false
	}
	return true
}

// memory takes n values of size bytes from the budget and reports whether they fit.
func (d *decoder) memory(n int, size uintptr) bool {
	if d.failed() {
		return false
	}
	if size != 0 && uint64(n) > uint64(d.room)/uint64(size) {
		need := uint64(d.lim.MaxMemoryBytes-d.room) + uint64(n)*uint64(size)
		d.failLimit("MaxMemoryBytes", int(min(need, math.MaxInt)), d.lim.MaxMemoryBytes)
		return false
	}
	d.room -= n * int(size)
	return true
}

// count reads the head of a list or map whose elements take at least least bytes each on the wire and size bytes each
// in memory. It returns 0 after failing when there cannot be so many elements or there may not.
func (d *decoder) count(major byte, least uint64, size uintptr) int {
	at := d.i
	n := d.head(major)
	if n > uint64(len(d.b)-d.i)/least {
		d.failAt(at, fmt.Sprintf("%d elements in %d bytes", n, len(d.b)-d.i))
		return 0
	}
	if n > uint64(d.items) {
		d.failLimit("MaxElements", d.lim.MaxElements-d.items+int(n), d.lim.MaxElements)
		return 0
	}
	if !d.memory(int(n), size) {
		return 0
	}
	d.items -= int(n)
	return int(n)
}

// head reads a head of the given major type and returns its argument, in any of the lengths a head can have.
func (d *decoder) head(major byte) uint64 {
	if d.i < len(d.b) {
		if n := d.b[d.i] - major<<5; n < 24 {
			d.i++
			return uint64(n)
		}
	}
	h, size, err := item.ParseHead(d.b[d.i:])
	if err != nil || h.Major != major {
		d.failHead(major, err)
		return 0
	}
	d.i += size
	return h.N
}

// failHead says why there is no head of the given major type; err is what [item.ParseHead] says.
func (d *decoder) failHead(major byte, err error) {
	switch {
	case d.i < len(d.b) && d.b[d.i]>>5 != major:
		d.failAt(d.i, "expected "+majorNames[major]+", found "+itemName(d.b[d.i]))
	case errors.Is(err, item.ErrReserved):
		d.failAt(d.i, fmt.Sprintf("head %#x is reserved or of indefinite length", d.b[d.i]))
	default:
		d.failAt(d.i, "message ends early")
	}
}

var majorNames = [8]string{"unsigned integer", "negative integer", "bytes", "text", "array", "map", "tag", "simple value"}

func itemName(c byte) string {
	switch c {
	case byteFalse, byteTrue:
		return "bool"
	case byteNull:
		return "null"
	case byteFloat32:
		return "float32"
	case byteFloat64:
		return "float64"
	}
	return majorNames[c>>5]
}

func (d *decoder) int64() int64 {
	if d.i < len(d.b) {
		switch c := d.b[d.i]; {
		case c < 24:
			d.i++
			return int64(c)
		case c>>5 == item.Nint:
			at := d.i
			n := d.head(item.Nint)
			if n > math.MaxInt64 {
				d.failAt(at, "integer overflows int64")
			}
			return ^int64(n)
		}
	}
	at := d.i
	n := d.head(item.Uint)
	if n > math.MaxInt64 {
		d.failAt(at, "integer overflows int64")
	}
	return int64(n)
}

// raw reads bytes or a text and returns its content, which aliases the message.
func (d *decoder) raw(major byte) []byte {
	at := d.i
	n := d.head(major)
	if n > uint64(len(d.b)-d.i) {
		d.failAt(at, fmt.Sprintf("%d bytes of %s, %d are left", n, majorNames[major], len(d.b)-d.i))
		return nil
	}
	s := d.b[d.i : d.i+int(n)]
	d.i += int(n)
	return s
}

// text reads a text. It is cut from the slab or a copy of its own, never an alias of the message.
func (d *decoder) text(flags uint8) string {
	s := d.raw(item.Text)
	if len(s) == 0 {
		return ""
	}
	if !d.slabs || flags&flagCopy != 0 {
		return d.checked(string(s))
	}
	end := d.i - d.slabAt
	if d.slab == "" {
		d.slabAt = d.i - len(s)
		d.slab, end = string(d.b[d.slabAt:]), len(s)
	}
	return d.checked(d.slab[end-len(s) : end])
}

// checked returns a text that has just been read and copied, if it is one: the message may be in memory that somebody else
// can change, see [Codec.InPlace].
func (d *decoder) checked(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	d.failAt(d.i-len(s), notUTF8)
	return ""
}

const notUTF8 = "text is not UTF-8"

// checkText checks a text that is not copied.
func (d *decoder) checkText(s []byte) {
	if !utf8.Valid(s) {
		d.failAt(d.i-len(s), notUTF8)
	}
}

func (d *decoder) float64() float64 {
	if len(d.b)-d.i < 9 || d.b[d.i] != byteFloat64 {
		d.failSimple("float64")
		return 0
	}
	v := binary.BigEndian.Uint64(d.b[d.i+1:])
	d.i += 9
	return math.Float64frombits(v)
}

func (d *decoder) float32() float32 {
	if len(d.b)-d.i < 5 || d.b[d.i] != byteFloat32 {
		d.failSimple("float32")
		return 0
	}
	v := binary.BigEndian.Uint32(d.b[d.i+1:])
	d.i += 5
	return math.Float32frombits(v)
}

func (d *decoder) bool() bool {
	if d.i >= len(d.b) || d.b[d.i]&^1 != byteFalse {
		d.failSimple("bool")
		return false
	}
	v := d.b[d.i] == byteTrue
	d.i++
	return v
}

func (d *decoder) failSimple(want string) {
	if d.i >= len(d.b) {
		d.failAt(d.i, "message ends early")
		return
	}
	got := itemName(d.b[d.i])
	if got == want {
		d.failAt(d.i, "message ends early")
		return
	}
	d.failAt(d.i, "expected "+want+", found "+got)
}
