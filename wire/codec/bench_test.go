package codec

import (
	"fmt"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// Call is a small call: five fields in 28 bytes or less.
type Call struct {
	Method string
	ID     uint64
	Key    string
	N      int64
	OK     bool
}

// Envelope is a typical call of 2 KB.
type (
	Item struct {
		ID    int64
		Label string
		X, Y  float64
		Tags  []string
	}
	Args struct {
		Name    string
		Count   int64
		Flag    bool
		Ratio   float64
		Items   []Item
		Samples []float64
		Labels  map[string]string
	}
	Envelope struct {
		Type, From, To, Method, Session string
		Seq                             uint64
		Deadline                        int64
		Args                            Args
	}
)

func newEnvelope(samples int) *Envelope {
	e := &Envelope{
		Type: "method", From: "tenant-17/client-01", To: "tenant-17/worker-22", Method: "imaging.v1/Segment",
		Session: "b9c1f0de5a7748d1", Seq: 918273645, Deadline: 1767225600123456789,
		Args: Args{
			Name: "plate-0042/well-C07", Count: 70000, Flag: true, Ratio: 0.7312499,
			Labels: map[string]string{
				"region": "eu-north-1", "tenant": "acme", "build": "2026.01.17", "stage": "prod",
				"owner": "imaging", "trace": "on",
			},
		},
	}
	for i := range 16 {
		e.Args.Items = append(e.Args.Items, Item{
			int64(i)*1717 + 3, fmt.Sprintf("object-%03d", i), float64(i) * 1.61803, 100 / (float64(i) + 1.1),
			[]string{"cell", fmt.Sprintf("class-%d", i%4)},
		})
	}
	for i := range samples {
		e.Args.Samples = append(e.Args.Samples, float64(i*i%997)/7.3)
	}
	return e
}

// CallV2 is what a newer writer sends where we know Call: fields in another order, one gone, two added.
type CallV2 struct {
	Key    string
	Method string
	Note   string
	ID     uint64
	OK     bool
	Extra  []string
}

type Samples struct{ V []float64 }

func benchCodec[T any](b *testing.B, v *T) {
	c := codecOf(b, v)
	msg := appendOf(b, v)
	generic, err := c.AppendGeneric(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	run := func(name string, size int, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	buf := make([]byte, 0, 2*len(msg))
	run("encode", len(msg), func() error { _, err := c.Append(buf, v); return err })
	spans := make([]Span, 0, 64)
	run("encode-spans", len(msg), func() error {
		spans = spans[:0]
		_, err := c.AppendWith(buf, v, AppendOptions{Spans: &spans})
		return err
	})
	run("decode", len(msg), func() error { return c.Decode(msg, new(T), Limits{}) })
	reused := new(T)
	run("decode-reused", len(msg), func() error { return c.Decode(msg, reused, Limits{}) })
	run("encode-fxamacker", len(generic), func() error { _, err := cbor.Marshal(v); return err })
	run("decode-fxamacker", len(generic), func() error { return cbor.Unmarshal(generic, new(T)) })
}

func BenchmarkCall(b *testing.B)     { benchCodec(b, &Call{"get", 7, "k/1", 3, true}) }
func BenchmarkEnvelope(b *testing.B) { benchCodec(b, newEnvelope(128)) }
func BenchmarkFloats(b *testing.B)   { benchCodec(b, &Samples{newEnvelope(128).Args.Samples}) }
func BenchmarkFloats64K(b *testing.B) {
	benchCodec(b, &Samples{newEnvelope(65536).Args.Samples})
}

// BenchmarkReader compares a message of the same schema with one of an evolved writer.
func BenchmarkReader(b *testing.B) {
	c := codecOf(b, &Call{})
	for name, v := range map[string]any{
		"same":    &Call{"get", 7, "k/1", 3, true},
		"evolved": &CallV2{"k/1", "get", "a note", 7, true, []string{"x", "y"}},
	} {
		msg := appendOf(b, v)
		r, err := c.Reader(codecOf(b, v).Schema())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Decode(msg, new(Call), Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
