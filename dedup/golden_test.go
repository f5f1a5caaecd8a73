package dedup

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden vectors anew: a change of the protocol")

// A sample is a frame or a block of notices, and what it means.
type sample struct {
	name  string
	bytes []byte
	means string
}

const sampleBody = "a body that both sides remember, and long enough for copies of its parts!"

// samples are one of each thing that this package sends. Where a table is needed, it is that of sampleDecoder.
func samples() (list []sample) {
	message := func(name, msg string, pieces ...piece) {
		b := appendSize(appendHead(nil, Head{FormPieces, 300}), []byte(msg))
		for _, p := range pieces {
			b = appendPiece(b, p)
		}
		list = append(list, sample{name, b, fmt.Sprintf("%q", msg)})
	}
	notices := func(title string, form Form, notices ...notice) {
		b := appendHead(nil, Head{form, 300})
		for _, n := range notices {
			b = appendNotice(b, n)
		}
		list = append(list, sample{title, b, fmt.Sprintf("%+v", notices)})
	}
	const body = sampleBody
	list = append(list,
		sample{"plain message", []byte("\x00abc"), `"abc"`},
		sample{"empty plain message", []byte("\x00"), `""`},
		sample{"base", []byte("\x02" + body), fmt.Sprintf("%q", body)})

	message("insert", "head"+body, piece{kind: lit, body: []byte("head")}, piece{kind: ins, name: name{70, 1}, body: []byte(body)})
	message("insert and reference", body+body, piece{kind: ins, name: name{70, 1}, body: []byte(body)}, piece{kind: ref, name: name{70, 1}})
	message("reference", "HEAD"+body, piece{kind: lit, body: []byte("HEAD")}, piece{kind: ref, name: name{1, 64}})

	const edited = "a body which both sides remember, and long enough for copies of its part."
	var d differ
	ops := d.append(nil, []byte(body), nil, []byte(edited), nil, 100)
	message("difference from a slot", edited, piece{kind: dlt, name: name{1, 64}, length: len(edited), body: ops})
	delta := append(appendSize(appendHead(nil, Head{Form: FormDelta}), []byte(edited)), ops...)
	list = append(list, sample{"difference from the previous message", delta, fmt.Sprintf("%q", edited)})

	notices("notices of a sender", FormSenders, notice{kind: noticeFill, name: name{3, 2}, body: []byte(body)},
		notice{kind: noticeGone, name: name{4, 1}}, notice{kind: noticeEvict, name: name{1, 64}, refs: 1000})
	notices("notices of a receiver", FormReceivers, notice{kind: noticeAck, name: name{70, 1}}, notice{kind: noticeNeed, name: name{3, 2}})
	return list
}

// sampleDecoder has the body of the samples in generation 64 of slot 1.
func sampleDecoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := NewDecoder(Options{Scope: 300, Slots: 128, Bytes: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	b := []byte(sampleBody)
	frame := appendPiece(appendSize(appendHead(nil, Head{FormPieces, 300}), b), piece{kind: ins, name: name{1, 64}, body: b})
	if _, err := d.Decode(nil, frame, 1000); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestGoldenVectors compares the bytes of every sample with testdata/golden.txt, and reads the messages among them.
func TestGoldenVectors(t *testing.T) {
	text := "# A change in this file is a change of the protocol. Written by: go test -run Golden -update\n"
	for _, s := range samples() {
		text += fmt.Sprintf("\n[%s]\nbytes  %x\nmeans  %s\n", s.name, s.bytes, s.means)
		h, _, err := ParseHead(s.bytes)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		var got []byte
		switch h.Form {
		case FormPlain, FormPieces:
			got, err = sampleDecoder(t).Decode(nil, s.bytes, 1000)
		case FormBase, FormDelta:
			_, d := newDeltaPair(t, DeltaOptions{})
			if _, err := d.Decode(nil, []byte("\x02"+sampleBody), 1000); err != nil {
				t.Fatal(err)
			}
			got, err = d.Decode(nil, s.bytes, 1000)
		default:
			continue
		}
		if err != nil || fmt.Sprintf("%q", got) != s.means {
			t.Errorf("%s: got %q, error %v", s.name, got, err)
		}
	}
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the samples differ from %s; they are now:\n%s", path, text)
	}
}
