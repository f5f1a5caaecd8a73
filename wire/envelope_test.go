package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

func TestEnvelopesRoundTrip(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			v, n, err := s.parse(s.bytes)
			if err != nil || n != len(s.bytes) || !reflect.DeepEqual(v, s.value) {
				t.Fatalf("parsed %+v, %d bytes of %d, %v\nwant %+v", v, n, len(s.bytes), err, s.value)
			}
			if err := cbor.Wellformed(s.bytes); err != nil {
				t.Errorf("fxamacker/cbor refuses %x: %v", s.bytes, err)
			}
			_, n, err = s.parse(append(slices.Clone(s.bytes), 0xff, 0x00))
			switch {
			case s.exact && !isFormat(err):
				t.Errorf("bytes after the payload: got error %v, want a FormatError", err)
			case !s.exact && (err != nil || n != len(s.bytes)):
				t.Errorf("with a body behind it: consumed %d bytes of %d, %v", n, len(s.bytes), err)
			}
		})
	}
}

func TestEveryCutOfAnEnvelopeIsRefused(t *testing.T) {
	for _, s := range samples() {
		for i := range s.bytes {
			if _, n, err := s.parse(s.bytes[:i:i]); !isFormat(err) || n > i {
				t.Errorf("%s, first %d of %d bytes: consumed %d, error %v, want a FormatError", s.name, i, len(s.bytes), n, err)
			}
		}
	}
}

// TestOtherHeadsAreRefused replaces each head of each envelope with every other encoding of the same number, and with
// other kinds of items.
func TestOtherHeadsAreRefused(t *testing.T) {
	for _, s := range samples() {
		for _, at := range heads(t, s.bytes) {
			h, size, err := item.ParseHead(s.bytes[at:])
			if err != nil {
				t.Fatalf("%s: head at %d of %x: %v", s.name, at, s.bytes, err)
			}
			major := h.Major << 5
			others := [][]byte{{major | 28}, {major | 31}, {0xc0 | 1}, {0xa0}, {0xf8, 0}, {0xf9, 0, 0}}
			for info, width := range []int{1, 2, 4, 8} {
				if 1+width > size {
					var full [8]byte
					binary.BigEndian.PutUint64(full[:], h.N)
					others = append(others, append([]byte{major | 24 + byte(info)}, full[8-width:]...))
				}
			}
			for _, other := range others {
				b := slices.Concat(s.bytes[:at], other, s.bytes[at+size:])
				if _, _, err := s.parse(b); err == nil {
					t.Errorf("%s: accepted %x in place of the head at %d of %x", s.name, other, at, s.bytes)
				}
			}
		}
	}
}

// TestLaterElementsAreIgnored appends what a newer version of the protocol might.
func TestLaterElementsAreIgnored(t *testing.T) {
	later := []byte{0x83, 0x38, 0x2a, 0x61, 'x', 0xf6} // [-43, "x", null]
	for _, s := range samples() {
		if s.known == 0 || int(s.bytes[0]&31) != s.known {
			continue // elements at the end are absent
		}
		for _, c := range []struct {
			more int
			ok   bool
		}{{1, true}, {maxEnvelopeTail, true}, {maxEnvelopeTail + 1, false}} {
			b := item.AppendHead(nil, item.Array, uint64(s.known+c.more))
			b = append(append(b, s.bytes[1:]...), bytes.Repeat(later, c.more)...)
			v, n, err := s.parse(b)
			if c.ok && (err != nil || n != len(b) || !reflect.DeepEqual(v, s.value)) {
				t.Errorf("%s with %d later elements: parsed %+v, %d bytes of %d, %v", s.name, c.more, v, n, len(b), err)
			}
			if !c.ok && !isLimit(err) {
				t.Errorf("%s with %d later elements: got error %v, want a LimitError", s.name, c.more, err)
			}
		}
		deep := append(append([]byte{0x80 | byte(s.known+1)}, s.bytes[1:]...), bytes.Repeat([]byte{0x81}, 9)...)
		if _, _, err := s.parse(append(deep, 0)); !isFormat(err) {
			t.Errorf("%s with a later element that nests ten deep: got error %v, want a FormatError", s.name, err)
		}
	}
}

