package codecs

import (
	"reflect"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/mycel-rpc/mycel/bench/peers/codecs/codecspb"
)

func messages(t *testing.T) []Message {
	t.Helper()
	ms, err := Messages()
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

// typed returns what a codec has decoded as the Go type of the message, like that of want.
func typed(t *testing.T, v, want any) any {
	t.Helper()
	switch v := v.(type) {
	case map[string]any:
		p, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(want).Elem()).Interface()
		if err := msgpack.Unmarshal(p, got); err != nil {
			t.Fatal(err)
		}
		return got
	case *codecspb.Call:
		return &Call{v.Method, v.Id, v.Key, v.N, v.Ok}
	case *codecspb.Samples:
		return &Samples{v.V}
	case *codecspb.Envelope:
		a := v.Args
		e := &Envelope{v.Type, v.From, v.To, v.Method, v.Session, v.Seq, v.Deadline, Args{a.Name, a.Count, a.Flag, a.Ratio, nil, a.Samples, a.Labels}}
		for _, i := range a.Items {
			e.Args.Items = append(e.Args.Items, Item{i.Id, i.Label, i.X, i.Y, i.Tags})
		}
		return e
	}
	return v
}

func TestEveryCodecReturnsTheValueThatWasEncoded(t *testing.T) {
	values := map[string]any{"call": newCall(), "call-2k": newEnvelope(), "float64x128": newSamples()}
	seen := 0
	for _, m := range messages(t) {
		want := values[m.Name]
		if want == nil {
			continue
		}
		seen++
		for _, c := range m.Codecs {
			for range 2 { // buffers are reused
				p := c.message
				if c.Encodes() {
					var err error
					if p, err = c.encode(); err != nil {
						t.Fatalf("%s in %s: %v", m.Name, c.Name, err)
					}
				}
				if len(p) != c.EncodedBytes() {
					t.Errorf("%s in %s: %d bytes, reported as %d", m.Name, c.Name, len(p), c.EncodedBytes())
				}
				v, err := c.decode(p)
				if err != nil {
					t.Fatalf("%s in %s: %v", m.Name, c.Name, err)
				}
				if got := typed(t, v, want); !reflect.DeepEqual(got, want) {
					t.Errorf("%s in %s: got %+v, want %+v", m.Name, c.Name, got, want)
				}
			}
		}
		encoders := 0
		for _, c := range m.Codecs {
			if c.Encodes() {
				encoders++
			}
		}
		if encoders != 5 || m.Codecs[0].Name != nameMycel {
			t.Errorf("%s has %d encoders, want 5, and %s is the first", m.Name, encoders, m.Codecs[0].Name)
		}
	}
	if seen != len(values) {
		t.Errorf("%d messages, want %d", seen, len(values))
	}
}

func TestReadersOfBothVersionsAgreeOnCommonFields(t *testing.T) {
	for _, m := range messages(t) {
		if m.Name != "evolved" {
			continue
		}
		want := map[string]*Call{nameMycel: newCall(), nameMycelSame: newCall()}
		want[nameMycel].N = 0 // the newer writer has dropped it
		for _, c := range m.Codecs {
			got, err := c.decode(c.message)
			if err != nil || c.Encodes() || !reflect.DeepEqual(got, want[c.Name]) {
				t.Errorf("%s: %+v, error %v, encodes %t; want %+v and no encoder", c.Name, got, err, c.Encodes(), want[c.Name])
			}
		}
		return
	}
	t.Error("there is no such message")
}

// The targets for Mycel are stated for messages of these sizes.
func TestMessagesHaveTheSizesTheyAreDescribedWith(t *testing.T) {
	want := map[string]int{"call": 28, "call-2k": 1996}
	for _, m := range messages(t) {
		if n, ok := want[m.Name]; ok && m.Codecs[0].EncodedBytes() != n {
			t.Errorf("%s takes %d bytes in %s, want %d", m.Name, m.Codecs[0].EncodedBytes(), m.Codecs[0].Name, n)
		}
	}
}

// MessagePack maps of both libraries have the same keys and the same integers.
func TestMessagePackCodecsAgreeOnTheSize(t *testing.T) {
	for _, m := range messages(t) {
		bytes := map[string]int{}
		for _, c := range m.Codecs {
			bytes[c.Name] = c.EncodedBytes()
		}
		if bytes[nameMsgp] != bytes[nameMsgpackMap] {
			t.Errorf("%s: %d bytes in %s, %d in %s", m.Name, bytes[nameMsgp], nameMsgp, bytes[nameMsgpackMap], nameMsgpackMap)
		}
	}
}

func BenchmarkCodecs(b *testing.B) {
	ms, err := Messages()
	if err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, f func() error) {
		b.ReportAllocs()
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, m := range ms {
		for _, c := range m.Codecs {
			if c.Encodes() {
				b.Run(m.Name+"/encode/"+c.Name, func(b *testing.B) { run(b, c.Encode) })
			}
			b.Run(m.Name+"/decode/"+c.Name, func(b *testing.B) { run(b, c.Decode) })
		}
	}
}
