package dedup

import (
	"testing"
)

// benchPair is a table with 20 configurations of about 3.6 KB in slots.
func benchPair(tb testing.TB) (p *pair, hits, misses [][]byte, fields []Field) {
	p = newPair(tb, Options{})
	for i := range uint64(20) {
		msg, f := withHead(i, config(i, 3600))
		for range 2 {
			p.receive(p.enc.Append(nil, msg, f), msg)
		}
		p.notices()
		hits, fields = append(hits, msg), f
	}
	for i := range uint64(4096) { // more than are remembered as seen once
		miss, _ := withHead(i, noise(i, 3600))
		misses = append(misses, miss)
	}
	return p, hits, misses, fields
}

func BenchmarkEncode(b *testing.B) {
	p, hits, misses, fields := benchPair(b)
	buf := make([]byte, 0, 8<<10)
	b.Run("hit/3.6KB", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(hits[0])))
		for i := 0; b.Loop(); i++ {
			buf = p.enc.Append(buf[:0], hits[i%len(hits)], fields)
		}
		b.ReportMetric(float64(len(buf)), "B/frame")
	})
	b.Run("miss/3.6KB", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(misses[0])))
		for i := 0; b.Loop(); i++ {
			misses[i%len(misses)][1000+i%1000]++ // never the same again
			buf = p.enc.Append(buf[:0], misses[i%len(misses)], fields)
		}
		b.ReportMetric(float64(len(buf)), "B/frame")
	})
}

func BenchmarkDecode(b *testing.B) {
	p, hits, misses, fields := benchPair(b)
	buf := make([]byte, 0, 8<<10)
	for _, c := range []struct {
		name string
		msg  []byte
	}{{"hit/3.6KB", hits[0]}, {"plain/3.6KB", misses[0]}} {
		frame := p.enc.Append(nil, c.msg, fields)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.msg)))
			var err error
			for b.Loop() {
				if buf, err = p.dec.Decode(buf[:0], frame, 1<<16); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDelta(b *testing.B) {
	msgs, fields := dashboards(1000)
	without := make([][]Field, len(msgs))
	buf := make([]byte, 0, 8<<10)
	for _, c := range []struct {
		name   string
		fields [][]Field
	}{{"encode/fields/489B", fields}, {"encode/bytes/489B", without}} {
		b.Run(c.name, func(b *testing.B) {
			e, _ := newDeltaPair(b, DeltaOptions{})
			b.ReportAllocs()
			b.SetBytes(489)
			sent := 0
			for i := 0; b.Loop(); i++ {
				buf = e.Append(buf[:0], msgs[i%1000], c.fields[i%1000])
				sent += len(buf)
			}
			b.ReportMetric(float64(sent)/float64(b.N), "B/frame")
		})
	}
	b.Run("decode/489B", func(b *testing.B) {
		e, d := newDeltaPair(b, DeltaOptions{})
		var frames [][]byte
		for i := range 1001 { // the last leads back to the first
			frames = append(frames, e.Append(nil, msgs[i%1000], fields[i%1000]))
		}
		var err error
		b.ReportAllocs()
		b.SetBytes(489)
		for i := 0; b.Loop(); i++ {
			at := i
			if i > 1000 {
				at = (i-1)%1000 + 1
			}
			if buf, err = d.Decode(buf[:0], frames[at], 1<<16); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestAllocationBudgets(t *testing.T) {
	p, hits, misses, fields := benchPair(t)
	buf := make([]byte, 0, 8<<10)
	var err error
	decode := func(d interface {
		Decode(dst, frame []byte, limit int) ([]byte, error)
	}, frame []byte) {
		if buf, err = d.Decode(buf[:0], frame, 1<<16); err != nil {
			t.Fatal(err)
		}
	}
	hit, plain := p.enc.Append(nil, hits[0], fields), p.enc.Append(nil, misses[0], fields)
	msgs, cuts := dashboards(100)
	e, d := newDeltaPair(t, DeltaOptions{})
	var frames [][]byte
	i := 0
	for _, c := range []struct {
		name string
		most float64
		run  func()
	}{
		{"encode, hit", 0, func() { buf = p.enc.Append(buf[:0], hits[0], fields) }},
		{"encode, miss: what was seen once", 1, func() {
			i++
			misses[1][1000+i]++
			buf = p.enc.Append(buf[:0], misses[1], fields)
		}},
		{"decode, hit", 0, func() { decode(p.dec, hit) }},
		{"decode, plain", 0, func() { decode(p.dec, plain) }},
		{"notices, none", 0, func() { buf = p.dec.AppendNotices(p.enc.AppendNotices(buf[:0], 1<<20), 1<<20) }},
		{"delta, encode", 0, func() {
			buf = e.Append(buf[:0], msgs[i%100], cuts[i%100])
			frames = append(frames[:0], buf)
			i++
		}},
		{"delta, both", 0, func() {
			frame := e.Append(buf[4<<10:4<<10], msgs[i%100], cuts[i%100])
			decode(d, frame)
			i++
		}},
	} {
		if c.name == "delta, both" { // begin again, in step
			e, d = newDeltaPair(t, DeltaOptions{})
			i = 0
		}
		c.run()
		if got := testing.AllocsPerRun(100, c.run); got > c.most {
			t.Errorf("%s: %.1f allocations, want at most %.0f", c.name, got, c.most)
		}
	}
}
