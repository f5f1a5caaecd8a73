package streams

import (
	"fmt"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// BenchmarkEcho is the floor under a unary call: frames, lanes and QUIC, no codec and no framework.
func BenchmarkEcho(b *testing.B) {
	for _, workers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("outstanding-%d", workers), func(b *testing.B) {
			c, _ := quicPair(b, Config{}, Config{Serve: echo})
			body := make([]byte, 64)
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for range (b.N + workers - 1 - w) / workers {
						if _, _, err := call(b.Context(), c, wire.ClassRPC, body); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
