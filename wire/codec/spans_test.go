package codec

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

type (
	spanHead struct{ From, To string }
	spanAuth struct {
		Token string `cbor:",secret"`
		User  string
	}
	spanBase struct{ Nonce string }
	spanMsg  struct {
		Head   spanHead
		Config struct {
			A, B   string
			Script string
			C, D   string
			Deep   *spanHead
			E      string
		}
		Seq      uint64 `cbor:",nodedup"`
		Auth     spanAuth
		Users    []spanAuth
		None     struct{}
		spanBase `cbor:",secret"`
		Kept     Extra
	}
)

// spansOf encodes v behind a prefix, with spans behind one that is there, and returns what each span has.
func spansOf(t *testing.T, v any) (parts [][]byte, spans []Span) {
	t.Helper()
	c := codecOf(t, v)
	spans = []Span{{End: 77}}
	b, err := c.AppendWith([]byte("prefix"), v, AppendOptions{Spans: &spans})
	if err != nil || spans[0] != (Span{End: 77}) {
		t.Fatal(spans, err)
	}
	b, spans = b[len("prefix"):], spans[1:]
	if want := appendOf(t, v); !bytes.Equal(b, want) {
		t.Fatalf("with spans %x, without %x", b, want)
	}
	at := 0
	for _, s := range spans {
		if s.End <= at {
			t.Fatal("an empty span:", spans)
		}
		parts, at = append(parts, b[at:s.End]), s.End
	}
	if at != len(b) {
		t.Fatalf("%d of %d bytes are in spans", at, len(b))
	}
	return parts, spans
}

func TestSpansAreFieldsWithTheirAttributes(t *testing.T) {
	var m spanMsg
	m.Head = spanHead{"me", "you"}
	m.Config.A, m.Config.Script, m.Config.D, m.Config.E = "a", strings.Repeat("s", 300), "d", "e"
	m.Config.Deep = &spanHead{To: strings.Repeat("t", 256)}
	m.Auth, m.Users = spanAuth{"token", "user"}, []spanAuth{{"t", "u"}}
	m.Nonce = "nonce"
	parts, spans := spansOf(t, &m)
	want := []struct {
		name            string
		has             string
		secret, noDedup bool
	}{
		{"Head", "you", false, false},
		{"small fields of Config", "a", false, false},
		{"Config.Script", "ssss", false, false},
		{"small fields behind it", "d", false, false},
		{"Config.Deep.To", "tttt", false, false},
		{"Config.E", "e", false, false},
		{"Seq", "", false, true},
		{"Auth.Token", "token", true, false},
		{"Auth.User", "user", false, false},
		{"Users", "u", true, false},
		{"None", "\x80", false, false},
		{"the embedded field", "nonce", true, false},
		{"Kept", "\x80", false, false},
	}
	if len(spans) != len(want) {
		t.Fatalf("%d spans, want %d: %+v", len(spans), len(want), spans)
	}
	for i, w := range want {
		if !bytes.Contains(parts[i], []byte(w.has)) || spans[i].Secret != w.secret || spans[i].NoDedup != w.noDedup {
			t.Errorf("%s: %+v %q", w.name, spans[i], parts[i])
		}
	}
	m.Kept = Extra{{Name: "x", Item: cbor.RawMessage{0x01}}}
	if _, spans = spansOf(t, &m); !spans[len(spans)-1].NoDedup {
		t.Error("fields that are not known may be remembered")
	}
	c := codecOf(t, &m)
	if !c.Secret() || !c.NoDedup() || codecOf(t, &spanHead{}).NoDedup() {
		t.Error("the codec does not know of its attributes")
	}
}

// TestSpansCoverEveryMessage: whatever the type is.
func TestSpansCoverEveryMessage(t *testing.T) {
	for name, v := range samples() {
		t.Run(name, func(t *testing.T) {
			if holdsMaps(v) {
				t.Log("maps of several entries are in no order: no comparison of bytes")
				return
			}
			_, spans := spansOf(t, v)
			if r := reflect.TypeOf(v).Elem(); r.Kind() == reflect.Struct && codecOf(t, v).own.root.kind == kStruct &&
				len(spans) < len(codecOf(t, v).own.root.sub.ops) {
				t.Errorf("%d spans of %d fields", len(spans), r.NumField())
			}
		})
	}
	type generic struct {
		P **int  `cbor:",nodedup"`
		S string `cbor:",secret"`
	}
	if _, spans := spansOf(t, &generic{}); len(spans) != 1 || !spans[0].Secret || !spans[0].NoDedup {
		t.Errorf("of a type without positional form: %+v", spans)
	}
	list := []spanAuth{{"a", "b"}}
	if _, spans := spansOf(t, &list); len(spans) != 1 || !spans[0].Secret {
		t.Errorf("of a message that is no struct: %+v", spans)
	}
}

func holdsMaps(v any) bool { _, ok := v.(*Envelope); return ok }

// TestMarksOfRecursiveTypes: what is tagged anywhere below counts, also where the type leads back.
func TestMarksOfRecursiveTypes(t *testing.T) {
	_, spans := spansOf(t, &recursiveMarks{})
	for i, s := range spans {
		if s.Secret != (i < 2) {
			t.Errorf("span %d: %+v", i, s)
		}
	}
}

type (
	recursiveMarks struct {
		Kids []recursiveMarks2
		Self []*recursiveMarks
		Name string
	}
	recursiveMarks2 struct {
		Up []recursiveMarks
		S  string `cbor:",secret"`
	}
)

func TestSpansAfterAnError(t *testing.T) {
	c, err := Of[seating]()
	if err != nil {
		t.Fatal(err)
	}
	spans := []Span{{End: 1}}
	dst := []byte("x")
	var failed *EncodeError
	b, err := c.AppendWith(dst, &seating{}, AppendOptions{Spans: &spans})
	if !errors.As(err, &failed) || failed.Field != "First" || string(b) != "x" || len(spans) != 1 {
		t.Errorf("%q, %v, %v", b, spans, err)
	}
}
