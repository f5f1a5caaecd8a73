package content

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// dashboardMessage has numbers of which few change.
type dashboardMessage struct {
	Name   string
	Values [50]float64
	Labels []string
}

// BenchmarkMessage compares encoding and decoding with the layer on and off, for messages that a table or the message before
// takes most of: what is saved is reported as bytes of a message.
func BenchmarkMessage(b *testing.B) {
	config := &record{Config: strings.Repeat("0123456789abcdef", 225)}
	dashboard := &dashboardMessage{Name: "plant 7", Labels: strings.Fields("a few labels that never change")}
	for _, on := range []bool{false, true} {
		name := map[bool]string{false: "off", true: "on"}[on]
		b.Run("config/"+name, func(b *testing.B) {
			benchmark(b, on, config, nil, nil, func(i int) { config.ID = uint64(i) })
		})
		b.Run("dashboard/"+name, func(b *testing.B) {
			benchmark(b, on, dashboard, new(Deltas), new(Deltas), func(i int) { dashboard.Values[i%50] = rand.Float64() })
		})
	}
}

func benchmark[T any](b *testing.B, on bool, msg *T, sender, receiver *Deltas, change func(int)) {
	k := kindOf[T](b, KindOptions{})
	near, far := linked(b, 1<<20)
	near.Switch(on)
	near.rate = func() float64 { return 10e6 }
	k.SetCompression(false)
	bytes, got := 0, new(T)
	round := func(i int) {
		change(i)
		o := Out{Kind: k, Link: near, Deltas: sender}
		if err := o.Prepare(msg); err != nil {
			b.Fatal(err)
		}
		buf, err := o.Append(o.Buffer(), msg)
		if err != nil {
			b.Fatal(err)
		}
		defer buf.Release()
		bytes += len(buf.B)
		in := In{Kind: k, Link: far, Deltas: receiver, Limit: 1 << 20}
		if err := in.Decode(k.Schema(), o.Ref.Codec, buf.B, false, got); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 2000 {
		round(i)
	}
	bytes = 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		round(i)
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "bytes/message")
}
