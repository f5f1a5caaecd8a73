//go:build !race

package codec

import "runtime"

// scribble changes a byte and back, while somebody reads it.
func scribble(b []byte, i int) {
	b[i*7919%len(b)] ^= 1 << (i % 8)
	for range i % 20 {
		runtime.Gosched()
	}
	b[i*7919%len(b)] ^= 1 << (i % 8)
}
