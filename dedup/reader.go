package dedup

import "encoding/binary"

const maxVarint = 1<<62 - 1

// appendVarint appends v in the shortest form of RFC 9000, section 16. It panics above 2^62-1, which no counter of
// ours can reach.
func appendVarint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, byte(v>>8)|0x40, byte(v))
	case v < 1<<30:
		return binary.BigEndian.AppendUint32(b, uint32(v)|0x80<<24)
	case v <= maxVarint:
		return binary.BigEndian.AppendUint64(b, v|0xc0<<56)
	}
	panic("dedup: variable-length integer out of range")
}

// varintLen is the number of bytes that appendVarint appends.
func varintLen(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	}
	return 8
}

// A reader takes a frame apart. The first error sticks; everything read after it is zero.
type reader struct {
	b    []byte // not read yet
	what string // the part being read, for errors
	err  error
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = malformed(r.what, reason)
	}
	r.b = nil
}

// varint reads an integer, which must be in its shortest form.
func (r *reader) varint() (v uint64) {
	if len(r.b) == 0 {
		r.fail("ends early")
		return 0
	}
	n := 1 << (r.b[0] >> 6)
	if len(r.b) < n {
		r.fail("ends early")
		return 0
	}
	v = uint64(r.b[0] & 0x3f)
	for _, c := range r.b[1:n] {
		v = v<<8 | uint64(c)
	}
	if varintLen(v) != n {
		r.fail("has an integer that is not in its shortest form")
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes reads n bytes, which alias the input.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail("ends early")
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// length reads a length in bytes and compares it with a limit.
func (r *reader) length(what string, limit int, knob string) int {
	n := r.varint()
	if n > uint64(limit) {
		if r.err == nil {
			r.err = &LimitError{What: what, Limit: uint64(limit), Got: n, Knob: knob}
		}
		r.b = nil
		return 0
	}
	return int(n)
}

// checksum reads the four bytes of a checksum.
func (r *reader) checksum() uint32 {
	b := r.bytes(4)
	if r.err != nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}
