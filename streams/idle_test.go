package streams

import (
	"runtime"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// idle is what one idle connection costs, both of its ends together.
type idle struct{ heap, stack, objects, goroutines float64 }

// measureIdle opens n connections over loopback, on each of which one call has been made, and returns what they cost.
func measureIdle(t testing.TB, n int) idle {
	ln := listenLoopback(t, Config{Serve: echo})
	before, goroutines := memory(), runtime.NumGoroutine()
	for range n {
		accepted := acceptOne(t, ln)
		c, err := Dial(t.Context(), ln.Addr().String(), Config{TLS: clientTLS})
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, c, <-accepted)
		if _, st, err := call(t.Context(), c, wire.ClassRPC, nil); err != nil || st.Code != wire.OK {
			t.Fatal(st, err)
		}
	}
	after := memory()
	return idle{
		heap:       (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n),
		stack:      (float64(after.StackInuse) - float64(before.StackInuse)) / float64(n),
		objects:    (float64(after.HeapObjects) - float64(before.HeapObjects)) / float64(n),
		goroutines: float64(runtime.NumGoroutine()-goroutines) / float64(n),
	}
}

func memory() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC() // the first one only moves what pools hold aside
	runtime.ReadMemStats(&m)
	return m
}

// TestIdleConnectionIsCheap prints what an idle connection costs and bounds it generously: of the goroutines 6 are those of quic-go
// (a connection at each end, and a socket), and at each end one accepts streams, one unidirectional streams, one reads the control
// stream, one the lane and one looks after the connection.
func TestIdleConnectionIsCheap(t *testing.T) {
	cost := measureIdle(t, 100)
	t.Logf("an idle connection: %.0f bytes in %.0f objects, %.0f of stack in %.1f goroutines, both ends together", cost.heap, cost.objects, cost.stack, cost.goroutines)
	if cost.goroutines > 16.5 {
		t.Errorf("an idle connection keeps %.1f goroutines, want 16", cost.goroutines)
	}
	if cost.heap > 300<<10 || cost.objects > 2000 { // several times as many, so that only something new is noticed
		t.Errorf("an idle connection holds %.0f bytes in %.0f objects", cost.heap, cost.objects)
	}
}
