package content

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// batch is what sensors send: a table, and a list of numbers that were decimals.
type batch struct {
	Device   string
	Readings []reading
	Levels   []float64
}

type reading struct {
	At    int64
	Value float64
	Unit  uint16
}

func newBatch(r *rand.Rand) *batch {
	b := &batch{Device: "pump 7"}
	at, level := int64(1_764_000_000_000)+r.Int64N(1e9), 20.0
	for range 100 {
		at += 990 + r.Int64N(20)
		level += float64(r.IntN(21)-10) / 100
		b.Readings = append(b.Readings, reading{at, float64(int(level*100)) / 100, 7})
		b.Levels = append(b.Levels, float64(int(level*1000))/1000)
	}
	return b
}

// TestListsArePacked on a slow path, in unary calls and in streams, once nothing else has been found to be of use; and what
// arrives is the same.
func TestListsArePacked(t *testing.T) {
	for _, d := range []*Deltas{nil, new(Deltas)} {
		k := kindOf[batch](t, KindOptions{})
		near, far := linked(t, 1<<20)
		near.rate = func() float64 { return 1e6 }
		in := In{Kind: k, Link: far, Limit: 1 << 20}
		if d != nil {
			in.Deltas = new(Deltas)
		}
		r := rand.New(rand.NewPCG(1, 2))
		plain, err := k.Append(nil, newBatch(r))
		if err != nil {
			t.Fatal(err)
		}
		total, last := 0, 0
		const messages = 1200
		for i := range messages {
			want := newBatch(r)
			m := send(t, k, near, 0, d, want)
			got := new(batch)
			if err := in.Decode(k.Schema(), m.codec, m.body, false, got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			if i >= messages/2 {
				total += len(m.body)
				last++
			}
		}
		if size := total / last; size > len(plain)*4/10 {
			t.Errorf("streaming %v: batches of %d bytes take %d", d != nil, len(plain), size)
		} else {
			t.Logf("streaming %v: batches of %d bytes take %d", d != nil, len(plain), size)
		}
	}
}
