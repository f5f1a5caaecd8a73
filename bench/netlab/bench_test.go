//go:build unix

package netlab_test

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

// flood sends n packets of size bytes of UDP payload from left to right, never more than window ahead of what has
// arrived, and returns how many arrived. Then it is over: nothing else may be sent to the socket on the right.
func flood(b *testing.B, lab *netlab.Lab, n, size, window int) (arrived int) {
	b.Helper()
	right := must(lab.Right.ListenPacket(b.Context(), ""))(b, "socket on the right")
	left := must(lab.Left.ListenPacket(b.Context(), ""))(b, "socket on the left")
	defer left.Close()
	defer right.Close()
	var received, sent atomic.Int64
	more := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() { // ends with the last packet, or a second after it
		p := make([]byte, 2048)
		for received.Load() < int64(n) {
			if received.Load()%16 == 0 {
				_ = right.SetReadDeadline(time.Now().Add(time.Second))
			}
			if _, err := right.Read(p); err != nil {
				done <- err
				return
			}
			received.Add(1)
			select {
			case more <- struct{}{}:
			default:
			}
		}
		done <- nil
	}()
	p := make([]byte, size)
	to := right.LocalAddr().(*net.UDPAddr).AddrPort()
	for sent.Load() < int64(n) {
		if sent.Load()-received.Load() >= int64(window) {
			select {
			case <-more:
			case err := <-done:
				b.Logf("lost %d of %d packets", sent.Load()-received.Load(), sent.Load())
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					b.Fatal(err)
				}
				return int(received.Load())
			}
			continue
		}
		if _, err := left.WriteToUDPAddrPort(p, to); err != nil {
			b.Fatal(err)
		}
		sent.Add(1)
	}
	if err := <-done; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		b.Fatal(err)
	}
	return int(received.Load())
}

func cpu(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkForward measures what one packet with 1452 bytes of UDP payload costs. The CPU time of the emulator has that of the
// kernel in it, for its system calls and for the reception on the right.
func BenchmarkForward(b *testing.B) {
	if entered != nil {
		b.Skipf("NOT MEASURED: %v", entered)
	}
	for _, c := range []struct {
		name string
		link netlab.Link
	}{
		{"at once", netlab.Link{}},
		{"200 Mbit per second and 10 ms", netlab.Link{Delay: 10 * time.Millisecond, Rate: 200e6, QueueBytes: 1 << 20}},
		{"all features", netlab.Link{
			Delay: time.Millisecond, Jitter: time.Millisecond, JitterReorders: true, Rate: 10e9, QueueBytes: 1 << 20,
			Loss: 1e-9, Burst: netlab.Burst{GoodToBad: 1e-9, BadToGood: 1}, Reorder: 1e-3, ReorderDelay: time.Millisecond, Duplicate: 1e-9,
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			before := cpu(syscall.RUSAGE_CHILDREN)
			lab := must(netlab.New(netlab.Config{Link: c.link}))(b, "lab")
			const size = 1452
			b.SetBytes(size)
			b.ResetTimer()
			start := time.Now()
			arrived := flood(b, lab, b.N, size, 512)
			took := time.Since(start)
			b.StopTimer()
			s := must(lab.Stats())(b, "stats")[netlab.LeftToRight]
			if err := lab.Close(); err != nil {
				b.Error(err)
			}
			used := cpu(syscall.RUSAGE_CHILDREN) - before
			b.ReportMetric(float64(arrived)*(size+headers)*8/1e6/took.Seconds(), "Mbit/s")
			b.ReportMetric(float64(used.Nanoseconds())/float64(arrived), "emulator-ns/packet")
			b.ReportMetric(100*used.Seconds()/took.Seconds(), "%core")
			b.ReportMetric(float64(s.Lateness.Microseconds()), "late-µs/packet")
			b.ReportMetric(float64(s.Dropped.Kernel), "kernel-drops")
		})
	}
}