func TestEnvelopeLimits(t *testing.T) {
	long := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
	details := func(n, size int) (d []Detail) {
		for range n {
			d = append(d, Detail{"d", long(size)})
		}
		return d
	}
	for _, c := range []struct {
		name string
		ok   bool
		b    []byte
		f    func([]byte) (any, int, error)
	}{
		{"a method name of 255 bytes", true, AppendRequest(nil, &Request{Name: long(255)}), parseRequest},
		{"a method name of 256 bytes", false, AppendRequest(nil, &Request{Name: long(256)}), parseRequest},
		{"a schema of 16 KiB", true, AppendSchemaRef(nil, &SchemaRef{Num: 1, Canonical: long(MaxSchemaBytes)}), parseSchemaRef},
		{"a schema of 16 KiB and a byte", false, AppendSchemaRef(nil, &SchemaRef{Num: 1, Canonical: long(MaxSchemaBytes + 1)}), parseSchemaRef},
		{"32 details", true, AppendResponse(nil, &Response{Status: Status{Details: details(32, 1)}}), parseResponse},
		{"33 details", false, AppendResponse(nil, &Response{Status: Status{Details: details(33, 1)}}), parseResponse},
		{"a detail of 16 KiB", true, AppendResponse(nil, &Response{Status: Status{Details: details(1, MaxDetailBytes)}}), parseResponse},
		{"a detail of 16 KiB and a byte", false, AppendResponse(nil, &Response{Status: Status{Details: details(1, MaxDetailBytes+1)}}), parseResponse},
		{"a status text of 8 KiB", true, AppendResponse(nil, &Response{Status: Status{Message: string(long(MaxMessageText))}}), parseResponse},
		{"a status text of 8 KiB and a byte", false, AppendResponse(nil, &Response{Status: Status{Message: string(long(MaxMessageText + 1))}}), parseResponse},
		{"metadata above its limit", false, AppendRequest(nil, &Request{Name: long(1), Metadata: []Pair{{"k", string(long(MaxMetadataBytes))}}}), parseRequest},
		{"1024 methods", true, AppendHello(nil, &Hello{Version: 1, Methods: make([]string, MaxHelloMethods)}), exactly(parseHello)},
		{"1025 methods", false, AppendHello(nil, &Hello{Version: 1, Methods: make([]string, MaxHelloMethods+1)}), exactly(parseHello)},
		{"1024 schemas", true, AppendHello(nil, &Hello{Version: 1, Schemas: make([][16]byte, MaxHelloSchemas)}), exactly(parseHello)},
		{"1025 schemas", false, AppendHello(nil, &Hello{Version: 1, Schemas: make([][16]byte, MaxHelloSchemas+1)}), exactly(parseHello)},
	} {
		_, _, err := c.f(c.b)
		limit := (*LimitError)(nil)
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case !c.ok && !errors.As(err, &limit):
			t.Errorf("%s: got error %v, want a LimitError", c.name, err)
		case !c.ok && (limit.What == "" || limit.Got <= limit.Limit):
			t.Errorf("%s: the error does not say what is too large: %+v", c.name, limit)
		}
	}
}

func TestEnvelopesRefused(t *testing.T) {
	hello := func(change func(*Hello)) []byte {
		h := Hello{Version: 1}
		change(&h)
		return AppendHello(nil, &h)
	}
	for _, c := range []struct {
		name string
		b    []byte
		f    func([]byte) (any, int, error)
	}{
		{"a request with an empty method name", []byte{0x83, 0x60, 0, 0}, parseRequest},
		{"a request with method number 0", []byte{0x83, 0, 0, 0}, parseRequest},
		{"a request with a method name that is not UTF-8", []byte{0x83, 0x61, 0xff, 0, 0}, parseRequest},
		{"a request with two elements", []byte{0x82, 1, 0}, parseRequest},
		{"a request whose timeout overflows", append(item.AppendUint([]byte{0x83, 1}, math.MaxInt64/1000+1), 0), parseRequest},
		{"a response with a code that does not exist", []byte{0x82, byte(maxCode) + 1, 0}, parseResponse},
		{"a response with one element", []byte{0x81, 0}, parseResponse},
		{"a response with a detail without content", []byte{0x84, 0, 0, 0x60, 0x81, 0x61, 'd'}, parseResponse},
		{"a response that is half unprocessed", []byte{0x85, 0, 0, 0x60, 0x80, 2}, parseResponse},
		{"a definition with an even number", AppendSchemaRef(nil, &SchemaRef{Num: 2, Canonical: []byte{1}}), parseSchemaRef},
		{"a definition without content", []byte{0x83, 1, 0x50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40}, parseSchemaRef},
		{"a definition with a short ID", []byte{0x83, 1, 0x41, 0, 0x41, 1}, parseSchemaRef},
		{"a definition of one element", []byte{0x81, 1}, parseSchemaRef},
		{"a definition of no element", []byte{0x80, 1}, parseSchemaRef},
		{"a codec within another", []byte{0x82, 1, 0x82, 1, 0}, parseSchemaRef},
		{"codec 0", []byte{0x82, 0, 2}, parseSchemaRef},
		{"codec 256", []byte{0x82, 0x19, 1, 0, 2}, parseSchemaRef},
		{"a hello of version 0", hello(func(h *Hello) { h.Version = 0 }), exactly(parseHello)},
		{"a hello with an unknown role", hello(func(h *Hello) { h.Role = 2 }), exactly(parseHello)},
		{"a hello with a method name that is not UTF-8", hello(func(h *Hello) { h.Methods = []string{"\xff"} }), exactly(parseHello)},
		{"a cancellation with a code that does not exist", AppendCancel(nil, Cancel{Code: 17}), exactly(ParseCancel)},
		{"a schema answer that is half refused", []byte{0x83, 1, 2, 0x60}, exactly(ParseSchemaAnswer)},
		{"a grace that overflows", item.AppendUint([]byte{0x82, 0x60}, math.MaxUint64), exactly(ParseGoAway)},
	} {
		if _, _, err := c.f(c.b); !isFormat(err) {
			t.Errorf("%s: got error %v, want a FormatError", c.name, err)
		}
	}
}

