package streams

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

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

// BenchmarkUrgent makes small calls of class control, one at a time, beside callers that echo 1 MiB each: on the same
// connection, then on one of its own.
func BenchmarkUrgent(b *testing.B) {
	for _, k := range kinds[:2] {
		for _, own := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/own-%v", k.name, own), func(b *testing.B) {
				c, _ := k.pair(b, Config{}, Config{Serve: echo})
				urgent := c
				if own {
					urgent, _ = k.pair(b, Config{}, Config{Serve: echo})
				}
				ctx, cancel := context.WithCancel(b.Context())
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for ctx.Err() == nil {
							if _, _, err := call(ctx, c, wire.ClassRPC, make([]byte, 1<<20)); err != nil && ctx.Err() == nil {
								b.Error(err)
								return
							}
						}
					})
				}
				var took []time.Duration
				for b.Loop() {
					begun := time.Now()
					if _, _, err := call(ctx, urgent, wire.ClassControl, make([]byte, 200)); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(begun))
				}
				cancel()
				wg.Wait()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
			})
		}
	}
}
