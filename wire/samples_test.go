package wire

import (
	"strings"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// A sample is one envelope as this package encodes it, and how it is read back.
type sample struct {
	name  string
	known int // elements of the array that the specification lists; 0 when the envelope is not an array
	exact bool
	value any
	bytes []byte
	parse func([]byte) (v any, n int, err error)
}

// exactly adapts a parser of a payload that fills its frame.
func exactly[T any](parse func([]byte) (T, error)) func([]byte) (any, int, error) {
	return func(b []byte) (any, int, error) {
		v, err := parse(b)
		return v, len(b), err
	}
}

func parseRequest(b []byte) (any, int, error) {
	var r Request
	n, err := ParseRequest(b, &r)
	return r, n, err
}

func parseResponse(b []byte) (any, int, error) {
	var r Response
	n, err := ParseResponse(b, &r)
	return r, n, err
}

func parseSchemaRef(b []byte) (any, int, error) { return orZero(ParseSchemaRef(b)) }

func orZero[T any](v T, n int, err error) (any, int, error) { return v, n, err }

func parseHello(b []byte) (Hello, error) {
	h, err := ParseHello(b)
	if err != nil {
		return Hello{}, err
	}
	return *h, nil
}

func parseDrained(b []byte) (struct{}, error) { return struct{}{}, ParseDrained(b) }

var (
	sampleID     = [16]byte{0xde, 0xad, 15: 0xef}
	sampleSchema = SchemaRef{Num: 7, ID: sampleID, Canonical: []byte{0x82, 0x01, 0x01}}
	samplePairs  = []Pair{{"a", "1"}, {"trace-id", "\x00\xff"}, {"a", "2"}}
)

// samples has at least one envelope of every kind, one with every element and one with as few as possible.
func samples() []sample {
	request := func(name string, r Request) sample {
		return sample{name, 5, false, r, AppendRequest(nil, &r), parseRequest}
	}
	response := func(name string, r Response) sample {
		return sample{name, 7, false, r, AppendResponse(nil, &r), parseResponse}
	}
	ref := func(name string, r SchemaRef) sample {
		return sample{name, 0, false, r, AppendSchemaRef(nil, &r), parseSchemaRef}
	}
	hello := func(name string, h Hello) sample {
		return sample{name, 9, true, h, AppendHello(nil, &h), exactly(parseHello)}
	}
	answer := func(name string, a SchemaAnswer) sample {
		return sample{name, 3, true, a, AppendSchemaAnswer(nil, a), exactly(ParseSchemaAnswer)}
	}
	cancel := func(name string, c Cancel) sample {
		return sample{name, 2, true, c, AppendCancel(nil, c), exactly(ParseCancel)}
	}
	credit := func(name string, c Credit) sample {
		return sample{name, 2, true, c, AppendCredit(nil, c), exactly(ParseCredit)}
	}
	ping := func(name string, p Ping) sample {
		return sample{name, 3, true, p, AppendPing(nil, p), exactly(ParsePing)}
	}
	goaway := func(name string, g GoAway) sample {
		return sample{name, 2, true, g, AppendGoAway(nil, g), exactly(ParseGoAway)}
	}
	return []sample{
		request("request by name", Request{Name: []byte("greeter.v1/Hello")}),
		request("request by number", Request{MethodNum: 24, Timeout: 1500 * time.Millisecond, Schema: SchemaRef{Num: 2}}),
		request("request with everything", Request{Name: []byte("m"), Timeout: time.Microsecond, Schema: sampleSchema, Metadata: samplePairs, Principal: 3}),
		response("response", Response{}),
		response("response with headers", Response{Schema: SchemaRef{Num: 300}, Headers: samplePairs}),
		response("response of an error", Response{Status: Status{Code: NotFound, Message: "no greeter é"}}),
		response("response of an unprocessed call", Response{Status: Status{Code: Unavailable, Unprocessed: true}}),
		response("response with everything", Response{
			Status: Status{
				Code: Unauthenticated, Message: "who are you?", Unprocessed: true,
				Details: []Detail{{"quota.v1/Quota", []byte{0xa1, 0x61, 'n', 3}}, {"x", []byte{0xf6}}},
			},
			Schema: sampleSchema, Headers: samplePairs, Trailer: []Pair{{"t", ""}},
		}),
		ref("schema reference: self-describing", SchemaRef{}),
		ref("schema reference: by number", SchemaRef{Num: 2049}),
		ref("schema reference: inline", sampleSchema),
		ref("schema reference: compressed", SchemaRef{Num: 2049, Codec: 1}),
		ref("schema reference: compressed, inline", compressed(sampleSchema)),
		hello("hello", Hello{Version: 1}),
		hello("hello with everything", Hello{
			Version: 3, Software: "mycel-go", Role: RoleBulk, Session: sampleID, MaxMessageBytes: 4 << 20,
			Methods: []string{"greeter.v1/Hello", "b"}, Schemas: [][16]byte{sampleID, {}},
			HostOffer: []byte("offer"), Table: TableOffer{Slots: 1024, Bytes: 4 << 20},
		}),
		answer("schema accepted", SchemaAnswer{Num: 1}),
		answer("schema refused", SchemaAnswer{Num: 2047, Refused: true, Reason: "too deep"}),
		cancel("cancel", Cancel{Code: Canceled}),
		cancel("cancel with text", Cancel{Code: DeadlineExceeded, Text: "the caller's deadline passed"}),
		credit("credit", Credit{Stream: 4, Limit: InitialCreditBytes + 1<<16}),
		credit("credit, largest numbers", Credit{Stream: 1<<64 - 1, Limit: 1<<64 - 1}),
		ping("ping", Ping{Nonce: 1, Load: 17}),
		goaway("goaway", GoAway{Text: "maintenance", Grace: 10 * time.Second}),
		goaway("goaway without grace", GoAway{}),
		{"drained", 0, true, struct{}{}, AppendDrained(nil), exactly(parseDrained)},
	}
}

func compressed(r SchemaRef) SchemaRef {
	r.Codec = 255
	return r
}

// seed adds the samples whose name begins with kind.
func seed(f *testing.F, kind string) {
	for _, s := range samples() {
		if strings.HasPrefix(s.name, kind) {
			f.Add(s.bytes)
		}
	}
}

// heads returns where the heads of all items in b begin.
func heads(t testing.TB, b []byte) (at []int) {
	t.Helper()
	for i := 0; i < len(b); {
		at = append(at, i)
		h, size, err := item.ParseHead(b[i:])
		if err != nil {
			t.Fatalf("head at %d of %x: %v", i, b, err)
		}
		if i += size; h.Major == item.Bytes || h.Major == item.Text {
			i += int(h.N)
		}
		if i > len(b) {
			t.Fatalf("item at %d of %x ends after the envelope", at[len(at)-1], b)
		}
	}
	return at
}
