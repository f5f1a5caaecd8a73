package codec

import (
	"time"
	"unsafe"
)

// appendTime appends the instant at f: an array of the seconds since 1970 UTC and, unless 0, the nanoseconds. Neither
// the zone nor the monotonic reading is sent.
func appendTime(b []byte, f unsafe.Pointer) []byte {
	t := (*time.Time)(f)
	ns := t.Nanosecond()
	if ns == 0 {
		return appendInt(appendHead(b, majorArray, 1), t.Unix())
	}
	return appendHead(appendInt(appendHead(b, majorArray, 2), t.Unix()), majorUint, uint64(ns))
}

// time decodes an instant, in UTC.
func (d *decoder) time() time.Time {
	at := d.i
	n := d.head(majorArray)
	if n != 1 && n != 2 {
		d.failAt(at, "time is neither one nor two numbers")
		return time.Time{}
	}
	sec, ns := d.int64(), uint64(0)
	if n == 2 {
		at = d.i
		if ns = d.head(majorUint); ns >= uint64(time.Second) {
			d.failAt(at, "nanoseconds of a time exceed a second")
		}
	}
	if d.failed() {
		return time.Time{}
	}
	return time.Unix(sec, int64(ns)).UTC()
}
