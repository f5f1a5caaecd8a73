package wire

import (
	"fmt"
	"testing"
)

func TestBufferHasRoomForWhatWasAsked(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 8 << 10, 1 << 20, 8 << 20, 8<<20 + 1} {
		b := NewBuffer(n)
		if len(b.B) != 0 || cap(b.B) < n {
			t.Errorf("NewBuffer(%d) has %d bytes of %d", n, len(b.B), cap(b.B))
		}
		b.Release()
	}
}

func TestBufferCopies(t *testing.T) {
	p := []byte("content")
	b := CopyBuffer(p)
	defer b.Release()
	p[0] = 'X'
	if string(b.B) != "content" {
		t.Errorf("the copy changed with the original: %s", b.B)
	}
}

func TestBuffersAreCounted(t *testing.T) {
	before := BuffersOut()
	a, b := NewBuffer(1), NewBuffer(100<<20)
	if got := BuffersOut() - before; got != 2 {
		t.Errorf("%d buffers are out, want 2", got)
	}
	a.Release()
	b.Release()
	(*Buffer)(nil).Release()
	if got := BuffersOut() - before; got != 0 {
		t.Errorf("%d buffers are out after all were released", got)
	}
}

func TestBufferReleasedTwicePanics(t *testing.T) {
	b := NewBuffer(100 << 20) // too large for the pool, so that nobody else has it
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("the second release went unnoticed")
		}
	}()
	b.Release()
}

// TestPooledBuffersFitTheirClass: a buffer that outgrew its class, or that the caller replaced by a small one, must not
// come back from the pool of another.
func TestPooledBuffersFitTheirClass(t *testing.T) {
	for _, size := range []int{1, 500, 600, 5000, 20 << 10, 50 << 10, 300 << 10} {
		b := NewBuffer(16)
		b.B = make([]byte, size)
		b.Release()
	}
	for range 100 {
		for _, n := range []int{1, 600, 5000, 20 << 10, 50 << 10, 300 << 10} {
			b := NewBuffer(n)
			if cap(b.B) < n || cap(b.B) > max(16*n, 2*512) || len(b.B) != 0 {
				t.Fatalf("NewBuffer(%d) came with %d bytes of %d", n, len(b.B), cap(b.B))
			}
			defer b.Release()
		}
	}
}

func ExampleNewBuffer() {
	b := NewBuffer(64)
	defer b.Release()
	b.B = append(b.B, "message"...)
	fmt.Printf("%s\n", b.B)
	// Output: message
}
