package dedup

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func newDeltaPair(t testing.TB, o DeltaOptions) (*DeltaEncoder, *DeltaDecoder) {
	t.Helper()
	e, err := NewDeltaEncoder(o)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDeltaDecoder(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	t.Cleanup(d.Close)
	return e, d
}

// mutate changes a message a little, in the way of edits: bytes replaced, inserted, removed, moved.
func mutate(r *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			return append(b, noise(r.Uint64(), r.IntN(40))...)
		}
		i := r.IntN(len(b))
		n := min(r.IntN(20), len(b)-i)
		switch r.IntN(4) {
		case 0:
			copy(b[i:i+n], noise(r.Uint64(), n))
		case 1:
			b = slices.Insert(b, i, noise(r.Uint64(), n)...)
		case 2:
			b = slices.Delete(b, i, i+n)
		case 3:
			b = append(slices.Clone(b[i:]), b[:i]...)
		}
	}
	return b
}

// cut divides a message into fields at random.
func cut(r *rand.Rand, n, fields int) (out []Field) {
	for range fields - 1 {
		out = append(out, Field{End: r.IntN(n + 1)})
	}
	slices.SortFunc(out, func(a, b Field) int { return a.End - b.End })
	return append(out, Field{End: n})
}

func TestDeltasMakeTheMessage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var d differ
	for i := range 3000 {
		base := noise(uint64(i), r.IntN(600))
		if i%3 == 0 {
			base = config(uint64(i), r.IntN(9000))
		}
		msg := mutate(r, base)
		n := 1 + r.IntN(6)
		ops := d.append(nil, base, cut(r, len(base), n), msg, cut(r, len(msg), n), 1<<20)
		got, err := appendPatched([]byte("before"), base, ops, len(msg))
		if err != nil || !bytes.Equal(got[6:], msg) {
			t.Fatalf("message %d of %d bytes, base of %d: got %d bytes, error %v", i, len(msg), len(base), len(got)-6, err)
		}
	}
}

func TestDeltaOfDashboardsIsSmall(t *testing.T) {
	msgs, fields := dashboards(1000)
	for _, c := range []struct {
		name   string
		fields bool
		most   float64 // part of the bytes
	}{
		{"with fields", true, 0.09},
		{"without fields", false, 0.11},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, d := newDeltaPair(t, DeltaOptions{})
			in, out := 0, 0
			for i, m := range msgs {
				var f []Field
				if c.fields {
					f = fields[i]
				}
				frame := e.Append(nil, m, f)
				got, err := d.Decode(nil, frame, 1<<16)
				if err != nil || !bytes.Equal(got, m) {
					t.Fatalf("message %d: %v", i, err)
				}
				in, out = in+len(m), out+len(frame)
			}
			t.Logf("%d bytes become %d: %.1f %%", in/len(msgs), out/len(msgs), 100*float64(out)/float64(in))
			if part := float64(out) / float64(in); part > c.most {
				t.Errorf("sent %.3f of the bytes, want at most %.3f", part, c.most)
			}
		})
	}
}

func TestWrongBaseIsAChecksumError(t *testing.T) {
	msgs, fields := dashboards(3)
	e, right := newDeltaPair(t, DeltaOptions{})
	_, wrong := newDeltaPair(t, DeltaOptions{})
	_, empty := newDeltaPair(t, DeltaOptions{})
	first := e.Append(nil, msgs[0], fields[0])
	second := e.Append(nil, msgs[1], fields[1])
	if Form(second[0]) != FormDelta {
		t.Fatalf("the second message has form %d, want a delta", second[0])
	}
	other := bytes.Clone(first)
	other[len(other)/2] ^= 1
	for d, frame := range map[*DeltaDecoder][]byte{right: first, wrong: other} {
		if _, err := d.Decode(nil, frame, 1<<16); err != nil {
			t.Fatal(err)
		}
	}
	dst := []byte("before")
	got, err := wrong.Decode(dst, second, 1<<16)
	if !errors.As(err, new(*ChecksumError)) || string(got) != "before" {
		t.Errorf("wrong base: got %q and error %v, want a ChecksumError and nothing", got, err)
	}
	if got, err = empty.Decode(dst, second, 1<<16); !errors.Is(err, ErrNoBase) || string(got) != "before" {
		t.Errorf("no base: got %q and error %v, want ErrNoBase and nothing", got, err)
	}
	if got, err = right.Decode(nil, second, 1<<16); err != nil || !bytes.Equal(got, msgs[1]) {
		t.Errorf("right base: error %v", err)
	}
}

