package streams

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

func TestEveryClassAndSizeEchoes(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c, _ := kind.pair(t, Config{}, Config{Serve: echo})
			for class := range wire.Class(wire.NumClasses) {
				sizes := []int{0, 1, 100, 16000, 16 << 10, 100 << 10, 256 << 10, 1 << 20}
				if class == wire.ClassRPC {
					sizes = append(sizes, DefaultMaxMessageBytes)
				}
				for _, size := range sizes {
					t.Run(fmt.Sprintf("%v/%d", class, size), func(t *testing.T) {
						body := bytes.Repeat([]byte{'x'}, size)
						got, st, err := call(t.Context(), c, class, body)
						if err != nil || st.Code != wire.OK {
							t.Fatalf("call failed: %v, %v", st, err)
						}
						if !bytes.Equal(got, body) {
							t.Fatalf("got %d bytes, want %d", len(got), size)
						}
					})
				}
			}
		})
	}
}

// TestAtEnd: what a connection is to do at its end it has done when Close returns, and does at once when it comes too late.
func TestAtEnd(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			c, _ := k.pair(t, Config{}, Config{})
			var done []string
			c.AtEnd(func() { done = append(done, "first") })
			c.AtEnd(func() {
				if c.Err() == nil {
					t.Error("called before the end")
				}
				done = append(done, "second")
			})
			c.Close()
			if !slices.Equal(done, []string{"first", "second"}) {
				t.Errorf("did %v", done)
			}
			c.AtEnd(func() { done = append(done, "late") })
			if len(done) != 3 {
				t.Errorf("did %v", done)
			}
		})
	}
}