func TestTimeoutKeepsItsMeaning(t *testing.T) {
	for _, c := range []struct {
		name       string
		sent, want time.Duration
	}{
		{"none", 0, 0},
		{"a nanosecond is rounded up, not to none", 1, time.Microsecond},
		{"whole microseconds stay", 5 * time.Microsecond, 5 * time.Microsecond},
		{"the longest possible", math.MaxInt64, math.MaxInt64 / 1000 * 1000},
		{"one that has passed is not none", -1, time.Microsecond},
		{"one that has passed long ago", math.MinInt64, time.Microsecond},
	} {
		v, _, err := parseRequest(AppendRequest(nil, &Request{MethodNum: 1, Timeout: c.sent}))
		if got := v.(Request).Timeout; err != nil || got != c.want {
			t.Errorf("%s: %v arrives as %v, %v, want %v", c.name, c.sent, got, err, c.want)
		}
	}
}

// TestTextsForPeopleArrive: what an error says must not decide whether it can be told.
func TestTextsForPeopleArrive(t *testing.T) {
	for _, text := range []string{
		"", "plain", "\xff\xfe", "half a rune \xc3", strings.Repeat("é", MaxMessageText), strings.Repeat("\x80", 2*MaxMessageText),
		strings.Repeat("x", MaxMessageText-1) + "é",
	} {
		name := text[:min(len(text), 8)]
		check := func(kind, got string, err error) {
			if err != nil || len(got) > MaxMessageText || !utf8.ValidString(got) || (utf8.ValidString(text) && !strings.HasPrefix(text, got)) {
				t.Errorf("%s %q: arrives as %.20q, %v", kind, name, got, err)
			}
		}
		c, err := ParseCancel(AppendCancel(nil, Cancel{Text: text}))
		check("cancel", c.Text, err)
		g, err := ParseGoAway(AppendGoAway(nil, GoAway{Text: text}))
		check("goaway", g.Text, err)
		a, err := ParseSchemaAnswer(AppendSchemaAnswer(nil, SchemaAnswer{Reason: text}))
		check("schema answer", a.Reason, err)
		h, err := parseHello(AppendHello(nil, &Hello{Version: 1, Software: text}))
		check("hello", h.Software, err)
	}
}

func TestSmallHeadersDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 256)
	q := Request{Name: []byte("greeter.v1/Hello"), Timeout: time.Second, Schema: SchemaRef{Num: 2}}
	request := AppendRequest(nil, &q)
	response := AppendResponse(nil, &Response{Schema: SchemaRef{Num: 2}})
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"AppendRequest", func() { buf = AppendRequest(buf[:0], &q) }},
		{"ParseRequest", func() { var q Request; _, _ = ParseRequest(request, &q) }},
		{"AppendResponse", func() { buf = AppendResponse(buf[:0], &Response{}) }},
		{"ParseResponse", func() { var r Response; _, _ = ParseResponse(response, &r) }},
		{"AppendFrameHead and ParseFrameHead", func() {
			buf = AppendFrameHead(buf[:0], FrameHead{Type: FrameRequest, Call: 1 << 20, Len: 100})
			_, _, _ = ParseFrameHead(buf, 1<<20, "")
		}},
		{"AppendCancel", func() { buf = AppendCancel(buf[:0], Cancel{Code: Canceled, Text: "enough"}) }},
		{"AppendPing and ParsePing", func() { buf = AppendPing(buf[:0], Ping{Nonce: 1}); _, _ = ParsePing(buf) }},
		{"NewBuffer and Release", func() { NewBuffer(100).Release() }},
	} {
		if n := testing.AllocsPerRun(1000, c.f); n != 0 {
			t.Errorf("%s makes %v allocations, want none", c.name, n)
		}
	}
}

func isFormat(err error) bool { return errors.As(err, new(*FormatError)) }

func isLimit(err error) bool { return errors.As(err, new(*LimitError)) }
