package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// parts of an object of three leaves and a bit.
var parts = []struct{ off, n int64 }{
	{0, -1}, {0, 1}, {0, MinLeafBytes}, {MinLeafBytes - 1, 2}, {5, 3*MinLeafBytes - 5}, {3*MinLeafBytes + 99, 1}, {MinLeafBytes, -1},
	{3*MinLeafBytes + 100, 0}, {3*MinLeafBytes + 100, -1}, {7, 0},
}

func TestReaderReadsParts(t *testing.T) {
	data := random(3*MinLeafBytes + 100)
	for _, known := range []bool{true, false} {
		m := Manifest{ID: idOf("x"), Size: int64(len(data)), Leaf: MinLeafBytes}
		if !known {
			m.Size = -1
		}
		l := newLoopback(t, Bytes(data), MinLeafBytes)
		for _, p := range parts {
			r, err := NewReader(t.Context(), m, l, p.off, p.n, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			want := data[p.off:]
			if p.n >= 0 {
				want = want[:p.n]
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("size known %v, %d bytes from %d: got %d, %v", known, p.n, p.off, len(got), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if n := buffersOut.Load(); n != 0 {
		t.Errorf("%d buffers are out", n)
	}
}

func TestReaderRefusesPartsOutsideOfTheObject(t *testing.T) {
	l := newLoopback(t, Bytes(random(10)), MinLeafBytes)
	for _, p := range []struct{ off, n int64 }{{-1, 1}, {0, 11}, {11, -1}, {10, 1}, {0, -2}, {MaxSize, MaxSize}} {
		var pe *ProtocolError
		if _, err := NewReader(t.Context(), Manifest{Size: 10, Leaf: MinLeafBytes}, l, p.off, p.n, Options{}); !errors.As(err, &pe) {
			t.Errorf("%d bytes from %d: %v", p.n, p.off, err)
		}
	}
	var limit *LimitError
	if _, err := NewReader(t.Context(), Manifest{Size: 10, Leaf: MinLeafBytes}, l, 0, 1, Options{MaxBytes: 9}); !errors.As(err, &limit) {
		t.Errorf("an object above MaxBytes: %v", err)
	}
}

func TestReaderFetchesACorruptLeafOnceMore(t *testing.T) {
	data := random(4 * MinLeafBytes)
	for _, times := range []int{1, 2} {
		l := newLoopback(t, Bytes(data), MinLeafBytes)
		left := times
		l.onChunk = func(_ context.Context, c *Chunk) error {
			if c.Offset == 2*MinLeafBytes && left > 0 {
				left--
				c.Data = bytes.Clone(c.Data)
				c.Data[7] ^= 1
			}
			return nil
		}
		r, err := NewReader(t.Context(), Manifest{ID: idOf("x"), Size: int64(len(data)), Leaf: MinLeafBytes}, l, 0, -1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		var corrupt *CorruptError
		if times == 1 && (err != nil || !bytes.Equal(got, data)) {
			t.Errorf("corrupt once: %d bytes, %v", len(got), err)
		}
		if times == 2 && (!errors.As(err, &corrupt) || corrupt.Leaf != 2 || !bytes.Equal(got, data[:2*MinLeafBytes])) {
			t.Errorf("corrupt twice: %d bytes, %v", len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReaderGoesOnWhenTheConnectionIsLost(t *testing.T) {
	data := random(4 * MinLeafBytes)
	l := newLoopback(t, Bytes(data), MinLeafBytes)
	losses := 3
	l.onChunk = func(_ context.Context, c *Chunk) error {
		if c.Offset == 2*MinLeafBytes && losses > 0 {
			losses--
			return errLost
		}
		return nil
	}
	o := Options{Retry: Retry{Lost: lost, Wait: time.Microsecond, MaxWait: time.Microsecond}}
	r, err := NewReader(t.Context(), Manifest{ID: idOf("x"), Size: int64(len(data)), Leaf: MinLeafBytes}, l, 0, -1, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if sent := l.sent.Load(); sent != int64(len(data)) {
		t.Errorf("%d bytes were sent for %d", sent, len(data))
	}
}
