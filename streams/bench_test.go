package streams

import (
	"fmt"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// BenchmarkEcho is the floor under a unary call: frames, lanes and a transport, no codec and no framework.
func BenchmarkEcho(b *testing.B) {
	for _, k := range kinds[:2] {
		for _, workers := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("%s/outstanding-%d", k.name, workers), func(b *testing.B) {
				c, _ := k.pair(b, Config{}, Config{Serve: echo})
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
}

// BenchmarkBulk moves messages of 64 KiB one way, on a connection for bulk.
func BenchmarkBulk(b *testing.B) {
	for _, k := range kinds[:2] {
		for _, transfers := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/streams-%d", k.name, transfers), func(b *testing.B) {
				c, _ := k.pair(b, Config{Role: wire.RoleBulk}, Config{Serve: async(serveTransfer)})
				b.SetBytes(int64(len(chunk)))
				b.ReportAllocs()
				var wg sync.WaitGroup
				for n := range transfers {
					bulk := start(b, c, wire.ClassBulk, wire.ServerStream)
					wg.Go(func() {
						defer bulk.Close(wire.Cancel{Code: wire.Canceled})
						for range (b.N + transfers - 1 - n) / transfers {
							_, m, err := bulk.Recv()
							if err != nil {
								b.Error(err)
								return
							}
							m.Release()
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
