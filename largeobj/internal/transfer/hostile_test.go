package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/zeebo/blake3"
)

func sealed(b []byte) []byte {
	sum := blake3.Sum256(b)
	return append(b[:len(b):len(b)], sum[:]...)
}

func sumOf(b []byte) []byte {
	sum := blake3.Sum256(b)
	return sum[:]
}

// A script is a Fetcher that answers each request with chunks, then with an error.
type script struct {
	chunks func(ranges []Range) []Chunk
	err    error // io.EOF when nil
}

func (s *script) Fetch(_ context.Context, ranges []Range) (Chunks, error) {
	err := s.err
	if err == nil {
		err = io.EOF
	}
	return &scriptChunks{s.chunks(ranges), err}, nil
}

type scriptChunks struct {
	chunks []Chunk
	err    error
}

func (s *scriptChunks) Next(c *Chunk) error {
	if len(s.chunks) == 0 {
		return s.err
	}
	*c, s.chunks = s.chunks[0], s.chunks[1:]
	return nil
}

func (s *scriptChunks) Close() {}

func TestViolations(t *testing.T) {
	nothingLeft(t)
	const leaf = MinLeafBytes
	data := random(2*leaf + 100)
	size := int64(len(data))
	whole := func() []Chunk {
		return []Chunk{
			{0, data[:1000], nil, size},
			{1000, data[1000:leaf], sumOf(data[:leaf]), size},
			{leaf, data[leaf : 2*leaf], sumOf(data[leaf : 2*leaf]), size},
			{2 * leaf, data[2*leaf:], sumOf(data[2*leaf:]), size},
		}
	}
	change := func(f func(c []Chunk) []Chunk) func([]Range) []Chunk {
		return func([]Range) []Chunk { return f(whole()) }
	}
	var (
		protocol = new(*ProtocolError)
		limit    = new(*LimitError)
		corrupt  = new(*CorruptError)
	)
	for _, c := range []struct {
		name   string
		known  bool // only when the size is known, or only when it is not
		both   bool
		chunks func([]Range) []Chunk
		want   any
	}{
		{"nothing is wrong", false, true, change(func(c []Chunk) []Chunk { return c }), nil},
		{"nothing at all", false, true, change(func(c []Chunk) []Chunk { return nil }), protocol},
		{"truncated", false, true, change(func(c []Chunk) []Chunk { return c[:3] }), protocol},
		{"a missing chunk", false, true, change(func(c []Chunk) []Chunk { return append(c[:1], c[2:]...) }), protocol},
		{"a chunk twice", false, true, change(func(c []Chunk) []Chunk { return append(c[:1], c...) }), protocol},
		{"another order", false, true, change(func(c []Chunk) []Chunk { c[2], c[3] = c[3], c[2]; return c }), protocol},
		{"a negative offset", false, true, change(func(c []Chunk) []Chunk { c[0].Offset = -1 << 63; return c }), protocol},
		{"a huge offset", false, true, change(func(c []Chunk) []Chunk { c[1].Offset = 1<<63 - 1; return c }), protocol},
		{"an overlap", false, true, change(func(c []Chunk) []Chunk { c[1].Offset--; return c }), protocol},
		{"an empty chunk", false, true, change(func(c []Chunk) []Chunk { return append([]Chunk{{Size: size}}, c...) }), protocol},
		{"an empty chunk without a size", false, true, change(func(c []Chunk) []Chunk { return append([]Chunk{{Size: -1}}, c...) }), protocol},
		{"more than the object", false, true, change(func(c []Chunk) []Chunk { return append(c, Chunk{size, data[:1], nil, size}) }), protocol},
		{"an empty chunk at the end", false, true, change(func(c []Chunk) []Chunk { return append(c, Chunk{size, nil, nil, size}) }), protocol},
		{"over the end of a leaf", false, true, change(func(c []Chunk) []Chunk { c[1].Data = data[1000 : leaf+1]; return c }), protocol},
		{"over the end of the object", false, true, change(func(c []Chunk) []Chunk { c[3].Data = data[:101]; return c }), protocol},
		{"no hash at the end of a leaf", false, true, change(func(c []Chunk) []Chunk { c[1].Leaf = nil; return c }), protocol},
		{"a short hash", false, true, change(func(c []Chunk) []Chunk { c[1].Leaf = c[1].Leaf[:31]; return c }), protocol},
		{"a long hash", false, true, change(func(c []Chunk) []Chunk { c[1].Leaf = append(c[1].Leaf, 0); return c }), protocol},
		{"a hash within a leaf", false, true, change(func(c []Chunk) []Chunk { c[0].Leaf = c[1].Leaf; return c }), protocol},
		{"another hash", false, true, change(func(c []Chunk) []Chunk { c[1].Leaf = c[2].Leaf; return c }), corrupt},
		{"the size changes", false, true, change(func(c []Chunk) []Chunk { c[2].Size--; return c }), protocol},
		{"the size is less than what came", false, true, change(func(c []Chunk) []Chunk { c[0].Size = 999; return c }), protocol},
		{"a negative size", false, true, change(func(c []Chunk) []Chunk { c[0].Size = -2; return c }), protocol},
		{"a size above the limit", false, false, change(func(c []Chunk) []Chunk { c[0].Size = size + 1; return c }), limit},
		{"no size at all", false, false, change(func(c []Chunk) []Chunk {
			for i := range c {
				c[i].Size = -1
			}
			return c
		}), protocol},
		{"no size, which is known", true, false, change(func(c []Chunk) []Chunk {
			for i := range c {
				c[i].Size = -1
			}
			return c
		}), nil},
	} {
		for _, known := range []bool{true, false} {
			if !c.both && known != c.known {
				continue
			}
			t.Run(fmt.Sprintf("%s/%v", c.name, known), func(t *testing.T) {
				m := Manifest{ID: idOf("x"), Size: size, Leaf: leaf}
				if !known {
					m.Size = -1
				}
				b := NewBuffer(nil, "")
				defer b.Close()
				err := Receive(t.Context(), m, &script{chunks: c.chunks}, b, Options{MaxBytes: size})
				if c.want == nil && err != nil || c.want != nil && !errors.As(err, c.want) {
					t.Errorf("got %v, want %T", err, c.want)
				}
				if err == nil {
					wantBytes(t, b, data)
				}
			})
		}
	}
}

