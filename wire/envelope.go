package wire

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// SchemaRef names the schema that a message body is written in; see "Schemas" in the package documentation.
// The zero value means generic, self-describing CBOR.
type SchemaRef struct {
	// Num is 0 for generic CBOR, 2i+2 for entry i of the schema list in the receiver's hello, 2n+1 for
	// definition n of the sender.
	Num uint64
	// ID and Canonical are set only while the receiver has not acknowledged definition Num.
	ID        [16]byte
	Canonical []byte // aliases the frame it was parsed from

	// Codec is how the message body behind the reference is compressed: a number of package wire/compress, 0 if it is not.
	Codec uint8
}

// Inline reports whether the definition itself travels with the reference.
func (r *SchemaRef) Inline() bool { return len(r.Canonical) > 0 }

// Bounds of what a header may carry.
const (
	MaxMethodBytes  = 255
	MaxSchemaBytes  = 16 << 10
	MaxMessageText  = 8 << 10 // bytes of the text of a status or a cancellation
	MaxDetails      = 32
	MaxDetailBytes  = 16 << 10
	maxEnvelopeTail = 16 // elements that newer versions may append
)

// AppendSchemaRef appends the reference that stands before every message body.
func AppendSchemaRef(dst []byte, r *SchemaRef) []byte {
	if r.Codec != 0 {
		dst = item.AppendUint(item.AppendHead(dst, item.Array, 2), uint64(r.Codec))
	}
	if !r.Inline() {
		return item.AppendUint(dst, r.Num)
	}
	dst = item.AppendUint(item.AppendHead(dst, item.Array, 3), r.Num)
	dst = item.AppendBytes(dst, r.ID[:])
	return item.AppendBytes(dst, r.Canonical)
}

func (c *cursor) schemaRef() (r SchemaRef) {
	if c.major() != item.Array {
		r.Num = c.uint("schema number")
		return r
	}
	n := c.count("schema reference", 3)
	if n == 2 {
		if r.Codec = uint8(c.uintMax("codec", 255)); c.err == nil && r.Codec == 0 {
			c.fail("compressed schema reference has codec 0")
		}
		if c.major() != item.Array {
			r.Num = c.uint("schema number")
			return r
		}
		n = c.count("schema definition", 3)
	}
	if n != 3 {
		c.fail("schema definition does not have three elements")
		return r
	}
	r.Num = c.uint("schema number")
	if id := c.string(item.Bytes, "schema ID", 16); len(id) == 16 {
		copy(r.ID[:], id)
	} else {
		c.fail("schema ID is not 16 bytes long")
	}
	r.Canonical = c.string(item.Bytes, "schema", MaxSchemaBytes)
	if c.err == nil && (r.Num&1 == 0 || len(r.Canonical) == 0) {
		c.fail("schema definition without a definition number or content")
	}
	return r
}

// ParseSchemaRef parses the reference at the start of b, the payload of a message frame, and returns it with
// the number of bytes consumed; the message body is the rest of b. The result aliases b.
// Errors: *[FormatError], *[LimitError].
func ParseSchemaRef(b []byte) (r SchemaRef, n int, err error) {
	c := cursor{b: b, what: "message"}
	r = c.schemaRef()
	return r, c.i, c.err
}

// Request is the header of a request frame. The message body, if there is one, follows it.
type Request struct {
	MethodNum uint64 // entry of the method list in the callee's hello, plus one; 0 means by Name
	Name      []byte // aliases the frame it was parsed from
	Timeout   time.Duration
	Schema    SchemaRef
	Metadata  []Pair
	// Principal is for whom the call is made, as its caller numbers them: messages of different ones share no memory of
	// package dedup. 0 is the peer itself.
	Principal uint64
}

// AppendRequest appends the header to dst. Timeout is sent in whole microseconds, rounded up; 0 means none, and one that
// has passed is sent as the shortest.
func AppendRequest(dst []byte, r *Request) []byte {
	n := uint64(3)
	switch {
	case r.Principal > 0:
		n = 5
	case len(r.Metadata) > 0:
		n = 4
	}
	dst = item.AppendHead(dst, item.Array, n)
	if r.MethodNum > 0 {
		dst = item.AppendUint(dst, r.MethodNum)
	} else {
		dst = item.AppendText(dst, r.Name)
	}
	dst = item.AppendUint(dst, micros(r.Timeout))
	dst = AppendSchemaRef(dst, &r.Schema)
	if n > 3 {
		dst = AppendMetadata(dst, r.Metadata)
	}
	if n > 4 {
		dst = item.AppendUint(dst, r.Principal)
	}
	return dst
}

// maxMicros is the longest timeout: as many whole microseconds as a [time.Duration] holds.
const maxMicros = uint64(1<<63-1) / uint64(time.Microsecond)

func micros(timeout time.Duration) uint64 {
	n := timeout / time.Microsecond
	if timeout%time.Microsecond != 0 {
		n++
	}
	if timeout < 0 {
		n = 1
	}
	return min(uint64(n), maxMicros)
}

