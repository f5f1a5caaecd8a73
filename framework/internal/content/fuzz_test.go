package content

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/wire/compress"
)

// FuzzDecode gives the decoder bodies of every codec, in unary and in streaming calls: it never panics, never returns more
// than the limit, and what it refuses leaves the link usable.
func FuzzDecode(f *testing.F) {
	k := kindOf[record](f, KindOptions{})
	near, far := linked(f, 64<<10)
	near.rate = func() float64 { return 1e6 }
	msg := &record{ID: 7, Config: strings.Repeat("log line, ", 200), Note: "x"}
	for i := range 600 { // the size becomes known, every codec is tried, and the body comes from a slot
		m := send(f, k, near, 0, nil, msg)
		if i%50 == 0 {
			f.Add(m.codec, m.body, false)
		}
		if err := (&In{Kind: k, Link: far, Limit: 1 << 20}).Decode(k.Schema(), m.codec, m.body, false, new(record)); err != nil {
			f.Fatal(err)
		}
	}
	d := new(Deltas)
	for range 4 {
		m := send(f, k, near, 0, d, msg)
		f.Add(m.codec, m.body, true)
	}
	const limit = 4000
	f.Fuzz(func(t *testing.T, codec uint8, body []byte, streaming bool) {
		in := In{Kind: k, Link: far, Limit: limit}
		if streaming {
			in.Deltas = new(Deltas)
		}
		if plain, err := in.plain(codec, body); err == nil && codec != 0 {
			if len(plain.B) > limit {
				t.Errorf("a message of %d bytes where %d are allowed", len(plain.B), limit)
			}
			plain.Release()
		}
		_ = in.Decode(k.Schema(), codec, body, false, new(record))
		m := send(t, k, near, 0, nil, msg)
		if err := (&In{Kind: k, Link: far, Limit: 1 << 20}).Decode(k.Schema(), m.codec, m.body, false, new(record)); err != nil {
			if _, lost := errors.AsType[*LostError](err); !lost {
				t.Errorf("an ordinary message after that: %v", err)
			}
		}
	})
}

// TestForgedFrames are refused with an error that says why.
func TestForgedFrames(t *testing.T) {
	k := kindOf[record](t, KindOptions{})
	_, far := linked(t, 64<<10)
	base := func(n int) []byte { return append([]byte{byte(dedup.FormBase)}, make([]byte, n)...) }
	for _, c := range []struct {
		name      string
		codec     uint8
		body      []byte
		streaming bool
		tooLarge  bool
	}{
		{"an unknown codec", 63, []byte{1, 2}, false, false},
		{"an empty frame", codecDedup, nil, false, false},
		{"a frame of no form", codecDedup, []byte{9}, false, false},
		{"a difference in a unary call", codecDedup, []byte{3, 10, 1, 2, 3, 4, 0}, false, false},
		{"a base in a unary call", codecDedup, base(10), false, false},
		{"a difference without a base", codecDedup, []byte{3, 10, 1, 2, 3, 4, 0}, true, false},
		{"pieces in a stream", codecDedup, []byte{1, 0, 0, 0, 0, 0, 0}, true, false},
		{"a reference to a slot that was never filled", codecDedup, []byte{1, 0, 1, 0, 0, 0, 0, 1<<2 | 1, 1}, false, false},
		{"a base above the limit", codecDedup, base(2000), true, true},
		{"a bomb", uint8(compress.S2), []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, false, true},
		{"a compressed frame that is a bomb", codecDedup | uint8(compress.S2), []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}, false, true},
		{"pieces above the limit", codecDedup, []byte{1, 0, 0x7f, 0xff, 0, 0, 0, 0, 1<<2 | 1, 1}, false, true},
	} {
		in := In{Kind: k, Link: far, Limit: 1000}
		if c.streaming {
			in.Deltas = new(Deltas)
		}
		err := in.Decode(k.Schema(), c.codec, c.body, false, new(record))
		_, tooLarge := errors.AsType[*SizeError](err)
		if err == nil || tooLarge != c.tooLarge || !strings.HasPrefix(err.Error(), k.Name()) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	in := In{Kind: k, Link: far, Limit: 1 << 20, Deltas: new(Deltas)}
	if err := in.Decode(k.Schema(), codecDedup, base(maxBase+1), false, new(record)); err == nil {
		t.Error("a base above maxBase was accepted")
	}
}

// TestSecretsAreNotRemembered, nor what is next to them compressed.
func TestSecretsAreNotRemembered(t *testing.T) {
	type login struct {
		Config   string
		Password string `cbor:",secret"`
		Session  string `cbor:",nodedup"`
	}
	k := kindOf[login](t, KindOptions{})
	near, far := linked(t, 64<<10)
	near.rate = func() float64 { return 1e6 }
	msg := &login{strings.Repeat("config ", 100), strings.Repeat("hunter2 ", 100), strings.Repeat("session ", 100)}
	var m sent
	for i := 0; i == 0 || i < 10_000 && strings.Contains(string(m.body), msg.Config); i++ { // until the answer has come
		m = send(t, k, near, 0, nil, msg)
		if err := (&In{Kind: k, Link: far, Limit: 1 << 20}).Decode(k.Schema(), m.codec, m.body, false, new(login)); err != nil {
			t.Fatal(err)
		}
	}
	s := string(m.body)
	if strings.Contains(s, msg.Config) || !strings.Contains(s, msg.Password) || !strings.Contains(s, msg.Session) {
		t.Errorf("codec %d: %q", m.codec, s)
	}
	d := new(Deltas)
	for range 10 {
		if m = send(t, k, near, 0, d, msg); !strings.Contains(string(m.body), msg.Password) {
			t.Error("a secret was sent as a difference")
		}
	}
}

// TestLargeBodiesTravelInBlocks, and arrive as they were.
func TestLargeBodiesTravelInBlocks(t *testing.T) {
	k := kindOf[record](t, KindOptions{})
	near, far := linked(t, 0)
	near.rate = func() float64 { return 1e6 }
	var text strings.Builder
	for i := 0; text.Len() < 1<<20; i++ {
		fmt.Fprintf(&text, "2026-11-24T20:00:%02d.%03dZ level=info msg=\"request served\" took=%dus\n", i%60, i%1000, i*7919%10007)
	}
	msg := &record{Config: text.String()}
	var m sent
	for range 4 { // the size becomes known, and a codec is chosen
		m = send(t, k, near, 0, nil, msg)
	}
	if m.codec != uint8(compress.Blocks) || len(m.body) > len(msg.Config)/2 {
		t.Errorf("codec %d, %d bytes", m.codec, len(m.body))
	}
	var got record
	if err := (&In{Kind: k, Link: far, Limit: 2 << 20}).Decode(k.Schema(), m.codec, m.body, false, &got); err != nil || got != *msg {
		t.Error(err)
	}
	err := (&In{Kind: k, Link: far, Limit: 1 << 20}).Decode(k.Schema(), m.codec, m.body, false, &got)
	if _, tooLarge := errors.AsType[*SizeError](err); !tooLarge {
		t.Errorf("a body above the limit: %v", err)
	}
}
