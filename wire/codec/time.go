package codec

import (
	"time"
	"unsafe"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// appendTime appends the instant at f: an array of the seconds since 1970 UTC and, unless 0, the nanoseconds. Neither
// the zone nor the monotonic reading is sent.
func appendTime(b []byte, f unsafe.Pointer) []byte {
	return appendInstant(b, *(*time.Time)(f))
}

func appendInstant(b []byte, t time.Time) []byte {
	ns := t.Nanosecond()
	if ns == 0 {
		return item.AppendInt(item.AppendHead(b, item.Array, 1), t.Unix())
	}
	return item.AppendUint(item.AppendInt(item.AppendHead(b, item.Array, 2), t.Unix()), uint64(ns))
}

// time decodes an instant, in UTC.
func (d *decoder) time() time.Time {
	at := d.i
	n := d.head(item.Array)
	if n != 1 && n != 2 {
		d.failAt(at, "time is neither one nor two numbers")
		return time.Time{}
	}
	sec, ns := d.int64(), uint64(0)
	if n == 2 {
		at = d.i
		if ns = d.head(item.Uint); ns >= uint64(time.Second) {
			d.failAt(at, "nanoseconds of a time exceed a second")
		}
	}
	if d.failed() {
		return time.Time{}
	}
	return time.Unix(sec, int64(ns)).UTC()
}