func TestManifestsAreChecked(t *testing.T) {
	nothingLeft(t)
	for _, m := range []Manifest{{Size: -2}, {Size: MaxSize + 1}, {Size: 1001}, {Leaf: 1}, {Leaf: -1}, {Leaf: 3 << 20}, {Leaf: 128 << 20}} {
		b := NewBuffer(nil, "")
		if err := Receive(t.Context(), m, nil, b, Options{MaxBytes: 1000}); err == nil {
			t.Errorf("accepted %+v", m)
		}
	}
	for _, o := range []Options{{MaxStreams: -1}, {MaxStreams: 65}, {MaxBytes: -1}, {MaxBytes: MaxSize + 1}, {Retry: Retry{Attempts: -1}}, {Retry: Retry{Wait: -1}}, {Retry: Retry{Wait: 2, MaxWait: 1}}} {
		if err := Receive(t.Context(), Manifest{}, nil, NewBuffer(nil, ""), o); err == nil {
			t.Errorf("accepted %+v", o)
		}
	}
}

func TestRequestsAreChecked(t *testing.T) {
	const leaf = MinLeafBytes
	size := int64(3*leaf + 5)
	src := Bytes(random(int(size)))
	leaves, err := NewLeaves(leaf)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ranges []Range
		want   int64 // bytes sent, -1 for an error
	}{
		{nil, 0},
		{[]Range{{0, size}}, size},
		{[]Range{{0, -1}}, size},
		{[]Range{{leaf, leaf}, {3 * leaf, 5}}, leaf + 5},
		{[]Range{{0, leaf}, {2 * leaf, -1}}, 2*leaf + 5},
		{[]Range{{-leaf, leaf}}, -1},
		{[]Range{{0, 0}}, -1},
		{[]Range{{0, -2}}, -1},
		{[]Range{{1, leaf - 1}}, -1},
		{[]Range{{0, 1}}, -1},
		{[]Range{{0, 4 * leaf}}, -1},
		{[]Range{{4 * leaf, -1}}, -1},
		{[]Range{{0, -1}, {leaf, leaf}}, -1},
		{[]Range{{leaf, leaf}, {0, leaf}}, -1},
		{[]Range{{0, 2 * leaf}, {leaf, leaf}}, -1},
		{[]Range{{0, leaf}, {0, leaf}}, -1},
		{[]Range{{1<<63 - leaf, -1}}, -1},
		{[]Range{{leaf, 1<<63 - 1}}, -1},
		{make([]Range, MaxRanges+1), -1},
	} {
		sent := int64(0)
		err := Serve(t.Context(), src, leaves, c.ranges, func(c *Chunk) error { sent += int64(len(c.Data)); return nil })
		if c.want < 0 != (err != nil) || err == nil && sent != c.want || err != nil && sent != 0 {
			t.Errorf("%v: %d bytes, %v, want %d", c.ranges, sent, err, c.want)
		}
	}
}

