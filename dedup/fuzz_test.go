package dedup

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// isOurs reports whether an error is one that the documentation announces.
func isOurs(err error) bool {
	return errors.As(err, new(*FormatError)) || errors.As(err, new(*LimitError)) || errors.As(err, new(*ChecksumError)) ||
		errors.As(err, new(*MissError)) || errors.Is(err, ErrNoBase)
}

func seed(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.bytes)
	}
}

func FuzzHead(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ParseHead(b)
		if err != nil {
			if !errors.As(err, new(*FormatError)) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if again := appendHead(nil, h); !bytes.Equal(again, b[:n]) {
			t.Fatalf("accepted %x, encodes as %x", b[:n], again)
		}
	})
}

// FuzzPieces checks that a message which a decoder accepts is within its limit, is the same when decoded again, and has
// one encoding of its pieces.
func FuzzPieces(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := sampleDecoder(t)
		const limit = 200
		got, err := d.Decode(nil, b, limit)
		checkDecoder(t, d)
		if err != nil {
			if !isOurs(err) || got != nil {
				t.Fatalf("got %d bytes and error %v", len(got), err)
			}
			return
		}
		if len(got) > limit {
			t.Fatalf("got %d bytes, the limit is %d", len(got), limit)
		}
		if again, err := d.Decode(nil, b, limit); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("the second time: %x, error %v", again, err)
		}
		h, n, _ := ParseHead(b)
		if h.Form != FormPieces {
			return
		}
		again := appendSize(appendHead(nil, h), got)
		r := reader{b: b[len(again):]}
		for len(r.b) > 0 && len(again) >= n {
			again = appendPiece(again, r.piece(&d.opts))
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("accepted %x, encodes as %x", b, again)
		}
	})
}

// FuzzNotices gives a block to both sides of a table: each accepts only its own, keeps its invariants and its bounds.
func FuzzNotices(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := sampleDecoder(t)
		e, err := NewEncoder(Options{Scope: 300, Slots: 128, Bytes: 8 << 10, MaxBodyBytes: 1000})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		body := config(1, 300)
		for range 2 {
			e.Append(nil, body, nil)
		}
		_, errD := d.Handle(b)
		errE := e.Handle(b)
		if errD == nil && errE == nil || errD != nil && !isOurs(errD) || errE != nil && !isOurs(errE) {
			t.Fatalf("decoder: %v, encoder: %v", errD, errE)
		}
		checkDecoder(t, d)
		checkEncoder(t, e)
		answers := 0
		for out := e.AppendNotices(nil, 2000); len(out) > 0; out = e.AppendNotices(nil, 2000) {
			if answers += len(out); answers > MaxNeeds*310 {
				t.Fatalf("%d bytes of answers to %d bytes", answers, len(b))
			}
		}
	})
}

// FuzzDelta gives operations to a base: what comes out is as long as it says, or nothing is.
func FuzzDelta(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.bytes, []byte(sampleBody))
	}
	f.Fuzz(func(t *testing.T, b, base []byte) {
		_, d := newDeltaPair(t, DeltaOptions{MaxBaseBytes: 100})
		if _, err := d.Decode(nil, append([]byte{byte(FormBase)}, base...), 1000); err != nil {
			return
		}
		got, err := d.Decode([]byte("before"), b, 150)
		if err != nil && (!isOurs(err) || string(got) != "before") || len(got) > 156 {
			t.Fatalf("got %q, error %v", got, err)
		}
		if err == nil && d.base.kept && string(got[6:]) != string(d.base.bytes) {
			t.Fatalf("base %q is not the message %q", d.base.bytes, got[6:])
		}
	})
}

// FuzzDiff makes operations for any two messages, with any fields, and applies them.
func FuzzDiff(f *testing.F) {
	f.Add([]byte(sampleBody), []byte("a body which both sides remember, and long enough for copies of its part."), uint64(1))
	f.Add(config(1, 500), config(2, 500), uint64(4))
	f.Fuzz(func(t *testing.T, base, msg []byte, cuts uint64) {
		r := rand.New(rand.NewPCG(cuts, 1))
		n := 1 + int(cuts%5)
		var d differ
		ops := d.append(nil, base, cut(r, len(base), n), msg, cut(r, len(msg), n), 1<<30)
		got, err := appendPatched(nil, base, ops, len(msg))
		if err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("got %x, error %v", got, err)
		}
	})
}

// FuzzTable runs bytes as a program: messages are sent, lost, delivered twice, late or never, notices carried at any
// time, memory taken away. No message is ever decoded to anything but itself.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 3, 3, 0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte("00112233445566778899 and some more steps of the program"))
	f.Fuzz(func(t *testing.T, program []byte) {
		p := newPair(t, Options{Slots: 3, Bytes: 4 << 10, MinBodyBytes: 64})
		type message struct{ frame, want []byte }
		var flying []message
		for _, step := range program[:min(len(program), 500)] {
			arg := int(step >> 3)
			switch step & 7 {
			case 0, 1, 2:
				msg, fields := withHead(uint64(arg), config(uint64(arg%8), 64+8*arg))
				fields[1].Like = uint64(arg & 3)
				flying = append(flying, message{p.enc.Append(nil, msg, fields), msg})
			case 3, 4:
				if len(flying) == 0 {
					continue
				}
				i := arg % len(flying)
				got, err := p.dec.Decode(nil, flying[i].frame, 1<<16)
				if err != nil && !errors.As(err, new(*MissError)) {
					t.Fatal(err)
				}
				if err == nil && !bytes.Equal(got, flying[i].want) {
					t.Fatal("wrong message")
				}
				if arg&1 == 0 {
					flying = append(flying[:i], flying[i+1:]...)
				}
			case 5:
				p.notices()
			case 6:
				if b := p.dec.AppendNotices(nil, 64); len(b) > 0 && arg&1 == 0 {
					if err := p.enc.Handle(b); err != nil {
						t.Fatal(err)
					}
				}
			case 7:
				if arg&1 == 0 {
					p.dec.shrink()
				} else {
					p.enc.shrink()
				}
			}
			checkEncoder(t, p.enc)
			checkDecoder(t, p.dec)
		}
	})
}