// ParseRequest parses the header at the start of b, the payload of a request frame, into r and returns the number
// of bytes consumed; the message body is the rest of b. Name and Schema.Canonical alias b.
// Errors: *[FormatError], *[LimitError].
func ParseRequest(b []byte, r *Request) (n int, err error) {
	c := cursor{b: b, what: "request header"}
	count := c.count("header", 5+maxEnvelopeTail)
	if c.err == nil && count < 3 {
		c.fail("has fewer than three elements")
	}
	if c.major() == item.Text {
		r.Name = c.string(item.Text, "method name", MaxMethodBytes)
		if c.err == nil && len(r.Name) == 0 {
			c.fail("has an empty method name")
		}
	} else if r.MethodNum = c.uint("method number"); c.err == nil && r.MethodNum == 0 {
		c.fail("has method number 0")
	}
	r.Timeout = time.Duration(c.uintMax("timeout", maxMicros)) * time.Microsecond
	r.Schema = c.schemaRef()
	if count > 3 {
		r.Metadata = c.metadata()
	}
	if count > 4 {
		r.Principal = c.uint("principal")
	}
	c.rest(5, count)
	return c.i, c.err
}

func (c *cursor) metadata() []Pair {
	if c.err != nil {
		return nil
	}
	md, n, err := ParseMetadata(c.b[c.i:])
	if err != nil {
		c.err, c.i = err, len(c.b)
		return nil
	}
	c.i += n
	return md
}

// Response is the header of a response frame. The message body, if there is one, follows it.
type Response struct {
	Status  Status
	Schema  SchemaRef
	Headers []Pair // response metadata, unless a headers frame went ahead
	Trailer []Pair
}

// ResponseCode returns the status code in b, which [AppendResponse] has made.
func ResponseCode(b []byte) Code { return Code(b[1]) }

// AppendResponse appends the header to dst.
func AppendResponse(dst []byte, r *Response) []byte {
	n := uint64(2)
	switch {
	case len(r.Trailer) > 0:
		n = 7
	case len(r.Headers) > 0:
		n = 6
	case r.Status.Unprocessed:
		n = 5
	case len(r.Status.Details) > 0:
		n = 4
	case r.Status.Message != "":
		n = 3
	}
	dst = append(item.AppendHead(dst, item.Array, n), byte(r.Status.Code))
	dst = AppendSchemaRef(dst, &r.Schema)
	if n > 2 {
		dst = item.AppendText(dst, r.Status.Message)
	}
	if n > 3 {
		dst = item.AppendHead(dst, item.Array, uint64(2*len(r.Status.Details)))
		for _, d := range r.Status.Details {
			dst = item.AppendBytes(item.AppendText(dst, d.Name), d.Data)
		}
	}
	if n > 4 {
		flag := byte(0)
		if r.Status.Unprocessed {
			flag = 1
		}
		dst = append(dst, flag)
	}
	if n > 5 {
		dst = AppendMetadata(dst, r.Headers)
	}
	if n > 6 {
		dst = AppendMetadata(dst, r.Trailer)
	}
	return dst
}

// ParseResponse parses the header at the start of b, the payload of a response frame, into r and returns the
// number of bytes consumed; the message body is the rest of b. Schema.Canonical aliases b, everything else is a copy.
// Errors: *[FormatError], *[LimitError].
func ParseResponse(b []byte, r *Response) (n int, err error) {
	c := cursor{b: b, what: "response header"}
	count := c.count("header", 7+maxEnvelopeTail)
	if c.err == nil && count < 2 {
		c.fail("has fewer than two elements")
	}
	r.Status.Code = Code(c.uintMax("status code", uint64(maxCode)))
	r.Schema = c.schemaRef()
	if count > 2 {
		r.Status.Message = string(c.string(item.Text, "status text", MaxMessageText))
	}
	if count > 3 {
		details := c.count("details", 2*MaxDetails)
		if details%2 != 0 {
			c.fail("has a detail without content")
		}
		for range details / 2 {
			d := Detail{Name: string(c.string(item.Text, "detail name", MaxMethodBytes))}
			d.Data = append(d.Data, c.string(item.Bytes, "detail", MaxDetailBytes)...)
			if c.err != nil {
				break
			}
			r.Status.Details = append(r.Status.Details, d)
		}
	}
	if count > 4 {
		r.Status.Unprocessed = c.uintMax("unprocessed flag", 1) == 1
	}
	if count > 5 {
		r.Headers = c.metadata()
	}
	if count > 6 {
		r.Trailer = c.metadata()
	}
	c.rest(7, count)
	return c.i, c.err
}

// Cancel is the payload of a cancel frame: why the caller gave up.
type Cancel struct {
	Code Code
	Text string
}

// AppendCancel appends the payload to dst. A text longer than [MaxMessageText] is cut.
func AppendCancel(dst []byte, r Cancel) []byte {
	return item.AppendText(append(item.AppendHead(dst, item.Array, 2), byte(r.Code)), CutText(r.Text, MaxMessageText))
}

// ParseCancel parses the payload of a cancel frame, which b must hold exactly.
func ParseCancel(b []byte) (r Cancel, err error) {
	c := cursor{b: b, what: "cancel frame"}
	count := c.count("payload", 2+maxEnvelopeTail)
	if c.err == nil && count < 2 {
		c.fail("has fewer than two elements")
	}
	r.Code = Code(c.uintMax("status code", uint64(maxCode)))
	r.Text = string(c.string(item.Text, "text", MaxMessageText))
	c.rest(2, count)
	return r, c.finish()
}

// finish reports trailing bytes as an error: control payloads fill their frame exactly.
func (c *cursor) finish() error {
	if c.err == nil && c.i != len(c.b) {
		c.fail("has bytes after its end")
	}
	return c.err
}

// CutText returns s cut to at most n bytes at the start of a rune, with every byte that is not UTF-8 replaced: texts for
// people come from anywhere, and a peer refuses a frame with an invalid one.
func CutText(s string, n int) string {
	s = strings.ToValidUTF8(cut(s, n), "\uFFFD")
	return cut(s, n) // a replacement is longer than what it replaces
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