// FuzzReceive interprets bytes as what a hostile peer sends.
func FuzzReceive(f *testing.F) {
	const leaf = MinLeafBytes
	data := random(3*leaf + 77)
	size := int64(len(data))
	f.Add([]byte{}, true, false)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0}, true, true)
	f.Add([]byte{0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, false, true)
	f.Fuzz(func(t *testing.T, program []byte, known, spill bool) {
		step := func() byte {
			if len(program) == 0 {
				return 0
			}
			b := program[0]
			program = program[1:]
			return b
		}
		budget := budget(t, 64<<20, 64<<20)
		if spill {
			budget.object = 0
		}
		whole, requests := program, 0
		s := &script{}
		s.chunks = func(ranges []Range) (list []Chunk) {
			requests++
			s.err = nil
			for _, r := range ranges {
				end := r.end()
				if r.Length < 0 {
					end = size
				}
				for off := r.Offset; off < end; {
					l := leafAt(off, leaf, size)
					c := Chunk{off, data[off:l.end()], nil, size}
					switch op := step(); op {
					case 1:
						c.Data = c.Data[:len(c.Data)/2]
					case 2:
						c.Offset += int64(step()) - 128
					case 3:
						c.Data = append([]byte{step()}, c.Data[1:]...)
					case 4:
						c.Size = int64(step()) - 2
					case 5:
						c.Data = nil
					case 6:
						return list
					case 7:
						s.err = errLost
						return list
					case 8:
						c.Data = data[off:min(size, off+int64(step())*1000)]
					case 9:
						c.Size = -1
					}
					off = c.Offset + int64(len(c.Data))
					if off == l.end() {
						c.Leaf = sumOf(data[l.Offset:l.end()])
					}
					switch step() {
					case 1:
						c.Leaf = nil
					case 2:
						c.Leaf = make([]byte, step())
					}
					list = append(list, c)
					if len(list) > 1000 || off < 0 || off > size {
						return list
					}
				}
			}
			return list
		}
		b := NewBuffer(budget, "")
		m := Manifest{Size: size, Leaf: leaf}
		if !known {
			m.Size = -1
		}
		err := Receive(t.Context(), m, s, b, Options{MaxStreams: 1, MaxBytes: 2 * size, Retry: Retry{Lost: lost, Attempts: 2, Wait: 1, MaxWait: 1}})
		if err == nil && (known || b.m.Size == size) {
			wantBytes(t, b, data)
		}
		for _, r := range b.have.Ranges() {
			got := make([]byte, r.Length)
			if _, err := b.store.readAt(got, r.Offset, r.end()); err != nil || b.m.Size == size && string(got) != string(data[r.Offset:r.end()]) {
				t.Fatalf("%v counts as verified and is not right (%v)", r, err)
			}
		}
		if requests > 30 {
			t.Fatalf("%d requests", requests)
		}
		if err := b.Close(); err != nil || budget.Used() != 0 || buffersOut.Load() != 0 {
			t.Fatalf("left behind: %v, %d of the budget, %d buffers", err, budget.Used(), buffersOut.Load())
		}

		program, requests = whole, 0
		r, err := NewReader(t.Context(), m, s, leaf+9, -1, Options{MaxBytes: 2 * size, Retry: Retry{Lost: lost, Attempts: 2, Wait: 1, MaxWait: 1}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if want := data[leaf+9:]; !bytes.HasPrefix(want, got) && (known || r.m.Size == size) || err == nil && known && len(got) < len(want) {
			t.Fatalf("the Reader read %d bytes of %d, %v", len(got), len(want), err)
		}
		if requests > 30 {
			t.Fatalf("the Reader made %d requests", requests)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
