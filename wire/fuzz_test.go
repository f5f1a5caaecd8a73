package wire

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/internal/item"
)

// fuzzEnvelope checks what holds for every envelope: accepted input is well-formed CBOR of the length reported, what it
// means survives another round, and it has one encoding, unless it carries elements that are ignored (from a newer
// version) or that could have been left out.
func fuzzEnvelope[T any](f *testing.F, kind string, parse func([]byte) (any, int, error), appendTo func([]byte, T) []byte) {
	seed(f, kind)
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, n, err := parse(b)
		if err != nil {
			if !isFormat(err) && !isLimit(err) {
				t.Fatalf("error %v is neither of the two types", err)
			}
			return
		}
		if n < 0 || n > len(b) {
			t.Fatalf("consumed %d bytes of %d", n, len(b))
		}
		if err := cbor.Wellformed(b[:n]); err != nil {
			t.Fatalf("accepted %x; fxamacker/cbor: %v", b[:n], err)
		}
		again := appendTo(nil, v.(T))
		if _, ping := v.(Ping); !ping && !bytes.Equal(again, b[:n]) && !hasMore(b[:n], again) { // the padding of a ping is ignored
			t.Fatalf("accepted %x, encodes as %x", b[:n], again)
		}
		v2, n2, err := parse(again)
		if err != nil || n2 != len(again) || !reflect.DeepEqual(v, v2) {
			t.Fatalf("%+v comes back as %+v, %d bytes of %d, %v", v, v2, n2, len(again), err)
		}
	})
}

// hasMore reports whether the array b has more elements than the array again.
func hasMore(b, again []byte) bool {
	h, _, err := item.ParseHead(b)
	was, _, errAgain := item.ParseHead(again)
	return err == nil && errAgain == nil && h.Major == item.Array && h.N > was.N
}

func FuzzRequest(f *testing.F) {
	fuzzEnvelope(f, "request", parseRequest, func(dst []byte, r Request) []byte { return AppendRequest(dst, &r) })
}

func FuzzResponse(f *testing.F) {
	fuzzEnvelope(f, "response", parseResponse, func(dst []byte, r Response) []byte { return AppendResponse(dst, &r) })
}

func FuzzSchemaRef(f *testing.F) {
	fuzzEnvelope(f, "schema reference", parseSchemaRef, func(dst []byte, r SchemaRef) []byte { return AppendSchemaRef(dst, &r) })
}

func FuzzHello(f *testing.F) {
	fuzzEnvelope(f, "hello", exactly(parseHello), func(dst []byte, h Hello) []byte { return AppendHello(dst, &h) })
}

func FuzzSchemaAnswer(f *testing.F) {
	fuzzEnvelope(f, "schema", exactly(ParseSchemaAnswer), AppendSchemaAnswer)
}

func FuzzCancel(f *testing.F) {
	fuzzEnvelope(f, "cancel", exactly(ParseCancel), AppendCancel)
}

func FuzzCredit(f *testing.F) {
	fuzzEnvelope(f, "credit", exactly(ParseCredit), AppendCredit)
}

func FuzzPing(f *testing.F) {
	fuzzEnvelope(f, "ping", exactly(ParsePing), AppendPing)
}

func FuzzGoAway(f *testing.F) {
	fuzzEnvelope(f, "goaway", exactly(ParseGoAway), AppendGoAway)
}

func FuzzDrained(f *testing.F) {
	fuzzEnvelope(f, "drained", exactly(parseDrained), func(dst []byte, _ struct{}) []byte { return AppendDrained(dst) })
}
