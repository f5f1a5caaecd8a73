package wire

import (
	"errors"
	"unicode/utf8"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// cbor.go reads the few items of CBOR (RFC 8949) that envelopes are made of. Heads are always in their shortest
// form, lengths always definite; other forms are refused, so that every envelope has one encoding.

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
	return c.b[c.i] >> 5
}

func (c *cursor) head(major byte, want string) uint64 {
	if c.i < len(c.b) {
		if n := c.b[c.i] - major<<5; n < 24 {
			c.i++
			return uint64(n)
		}
	}
	return c.headSlow(major, want)
}

func (c *cursor) headSlow(major byte, want string) uint64 {
	if c.err != nil {
		return 0
	}
	h, size, err := item.ParseHead(c.b[c.i:])
	switch {
	case c.i >= len(c.b):
		c.fail("ends where " + want + " is expected")
	case c.b[c.i]>>5 != major:
		c.fail("has another type where " + want + " is expected")
	case errors.Is(err, item.ErrReserved):
		c.fail("has an indefinite or reserved length")
	case err != nil:
		c.fail("ends inside " + want)
	case !h.Shortest:
		c.fail("has a length or number that is not in its shortest form")
	default:
		c.i += size
		return h.N
	}
	return 0
}

func (c *cursor) uint(want string) uint64 { return c.head(item.Uint, want) }

// uintMax reads a number and refuses one above limit.
func (c *cursor) uintMax(want string, limit uint64) uint64 {
	n := c.head(item.Uint, want)
	if n > limit {
		c.fail(want + " is out of range")
		return 0
	}
	return n
}

// count reads the head of an array and refuses more elements than bytes remain or than limit allows.
func (c *cursor) count(want string, limit int) int {
	n := c.head(item.Array, want)
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
	if major == item.Text && !utf8.Valid(s) {
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
	switch major := c.major(); major {
	case item.Uint, item.Nint:
		c.head(major, "a number")
	case item.Bytes, item.Text:
		c.string(major, "a string", len(c.b))
	case item.Array:
		if depth >= 4 {
			c.fail("nests too deeply")
			return
		}
		for range c.count("an array", len(c.b)) {
			c.skip(depth + 1)
		}
	case item.Simple:
		if low := c.b[c.i] & 31; low >= 20 && low <= 23 {
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
