package streams

import (
	"runtime"
	"testing"
	"time"

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
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(20 * time.Second); float64(runtime.NumGoroutine()-goroutines) > float64(idleGoroutines*n) && time.Now().Before(deadline); {
		<-again.C // the last calls are still looked after
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

// idleGoroutines are those of an idle connection: 6 are quic-go's (2 for a connection at each end, and 2 for the socket of the
// dialer), and at each end one accepts streams, one unidirectional streams, one reads the control stream and one the lane. quic-go
// has no other way to wait for these.
const idleGoroutines = 14

// TestIdleConnectionIsCheap prints what an idle connection costs, holds its goroutines to a budget and bounds the rest generously.
func TestIdleConnectionIsCheap(t *testing.T) {
	cost := measureIdle(t, 100)
	t.Logf("an idle connection: %.0f bytes in %.0f objects, %.0f of stack in %.1f goroutines, both ends together", cost.heap, cost.objects, cost.stack, cost.goroutines)
	if cost.goroutines > idleGoroutines+0.5 {
		t.Errorf("an idle connection keeps %.1f goroutines, want %d", cost.goroutines, idleGoroutines)
	}
	if cost.heap > 300<<10 || cost.objects > 2000 { // several times as many, so that only something new is noticed
		t.Errorf("an idle connection holds %.0f bytes in %.0f objects", cost.heap, cost.objects)
	}
}
