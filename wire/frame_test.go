package wire

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

var frameHeads = []struct {
	name string
	head FrameHead
}{
	{"smallest", FrameHead{Type: FrameDrained, Len: 1}},
	{"request with flags", FrameHead{Type: FrameRequest, Kind: Bidi, End: true, Call: 63, Len: 64}},
	{"one byte becomes two", FrameHead{Type: FrameRequest, Kind: ClientStream, Call: 64, Len: 16383}},
	{"two bytes become four", FrameHead{Type: FrameResponse, Call: 16384, Len: 16384}},
	{"four bytes become eight", FrameHead{Type: FrameCancel, Call: 1 << 30, Len: 1<<30 - 1}},
	{"request elsewhere", FrameHead{Type: FrameRequest, End: true, Shared: true, Call: 5, Len: 24}},
	{"response elsewhere", FrameHead{Type: FrameResponse, Shared: true, Call: 5, Len: 24}},
	{"largest", FrameHead{Type: FrameMessage, Call: maxVarint, Len: 1 << 30}},
}

func TestFrameHeadRoundTrip(t *testing.T) {
	for _, c := range frameHeads {
		t.Run(c.name, func(t *testing.T) {
			b := AppendFrameHead(nil, c.head)
			if len(b) > MaxFrameHeadBytes {
				t.Errorf("%d bytes, more than MaxFrameHeadBytes", len(b))
			}
			h, n, err := ParseFrameHead(append(b, "payload"...), 1<<30, "")
			if err != nil || n != len(b) || h != c.head {
				t.Errorf("parsed %+v, %d bytes of %d, %v", h, n, len(b), err)
			}
			for i := range b {
				if _, n, err := ParseFrameHead(b[:i:i], 1<<30, ""); err != ErrTruncated || n != 0 {
					t.Errorf("first %d of %d bytes: consumed %d, error %v, want ErrTruncated", i, len(b), n, err)
				}
			}
		})
	}
}

func TestFrameHeadRefusesUnknownTypesAndFlags(t *testing.T) {
	known := map[FrameType]bool{
		FrameRequest: true, FrameResponse: true, FrameHeaders: true, FrameMessage: true, FrameCancel: true, FrameHello: true,
		FrameSchema: true, FrameCredit: true, FramePing: true, FramePong: true, FrameGoAway: true, FrameDrained: true,
		FrameNotices: true,
	}
	for first := range 256 {
		typ, flags := FrameType(first&0x0f), first&0xf0
		ok := known[typ] && (flags == 0 || typ == FrameRequest || flags == FlagShared && typ == FrameResponse)
		_, _, err := ParseFrameHead([]byte{byte(first), 0, 0}, 1, "")
		if ok != (err == nil) || !ok && !isFormat(err) {
			t.Errorf("first byte %#02x: error %v, want accepted %v", first, err, ok)
		}
	}
}

func TestFrameHeadNamesTheLimit(t *testing.T) {
	b := AppendFrameHead(nil, FrameHead{Type: FrameRequest, Call: 7, Len: 101})
	if _, _, err := ParseFrameHead(b, 101, "MaxMessageBytes"); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	h, n, err := ParseFrameHead(b, 100, "MaxMessageBytes")
	limit := (*LimitError)(nil)
	if !errors.As(err, &limit) || limit.Limit != 100 || limit.Got != 101 || limit.Knob != "MaxMessageBytes" {
		t.Errorf("above the limit: %v", err)
	}
	if n != 0 || h.Call != 7 || h.Type != FrameRequest {
		t.Errorf("the error comes with head %+v and %d bytes consumed, want type and call and 0", h, n)
	}
}

func TestVarintPanicsOnlyOnWhatNoCounterReaches(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("2^62 was encoded")
		}
	}()
	appendVarint(nil, maxVarint+1)
}

// FuzzFrameHead: varints, unlike CBOR, may be longer than needed (RFC 9000, section 16).
func FuzzFrameHead(f *testing.F) {
	for _, c := range frameHeads {
		f.Add(AppendFrameHead(nil, c.head), 1<<20)
	}
	f.Add([]byte{1, 0x40, 0x01, 0x80, 0, 0, 1}, 10)
	f.Fuzz(func(t *testing.T, b []byte, maxLen int) {
		if maxLen < 0 {
			return
		}
		h, n, err := ParseFrameHead(b, maxLen, "")
		if err != nil {
			if n != 0 || h.Len != 0 {
				t.Fatalf("refused input left length %d and %d bytes consumed", h.Len, n)
			}
			return
		}
		if n > len(b) || n > MaxFrameHeadBytes || h.Len > maxLen {
			t.Fatalf("accepted %+v in %d bytes of %d", h, n, len(b))
		}
		again := AppendFrameHead(nil, h)
		if len(again) > n || len(again) == n && !bytes.Equal(again, b[:n]) {
			t.Fatalf("accepted %x, encodes as %x", b[:n], again)
		}
		if h2, n2, err := ParseFrameHead(again, maxLen, ""); err != nil || h2 != h || n2 != len(again) {
			t.Fatalf("%+v comes back as %+v, %v", h, h2, err)
		}
	})
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want any }{
		{Unary.String(), "unary"}, {Bidi.String(), "bidi"},
		{ClassRPC.String(), "rpc"}, {ClassBulk.String(), "bulk"}, {Class(9).String(), "unknown class"},
		{NotFound.Error(), "not found"}, {Code(17).String(), "code 17"},
		{ClassControl.Urgency(), int8(0)}, {ClassStream.Urgency(), int8(2)}, {ClassRPC.Urgency(), int8(3)}, {ClassBulk.Urgency(), int8(7)},
		{Class(NumClasses).Valid(), false}, {Code(maxCode + 1).Valid(), false},
		{CutText("aé", 2), "a"},
		{(&LimitError{What: "message", Limit: 4, Got: 5, Knob: "MaxMessageBytes"}).Error(), "wire: message of 5 exceeds the limit of 4 (MaxMessageBytes)"},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
}

func TestCodesTravelInResets(t *testing.T) {
	for code := range maxCode + 1 {
		if got := CodeOfReset(ResetFor(code)); got != code {
			t.Errorf("%v arrives as %v", code, got)
		}
	}
	for reset, want := range map[uint64]Code{
		ResetNone: Canceled, ResetProtocol: Internal, ResetTooLarge: Internal, ResetCall + uint64(maxCode) + 1: Internal, 1<<62 - 1: Internal,
	} {
		if got := CodeOfReset(reset); got != want {
			t.Errorf("reset %#x is %v, want %v", reset, got, want)
		}
	}
}

func ExampleAppendRequest() {
	payload := AppendRequest(nil, &Request{Name: []byte("greeter.v1/Hello")})
	payload = append(payload, 0x81, 0x61, 'x') // the message body: ["x"]
	frame := AppendFrameHead(nil, FrameHead{Type: FrameRequest, End: true, Len: len(payload)})
	frame = append(frame, payload...)

	head, n, err := ParseFrameHead(frame, MaxLaneFrameBytes, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	var q Request
	m, err := ParseRequest(frame[n:n+head.Len], &q)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%v call of %s with the message %x\n", head.Kind, q.Name, frame[n+m:])
	// Output: unary call of greeter.v1/Hello with the message 816178
}