func TestEveryChangedBitOfADeltaIsFound(t *testing.T) {
	msgs, fields := dashboards(2)
	e, _ := newDeltaPair(t, DeltaOptions{})
	first := e.Append(nil, msgs[0], fields[0])
	second := e.Append(nil, msgs[1], fields[1])
	for i := range len(second) * 8 {
		_, d := newDeltaPair(t, DeltaOptions{})
		if _, err := d.Decode(nil, first, 1<<16); err != nil {
			t.Fatal(err)
		}
		b := bytes.Clone(second)
		b[i/8] ^= 1 << (i % 8)
		got, err := d.Decode(nil, b, 1<<16)
		if Form(b[0]) == FormPlain || Form(b[0]) == FormBase {
			continue // a message as it is has no checksum: it needs nothing that both sides must agree on
		}
		if err == nil && !bytes.Equal(got, msgs[1]) {
			t.Fatalf("bit %d changed: accepted a wrong message", i)
		}
	}
	for n := range second {
		_, d := newDeltaPair(t, DeltaOptions{})
		if _, err := d.Decode(nil, first, 1<<16); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Decode(nil, second[:n], 1<<16); err == nil {
			t.Fatalf("accepted the first %d of %d bytes", n, len(second))
		}
	}
}

func TestDeltaPausesWhenMessagesDoNotResembleEachOther(t *testing.T) {
	e, d := newDeltaPair(t, DeltaOptions{})
	var forms []Form
	send := func(m []byte) Form {
		t.Helper()
		frame := e.Append(nil, m, nil)
		if got, err := d.Decode(nil, frame, 1<<16); err != nil || !bytes.Equal(got, m) {
			t.Fatalf("message %d: error %v", len(forms), err)
		}
		return Form(frame[0])
	}
	for i := range 1 + badDeltas + pauseMessages {
		forms = append(forms, send(noise(uint64(i), 500)))
	}
	for i, f := range forms {
		want := FormBase
		if i >= badDeltas {
			want = FormPlain
		}
		if f != want {
			t.Fatalf("message %d has form %d, want %d", i, f, want)
		}
	}
	same := noise(1000, 500)
	for i, want := range []Form{FormBase, FormDelta, FormDelta} {
		if got := send(same); got != want {
			t.Errorf("after the pause, message %d has form %d, want %d", i, got, want)
		}
	}
}

func TestSecretsAreNeverInABase(t *testing.T) {
	e, _ := newDeltaPair(t, DeltaOptions{})
	msg := noise(1, 100)
	secret := []Field{{End: 50}, {End: 100, Secret: true}}
	for i, c := range []struct {
		fields []Field
		want   Form
	}{{nil, FormBase}, {secret, FormPlain}, {nil, FormBase}, {nil, FormDelta}, {secret, FormPlain}, {secret, FormPlain}} {
		if frame := e.Append(nil, msg, c.fields); Form(frame[0]) != c.want {
			t.Errorf("message %d has form %d, want %d", i, frame[0], c.want)
		}
	}
}

func TestLimitsOfBases(t *testing.T) {
	e, d := newDeltaPair(t, DeltaOptions{MaxBaseBytes: 100})
	if frame := e.Append(nil, noise(1, 101), nil); Form(frame[0]) != FormPlain {
		t.Errorf("a message too large for a base has form %d", frame[0])
	}
	limit := (*LimitError)(nil)
	if _, err := d.Decode(nil, append([]byte{byte(FormBase)}, noise(1, 101)...), 1000); !errors.As(err, &limit) || limit.Limit != 100 {
		t.Errorf("a base that is too large: error %v, want a LimitError", err)
	}
	if _, err := d.Decode(nil, append([]byte{byte(FormPlain)}, noise(1, 101)...), 100); !errors.As(err, &limit) {
		t.Errorf("a message that is too large: error %v, want a LimitError", err)
	}
	bomb := appendVarint([]byte{byte(FormDelta)}, 1<<40)
	if _, err := d.Decode(nil, bomb, 1<<50); !errors.As(err, &limit) {
		t.Errorf("a delta that is too large: error %v, want a LimitError", err)
	}
	for _, o := range []DeltaOptions{{MaxBaseBytes: -1}, {MaxBaseBytes: 2 << 20}, {Budgets: make([]*Budget, 5)}} {
		if _, err := NewDeltaEncoder(o); err == nil {
			t.Errorf("an encoder with %+v", o)
		}
		if _, err := NewDeltaDecoder(o); err == nil {
			t.Errorf("a decoder with %+v", o)
		}
	}
}

func TestBasesRespectBudgets(t *testing.T) {
	b := NewBudget(1000)
	e, d := newDeltaPair(t, DeltaOptions{Budgets: []*Budget{b}})
	if frame := e.Append(nil, noise(1, 2000), nil); Form(frame[0]) != FormPlain || b.Used() != 0 {
		t.Errorf("a base above the budget: form %d, %d bytes used", frame[0], b.Used())
	}
	for range 3 { // both have bases; 2 × 500 is too much
		if _, err := d.Decode(nil, e.Append(nil, noise(1, 400), nil), 1000); err != nil && !errors.Is(err, ErrNoBase) {
			t.Fatal(err)
		}
		if b.Used() > 1000 {
			t.Fatalf("%d bytes used of 1000", b.Used())
		}
	}
	e.Close()
	d.Close()
	if b.Used() != 0 {
		t.Errorf("%d bytes used after closing", b.Used())
	}
}
