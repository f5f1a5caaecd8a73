package dedup

import (
	"bytes"
	"errors"
	"hash/maphash"
	"slices"
	"testing"
)

// A pair is both sides of a table.
type pair struct {
	t   testing.TB
	enc *Encoder
	dec *Decoder
}

func newPair(t testing.TB, o Options) *pair {
	t.Helper()
	enc, err := NewEncoder(o)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := NewDecoder(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		checkEncoder(t, enc)
		checkDecoder(t, dec)
		enc.Close()
		dec.Close()
		checkEncoder(t, enc)
		checkDecoder(t, dec)
	})
	return &pair{t, enc, dec}
}

// notices carries all notices there and back, and reports whether messages should be decoded again.
func (p *pair) notices() (changed bool) {
	p.t.Helper()
	for {
		down := p.enc.AppendNotices(nil, 2<<20)
		up := p.dec.AppendNotices(nil, 64)
		if len(down) > 0 {
			c, err := p.dec.Handle(down)
			if err != nil {
				p.t.Fatal(err)
			}
			changed = changed || c
		}
		if len(up) > 0 {
			if err := p.enc.Handle(up); err != nil {
				p.t.Fatal(err)
			}
		}
		if len(down)+len(up) == 0 {
			return changed
		}
	}
}

// kinds lists the kinds of the pieces of a frame, nil if it is plain.
func kinds(t testing.TB, frame []byte) (list []pieceKind) {
	t.Helper()
	h, n, err := ParseHead(frame)
	if err != nil {
		t.Fatal(err)
	}
	if h.Form == FormPlain {
		return nil
	}
	o, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := reader{b: frame[n:], what: "message"}
	r.varint()
	r.checksum()
	for len(r.b) > 0 {
		list = append(list, r.piece(&o).kind)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	return list
}

// send encodes a message and checks of what kinds its pieces are.
func (p *pair) send(msg []byte, fields []Field, want ...pieceKind) []byte {
	p.t.Helper()
	frame := p.enc.Append(nil, msg, fields)
	if got := kinds(p.t, frame); !slices.Equal(got, want) {
		p.t.Fatalf("message has pieces %v, want %v", got, want)
	}
	return frame
}

// receive decodes a frame and checks that it is the message.
func (p *pair) receive(frame, msg []byte) {
	p.t.Helper()
	got, err := p.dec.Decode([]byte("before"), frame, 1<<20)
	if err != nil {
		p.t.Fatal(err)
	}
	if string(got[:6]) != "before" || !bytes.Equal(got[6:], msg) {
		p.t.Fatal("got another message")
	}
}

const (
	lit = pieceLiteral
	ref = pieceReference
	ins = pieceInsert
	dlt = pieceDelta
)

func TestFieldsAreInsertedOnSecondSightAndReferredToOnceAcknowledged(t *testing.T) {
	p := newPair(t, Options{})
	msg, fields := withHead(1, config(1, 1000))
	p.receive(p.send(msg, fields), msg)
	p.receive(p.send(msg, fields, lit, ins), msg)
	p.receive(p.send(msg, fields), msg) // no acknowledgement yet
	p.notices()
	p.receive(p.send(msg, fields, lit, ref), msg)
	if s := p.enc.Stats(); s.Inserts != 1 || s.References != 1 || s.SavedBytes == 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestFieldsMayBeReferredToInTheMessageThatInsertsThem(t *testing.T) {
	p := newPair(t, Options{})
	body := config(1, 300)
	msg := bytes.Repeat(body, 4)
	fields := []Field{{End: 300}, {End: 600}, {End: 900}, {End: 1200}}
	frame := p.send(msg, fields, lit, ins, ref, ref)
	p.receive(frame, msg)
	p.notices()
	p.receive(p.send(msg, fields, ref, ref, ref, ref), msg)
	p.enc.shrink() // references in the first message are not counted: the entry leaves at once
	p.notices()
	if s := p.dec.Stats(); s.Draining != 0 || s.Bytes != 0 {
		t.Errorf("after the eviction: %+v", s)
	}
	p.receive(frame, msg) // late: it finds its own insert, which is not stored any more
	if s := p.dec.Stats(); s.Bytes != 0 {
		t.Errorf("an insert was stored after its eviction: %+v", s)
	}
}

func TestSmallLargeAndSecretFieldsStayLiterals(t *testing.T) {
	p := newPair(t, Options{MinBodyBytes: 256, MaxBodyBytes: 1000})
	for _, c := range []struct {
		name  string
		field Field
	}{{"small", Field{End: 255}}, {"large", Field{End: 1001}}, {"secret", Field{End: 500, Secret: true}}, {"secret and alike", Field{End: 500, Secret: true, Like: 1}}} {
		msg := config(3, c.field.End)
		for range 4 {
			p.receive(p.send(msg, []Field{c.field}), msg)
			p.notices()
		}
	}
}

func TestEvictedBodiesWaitForReferencesUnderWay(t *testing.T) {
	p := newPair(t, Options{Slots: 1})
	a, b := config(1, 400), config(2, 400)
	p.receive(p.send(a, nil), a)
	p.receive(p.send(a, nil, ins), a)
	p.notices()
	late := [][]byte{p.send(a, nil, ref), p.send(a, nil, ref)}
	for range quietTurns + 2 {
		p.receive(p.send(noise(1, 10), nil), noise(1, 10))
	}
	p.receive(p.send(b, nil), b)
	p.receive(p.send(b, nil, ins), b) // in the same slot
	p.notices()
	p.receive(p.send(b, nil, ref), b)
	if s := p.dec.Stats(); s.Draining != 1 {
		t.Fatalf("before the late references: %+v", s)
	}
	for _, frame := range late {
		p.receive(frame, a)
	}
	if s := p.dec.Stats(); s.Draining != 0 || s.Misses != 0 {
		t.Errorf("after the late references: %+v", s)
	}
}

func TestFieldsWithTheSameHashAreNotTheSame(t *testing.T) {
	p := newPair(t, Options{})
	a, b := config(1, 400), config(2, 400)
	p.receive(p.send(a, nil), a)
	p.receive(p.send(a, nil, ins), a)
	p.notices()
	hash := maphash.Bytes(p.enc.seed, b)
	p.enc.mu.index[hash] = 1
	for range 3 {
		p.receive(p.send(b, nil), b)
	}
	delete(p.enc.mu.index, hash)
	p.receive(p.send(a, nil, ref), a)
}

func TestUsedSlotsAreNotEvicted(t *testing.T) {
	p := newPair(t, Options{Slots: 1})
	a, b := config(1, 400), config(2, 400)
	p.receive(p.send(a, nil), a)
	p.receive(p.send(a, nil, ins), a)
	p.notices()
	p.receive(p.send(b, nil), b)
	for range 100 {
		p.receive(p.send(b, nil), b)
		p.receive(p.send(a, nil, ref), a)
	}
}

func TestForgottenBodiesAreAskedFor(t *testing.T) {
	p := newPair(t, Options{})
	body := config(1, 400)
	p.receive(p.send(body, nil), body)
	p.receive(p.send(body, nil, ins), body)
	p.notices()
	p.dec.shrink()
	frame := p.send(body, nil, ref)
	miss := (*MissError)(nil)
	for range 2 { // asked once only
		if got, err := p.dec.Decode(nil, frame, 1<<16); !errors.As(err, &miss) || miss.Lost || got != nil {
			t.Fatalf("got %d bytes and error %v, want a MissError that can be waited for", len(got), err)
		}
	}
	if !p.notices() {
		t.Fatal("no answer")
	}
	p.receive(frame, body)
	if s := p.enc.Stats(); s.Needs != 1 {
		t.Errorf("asked %d times", s.Needs)
	}

	p.dec.shrink()
	frame = p.send(body, nil, ref)
	p.enc.shrink() // now nobody has it
	if _, err := p.dec.Decode(nil, frame, 1<<16); !errors.As(err, &miss) || miss.Lost {
		t.Fatalf("error %v, want a MissError that can be waited for", err)
	}
	if !p.notices() {
		t.Fatal("no answer")
	}
	if _, err := p.dec.Decode(nil, frame, 1<<16); !errors.As(err, &miss) || !miss.Lost {
		t.Fatalf("error %v, want a MissError that says the body is lost", err)
	}
}

func TestNeedsAreBounded(t *testing.T) {
	p := newPair(t, Options{})
	miss := (*MissError)(nil)
	for i := range uint64(MaxNeeds + 1) {
		frame := appendSize(appendHead(nil, Head{Form: FormPieces}), nil)
		frame = appendPiece(frame, piece{kind: ref, name: name{i + 1, 1}})
		if _, err := p.dec.Decode(nil, frame, 1<<16); !errors.As(err, &miss) || miss.Lost != (i == MaxNeeds) {
			t.Fatalf("miss %d: error %v", i, err)
		}
	}
	flood := appendHead(nil, Head{Form: FormReceivers})
	for i := range uint64(MaxNeeds + 1) {
		flood = appendNotice(flood, notice{kind: noticeNeed, name: name{i + 1, 1}})
		flood = appendNotice(flood, notice{kind: noticeNeed, name: name{1, 1}}) // again: counts once
	}
	if err := p.enc.Handle(flood); !errors.As(err, new(*LimitError)) {
		t.Errorf("too many needs at once: error %v, want a LimitError", err)
	}
}

func TestFieldsThatResembleEachOtherAreSentAsDifferences(t *testing.T) {
	p := newPair(t, Options{})
	body := config(1, 1000)
	like := []Field{{End: 1000, Like: 5}}
	p.receive(p.send(body, like, ins), body)
	p.notices()
	for i := range 50 {
		body[i*20]++
		if i < 10 {
			p.receive(p.send(body, like, dlt), body)
		}
	}
	other := config(2, 1000)
	p.receive(p.send(other, like, ins), other) // too different: the base is replaced
	p.notices()
	other[500]++
	p.receive(p.send(other, like, dlt), other)
	for i := range 20 { // nothing resembles anything: it stops trying
		p.enc.Append(nil, noise(uint64(i), 1000), like)
	}
	if s := p.enc.Stats(); s.Inserts > 4 {
		t.Errorf("%d inserts for fields that are all different", s.Inserts)
	}
}

func TestWrongBodyInASlotIsAChecksumError(t *testing.T) {
	p := newPair(t, Options{})
	body := config(1, 400)
	p.send(body, nil)
	frame := p.send(body, nil, ins)
	other := config(2, 400) // what a peer at fault says is in the slot
	wrong := appendSize(appendHead(nil, Head{Form: FormPieces}), other)
	wrong = appendPiece(wrong, piece{kind: ins, name: name{1, 1}, body: other})
	p.receive(wrong, other)
	p.receive(frame, body) // keeps the first
	p.notices()
	frame = p.send(body, nil, ref)
	got, err := p.dec.Decode([]byte("before"), frame, 1<<16)
	if !errors.As(err, new(*ChecksumError)) || string(got) != "before" {
		t.Errorf("got %d bytes, error %v, want a ChecksumError and nothing", len(got), err)
	}
}

func TestTablesRefuseFramesOfAnotherScope(t *testing.T) {
	p := newPair(t, Options{Scope: 5})
	body := config(1, 400)
	p.send(body, nil)
	frame := p.send(body, nil, ins)
	if h, _, err := ParseHead(frame); err != nil || h.Scope != 5 {
		t.Fatalf("head %+v, error %v", h, err)
	}
	other := newPair(t, Options{Scope: 6})
	if _, err := other.dec.Decode(nil, frame, 1<<16); !errors.As(err, new(*FormatError)) {
		t.Errorf("a message of another scope: error %v", err)
	}
	if _, err := other.dec.Handle(appendHead(nil, Head{FormSenders, 5})); !errors.As(err, new(*FormatError)) {
		t.Errorf("notices of another scope: error %v", err)
	}
	if err := other.enc.Handle(appendHead(nil, Head{FormReceivers, 5})); !errors.As(err, new(*FormatError)) {
		t.Errorf("notices of another scope: error %v", err)
	}
	if err := other.enc.Handle(appendHead(nil, Head{FormSenders, 6})); !errors.As(err, new(*FormatError)) {
		t.Errorf("notices for the other side: error %v", err)
	}
}

func TestDecoderRefuses(t *testing.T) {
	body := config(1, 400)
	message := func(length uint64, pieces ...piece) []byte {
		b := appendVarint(appendHead(nil, Head{Form: FormPieces}), length)
		b = append(b, 0, 0, 0, 0)
		for _, p := range pieces {
			b = appendPiece(b, p)
		}
		return b
	}
	one := piece{kind: lit, body: []byte("x")}
	for _, c := range []struct {
		name  string
		frame []byte
		want  any
	}{
		{"nothing", nil, new(*FormatError)},
		{"an unknown form", []byte{9}, new(*FormatError)},
		{"the form of another decoder", []byte{byte(FormDelta)}, new(*FormatError)},
		{"an end inside the length", []byte{byte(FormPieces), 0, 0x80}, new(*FormatError)},
		{"an integer that is too long", []byte{byte(FormPieces), 0x40, 0x01}, new(*FormatError)},
		{"a length above the limit", message(1<<20 + 1), new(*LimitError)},
		{"a plain message above the limit", append([]byte{0}, make([]byte, 1<<20+1)...), new(*LimitError)},
		{"fewer bytes than it says", message(2, one), new(*FormatError)},
		{"more bytes than it says", message(1, one, one), new(*FormatError)},
		{"an empty literal", message(0, piece{kind: lit}), new(*FormatError)},
		{"too many pieces", message(MaxPieces+1, slices.Repeat([]piece{one}, MaxPieces+1)...), new(*LimitError)},
		{"slot zero", message(400, piece{kind: ins, name: name{0, 1}, body: body}), new(*FormatError)},
		{"generation zero", message(400, piece{kind: ins, name: name{1, 0}, body: body}), new(*FormatError)},
		{"a slot that is not there", message(400, piece{kind: ins, name: name{1025, 1}, body: body}), new(*LimitError)},
		{"a body above the limit", message(65537, piece{kind: ins, name: name{1, 1}, body: make([]byte, 65537)}), new(*LimitError)},
		{"another checksum", message(1, one), new(*ChecksumError)},
		{"a delta that makes too much", message(403,
			piece{kind: ins, name: name{1, 1}, body: body}, piece{kind: dlt, name: name{1, 1}, length: 3, body: []byte{0, 8}}), new(*FormatError)},
		{"a delta that copies from outside", message(403,
			piece{kind: ins, name: name{1, 1}, body: body}, piece{kind: dlt, name: name{1, 1}, length: 3, body: []byte{0, 7, 1}}), new(*FormatError)},
		{"a delta with an empty copy", message(403,
			piece{kind: ins, name: name{1, 1}, body: body}, piece{kind: dlt, name: name{1, 1}, length: 3, body: []byte{0, 0}}), new(*FormatError)},
		{"a delta that goes on", message(403,
			piece{kind: ins, name: name{1, 1}, body: body}, piece{kind: dlt, name: name{1, 1}, length: 3, body: []byte{0, 6, 0}}), new(*FormatError)},
	} {
		p := newPair(t, Options{})
		got, err := p.dec.Decode([]byte("before"), c.frame, 1<<20)
		if !errors.As(err, c.want) || string(got) != "before" {
			t.Errorf("%s: got %d bytes, error %v, want a %T and nothing", c.name, len(got), err, c.want)
		}
		if s := p.dec.Stats(); s.Bytes != 0 {
			t.Errorf("%s: keeps %d bytes", c.name, s.Bytes)
		}
	}
}

func TestDecoderIsBoundedWhateverThePeerInserts(t *testing.T) {
	p := newPair(t, Options{Slots: 8, Bytes: 4 << 10})
	for i := range uint64(1000) {
		body := noise(i, 32+int(i*37%2000))
		frame := appendSize(appendHead(nil, Head{Form: FormPieces}), body)
		frame = appendPiece(frame, piece{kind: ins, name: name{1 + i%8, 1 + i}, body: body})
		p.receive(frame, body)
		checkDecoder(t, p.dec)
	}
	if s := p.dec.Stats(); s.Dropped == 0 {
		t.Errorf("nothing was dropped: %+v", s)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{Slots: -1}, {Slots: MaxSlots + 1}, {Bytes: 100}, {MinBodyBytes: 8}, {MaxBodyBytes: 2 << 20}, {Scope: 1 << 62}, {Budgets: make([]*Budget, 5)},
	} {
		if _, err := NewEncoder(o); err == nil {
			t.Errorf("an encoder with %+v", o)
		}
		if _, err := NewDecoder(o); err == nil {
			t.Errorf("a decoder with %+v", o)
		}
	}
}
