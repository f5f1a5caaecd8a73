package streams

import (
	"bytes"
	"fmt"
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
