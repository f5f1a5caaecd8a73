package wire

import (
	"bytes"
	"time"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// ProtocolVersion is the version of this specification that a hello announces. Peers speak the lower of the two.
const ProtocolVersion = 1

// ALPN is the application protocol name of TLS (RFC 7301).
const ALPN = "mycel/1"

// Role is what a connection is for.
type Role uint8

const (
	RoleMain Role = iota // control, stream and rpc classes
	RoleBulk             // the bulk class, with credits
)

// Bounds of a hello.
const (
	MaxHelloBytes   = 128 << 10
	MaxHelloMethods = 1024
	MaxHelloSchemas = 1024
	MaxHostOffer    = 512
	maxSoftware     = 64
)

// Hello is the first frame of each side on the control stream.
type Hello struct {
	Version         uint64
	Software        string // for logs
	Role            Role
	Session         [16]byte // the acceptor's name for the peer session; a bulk connection repeats it
	MaxMessageBytes uint64   // largest message body the sender of this hello accepts
	Methods         []string // that the sender serves; a request may name them by position
	Schemas         [][16]byte
	// HostOffer says how a peer on the same host can share memory with the sender; opaque here, empty if it cannot.
	HostOffer []byte
	// Table is what the sender of this hello keeps of its peer's messages for each principal.
	Table TableOffer
}

// TableOffer bounds a table of package dedup at its receiver. The zero value means that there is none.
type TableOffer struct {
	Slots, Bytes uint64
}

// AppendHello appends the payload of a hello frame to dst.
func AppendHello(dst []byte, h *Hello) []byte {
	n := uint64(8)
	if h.Table != (TableOffer{}) {
		n = 9
	}
	dst = item.AppendUint(item.AppendHead(dst, item.Array, n), h.Version)
	dst = item.AppendText(dst, CutText(h.Software, maxSoftware))
	dst = item.AppendUint(dst, uint64(h.Role))
	dst = item.AppendBytes(dst, h.Session[:])
	dst = item.AppendUint(dst, h.MaxMessageBytes)
	dst = item.AppendHead(dst, item.Array, uint64(len(h.Methods)))
	for _, m := range h.Methods {
		dst = item.AppendText(dst, m)
	}
	dst = item.AppendHead(dst, item.Array, uint64(len(h.Schemas)))
	for i := range h.Schemas {
		dst = item.AppendBytes(dst, h.Schemas[i][:])
	}
	dst = item.AppendBytes(dst, h.HostOffer)
	if n > 8 {
		dst = item.AppendUint(item.AppendUint(item.AppendHead(dst, item.Array, 2), h.Table.Slots), h.Table.Bytes)
	}
	return dst
}

// ParseHello parses the payload of a hello frame, which b must hold exactly. The result is a copy.
// Errors: *[FormatError], *[LimitError].
func ParseHello(b []byte) (h *Hello, err error) {
	c := cursor{b: b, what: "hello"}
	h = new(Hello)
	count := c.count("payload", 9+maxEnvelopeTail)
	if c.err == nil && count < 8 {
		c.fail("has fewer than eight elements")
	}
	if h.Version = c.uint("version"); c.err == nil && h.Version == 0 {
		c.fail("has version 0")
	}
	h.Software = string(c.string(item.Text, "software", maxSoftware))
	h.Role = Role(c.uintMax("role", uint64(RoleBulk)))
	if s := c.string(item.Bytes, "session", len(h.Session)); c.err == nil && copy(h.Session[:], s) != len(h.Session) {
		c.fail("has a session name that is not 16 bytes long")
	}
	h.MaxMessageBytes = c.uint("message limit")
	for range c.count("methods", MaxHelloMethods) {
		h.Methods = append(h.Methods, string(c.string(item.Text, "method name", MaxMethodBytes)))
		if c.err != nil {
			break
		}
	}
	for range c.count("schemas", MaxHelloSchemas) {
		id := c.string(item.Bytes, "schema ID", 16)
		if len(id) != 16 {
			c.fail("has a schema ID that is not 16 bytes long")
			break
		}
		h.Schemas = append(h.Schemas, [16]byte(id))
	}
	if offer := c.string(item.Bytes, "same-host offer", MaxHostOffer); len(offer) > 0 {
		h.HostOffer = bytes.Clone(offer)
	}
	if count > 8 {
		n := c.count("table offer", 2+maxEnvelopeTail)
		if c.err == nil && n < 2 {
			c.fail("has a table offer of fewer than two elements")
		}
		h.Table = TableOffer{Slots: c.uint("table slots"), Bytes: c.uint("table bytes")}
		c.rest(2, n)
	}
	c.rest(9, count)
	if err := c.finish(); err != nil {
		return nil, err
	}
	return h, nil
}

// SchemaAnswer tells the sender of an inline schema what the receiver made of it.
type SchemaAnswer struct {
	Num     uint64 // as in [SchemaRef]
	Refused bool   // the sender uses generic CBOR for this type from now on
	Reason  string
}

// AppendSchemaAnswer appends the payload of a schema frame to dst.
func AppendSchemaAnswer(dst []byte, a SchemaAnswer) []byte {
	refused := byte(0)
	if a.Refused {
		refused = 1
	}
	dst = append(item.AppendUint(item.AppendHead(dst, item.Array, 3), a.Num), refused)
	return item.AppendText(dst, CutText(a.Reason, MaxMessageText))
}

// ParseSchemaAnswer parses the payload of a schema frame, which b must hold exactly.
func ParseSchemaAnswer(b []byte) (a SchemaAnswer, err error) {
	c := cursor{b: b, what: "schema frame"}
	count := c.count("payload", 3+maxEnvelopeTail)
	if c.err == nil && count < 3 {
		c.fail("has fewer than three elements")
	}
	a.Num = c.uint("schema number")
	a.Refused = c.uintMax("refused flag", 1) == 1
	a.Reason = string(c.string(item.Text, "reason", MaxMessageText))
	c.rest(3, count)
	return a, c.finish()
}

// InitialCreditBytes is what may be sent on a stream of class bulk before the first credit frame.
const InitialCreditBytes = 32 << 10

// Credit raises the number of bytes that the receiver of this frame may send on one bulk stream.
type Credit struct {
	Stream uint64 // QUIC stream ID
	Limit  uint64 // total bytes on the stream since its start
}

// AppendCredit appends the payload of a credit frame to dst.
func AppendCredit(dst []byte, r Credit) []byte {
	return item.AppendUint(item.AppendUint(item.AppendHead(dst, item.Array, 2), r.Stream), r.Limit)
}

// ParseCredit parses the payload of a credit frame, which b must hold exactly.
func ParseCredit(b []byte) (r Credit, err error) {
	c := cursor{b: b, what: "credit frame"}
	count := c.count("payload", 2+maxEnvelopeTail)
	if c.err == nil && count < 2 {
		c.fail("has fewer than two elements")
	}
	r.Stream, r.Limit = c.uint("stream"), c.uint("limit")
	c.rest(2, count)
	return r, c.finish()
}

// pingPadding makes a packet that carries only a ping longer than 42 bytes: smaller ones are never answered
// with a stateless reset (RFC 9000, section 10.3), so a restarted peer would go unnoticed.
const pingPadding = 32

// Ping is the payload of ping and pong frames. A pong repeats the nonce of its ping.
type Ping struct {
	Nonce uint64
	Load  uint64 // calls running at the sender
}

// AppendPing appends the payload of a ping or pong frame to dst.
func AppendPing(dst []byte, p Ping) []byte {
	var pad [pingPadding]byte
	return item.AppendBytes(item.AppendUint(item.AppendUint(item.AppendHead(dst, item.Array, 3), p.Nonce), p.Load), pad[:])
}

// ParsePing parses the payload of a ping or pong frame, which b must hold exactly.
func ParsePing(b []byte) (p Ping, err error) {
	c := cursor{b: b, what: "ping"}
	count := c.count("payload", 3+maxEnvelopeTail)
	if c.err == nil && count < 3 {
		c.fail("has fewer than three elements")
	}
	p.Nonce, p.Load = c.uint("nonce"), c.uint("load")
	c.string(item.Bytes, "padding", 2*pingPadding)
	c.rest(3, count)
	return p, c.finish()
}

// GoAway announces that the sender serves no calls that arrive after it.
type GoAway struct {
	Text  string
	Grace time.Duration // how long calls in progress may take; 0 is not said
}

// AppendGoAway appends the payload of a goaway frame to dst.
func AppendGoAway(dst []byte, g GoAway) []byte {
	dst = item.AppendText(item.AppendHead(dst, item.Array, 2), CutText(g.Text, MaxMessageText))
	return item.AppendUint(dst, uint64(max(g.Grace, 0)/time.Millisecond))
}

// ParseGoAway parses the payload of a goaway frame, which b must hold exactly.
func ParseGoAway(b []byte) (g GoAway, err error) {
	c := cursor{b: b, what: "goaway frame"}
	count := c.count("payload", 2+maxEnvelopeTail)
	if c.err == nil && count < 2 {
		c.fail("has fewer than two elements")
	}
	g.Text = string(c.string(item.Text, "text", MaxMessageText))
	g.Grace = time.Duration(c.uintMax("grace", uint64(1<<63-1)/uint64(time.Millisecond))) * time.Millisecond
	c.rest(2, count)
	return g, c.finish()
}

// AppendDrained appends the payload of a drained frame to dst: the sender has the results of all its calls and
// starts no more.
func AppendDrained(dst []byte) []byte { return item.AppendHead(dst, item.Array, 0) }

// ParseDrained checks the payload of a drained frame, which b must hold exactly.
func ParseDrained(b []byte) error {
	c := cursor{b: b, what: "drained frame"}
	c.rest(0, c.count("payload", maxEnvelopeTail))
	return c.finish()
}
