package dedup

// appendPatched appends the length bytes that operations make from a base. The caller has compared length with a limit,
// and compares the checksum of what comes out.
// Errors: *[FormatError]; then the result is of no use.
func appendPatched(dst, base, ops []byte, length int) ([]byte, error) {
	r := reader{b: ops, what: "delta"}
	end := len(dst) + length
	from := uint64(0) // where the base goes on
	for len(dst) < end {
		literal := r.bytes(r.varint())
		if len(literal) > end-len(dst) {
			r.fail("makes more than it says")
		}
		if r.err != nil {
			return dst, r.err
		}
		dst = append(dst, literal...)
		from += uint64(len(literal))
		if len(dst) == end {
			break
		}
		n := r.varint()
		if n&1 != 0 {
			move := r.varint()
			from += move>>1 ^ -(move & 1)
		}
		switch n >>= 1; {
		case n == 0:
			r.fail("has an empty copy")
		case n > uint64(end-len(dst)):
			r.fail("makes more than it says")
		case from > uint64(len(base)) || n > uint64(len(base))-from:
			r.fail("copies from outside of its base")
		}
		if r.err != nil {
			return dst, r.err
		}
		dst = append(dst, base[from:from+n]...)
		from += n
	}
	if len(r.b) > 0 {
		r.fail("goes on after its end")
	}
	return dst, r.err
}
