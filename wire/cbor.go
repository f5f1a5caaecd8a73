package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// cbor.go has the few items of CBOR (RFC 8949) that envelopes are made of. Heads are always in their shortest
// form, lengths always definite; other forms are refused, so that every envelope has one encoding.

const (
	cborUint  = 0 << 5
	cborBytes = 2 << 5
	cborText  = 3 << 5
	cborArray = 4 << 5
)

func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return append(b, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendUint(b []byte, n uint64) []byte { return appendHead(b, cborUint, n) }

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, cborText, uint64(len(s))), s...)
}

func appendBytes[T []byte | string](b []byte, s T) []byte {
	return append(appendHead(b, cborBytes, uint64(len(s))), s...)
}

// A cursor reads items from the start of b. After the first failure err is set and everything returns zero;
// what names the envelope in the error.
type cursor struct {
	b    []byte
	i    int
	what string
	err  error
}

func (c *cursor) fail(reason string) {
	if c.err == nil {
		c.err = malformed(c.what, reason)
	}
	c.i = len(c.b)
}

// more reports whether input is left and nothing has failed.
func (c *cursor) more() bool { return c.err == nil && c.i < len(c.b) }

// major returns the major type of the next item without consuming it, 0xff at the end.
func (c *cursor) major() byte {
	if !c.more() {
		return 0xff
	}
	return c.b[c.i] & 0xe0
}

func (c *cursor) head(major byte, want string) uint64 {
	if c.i < len(c.b) {
		if h := c.b[c.i]; h&0xe0 == major && h&31 < 24 {
			c.i++
			return uint64(h & 31)
		}
	}
	return c.headSlow(major, want)
}

func (c *cursor) headSlow(major byte, want string) uint64 {
	if c.err != nil {
		return 0
	}
	if c.i >= len(c.b) {
		c.fail("ends where " + want + " is expected")
		return 0
	}
	h, rest := c.b[c.i], c.b[c.i+1:]
	if h&0xe0 != major {
		c.fail("has another type where " + want + " is expected")
		return 0
	}
	var n, least uint64
	var size int
	switch h & 31 {
	case 24:
		size, least = 1, 24
	case 25:
		size, least = 2, 1<<8
	case 26:
		size, least = 4, 1<<16
	case 27:
		size, least = 8, 1<<32
	default:
		c.fail("has an indefinite or reserved length")
		return 0
	}
	if len(rest) < size {
		c.fail("ends inside " + want)
		return 0
	}
	for _, x := range rest[:size] {
		n = n<<8 | uint64(x)
	}
	if n < least {
		c.fail("has a length or number that is not in its shortest form")
		return 0
	}
	c.i += 1 + size
	return n
}

func (c *cursor) uint(want string) uint64 { return c.head(cborUint, want) }

// uintMax reads a number and refuses one above limit.
func (c *cursor) uintMax(want string, limit uint64) uint64 {
	n := c.head(cborUint, want)
	if n > limit {
		c.fail(want + " is out of range")
		return 0
	}
	return n
}

// count reads the head of an array and refuses more elements than bytes remain or than limit allows.
func (c *cursor) count(want string, limit int) int {
	n := c.head(cborArray, want)
	if c.err != nil {
		return 0
	}
	if n > uint64(len(c.b)-c.i) {
		c.fail(want + " has more elements than bytes follow")
		return 0
	}
	if n > uint64(limit) {
		c.err = &LimitError{What: c.what + ": " + want + " (elements)", Limit: uint64(limit), Got: n}
		c.i = len(c.b)
		return 0
	}
	return int(n)
}

// string reads a byte or text string of at most limit bytes; the result aliases the input.
func (c *cursor) string(major byte, want string, limit int) []byte {
	n := c.head(major, want)
	if c.err != nil {
		return nil
	}
	if n > uint64(len(c.b)-c.i) {
		c.fail(want + " is longer than the input")
		return nil
	}
	if n > uint64(limit) {
		c.err = &LimitError{What: c.what + ": " + want, Limit: uint64(limit), Got: n}
		c.i = len(c.b)
		return nil
	}
	s := c.b[c.i : c.i+int(n)]
	c.i += int(n)
	if major == cborText && !utf8.Valid(s) {
		c.fail(want + " is not valid UTF-8")
		return nil
	}
	return s
}

// skip passes over one item of any kind, for elements that a newer peer appended. It refuses nesting deeper
// than four.
func (c *cursor) skip(depth int) {
	if !c.more() {
		c.fail("ends where an item is expected")
		return
	}
	switch h := c.b[c.i]; h & 0xe0 {
	case cborUint, 1 << 5:
		c.head(h&0xe0, "a number")
	case cborBytes, cborText:
		c.string(h&0xe0, "a string", len(c.b))
	case cborArray:
		if depth >= 4 {
			c.fail("nests too deeply")
			return
		}
		for range c.count("an array", len(c.b)) {
			c.skip(depth + 1)
		}
	case 7 << 5:
		if h&31 >= 20 && h&31 <= 23 {
			c.i++
			return
		}
		c.fail("has an unsupported simple value")
	default:
		c.fail("has an unsupported item")
	}
}

// end skips the elements from index known up to n, which a newer version of the protocol may have appended.
func (c *cursor) rest(known, n int) {
	for i := known; i < n && c.err == nil; i++ {
		c.skip(0)
	}
}
