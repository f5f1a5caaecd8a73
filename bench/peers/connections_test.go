package main

import (
	"io"
	"testing"
)

// TestManyConnections: every subscriber gets the message, and an idle connection keeps no more goroutines than it needs. Two at each
// end, and two more at that of the client, are quic-go's; then one waits for streams, one for unidirectional streams and one for the
// control stream at each end; and the client has one that follows the connection and one that keeps the connections of its target.
func TestManyConnections(t *testing.T) {
	r := new(report)
	p := &plan{transports: transports(), rounds: 1, progress: io.Discard}
	if err := manyConnections(t.Context(), p, r, 20); err != nil {
		t.Fatal(err)
	}
	r.summarize()
	if len(r.Rows) != 2 {
		t.Fatalf("got %d rows, want those of mycel-quic and wss", len(r.Rows))
	}
	budgets := map[string][2]float64{mycelQUIC: {5, 9}, "wss": {1, 1}}
	for _, row := range r.Rows {
		if row.Concurrency != 20 || row.LastByteMicros <= 0 || row.P50Micros > row.LastByteMicros {
			t.Errorf("%s has %+v", row.Transport, row.metrics)
		}
		for i, f := range []footprint{row.Server, row.Client} {
			if row.Transport == mycelQUIC && (f.HeapBytes <= 0 || f.StackBytes <= 0) { // the little that wss takes drowns in noise
				t.Errorf("%s has the footprint %v", row.Transport, f)
			}
			if want := budgets[row.Transport][i]; f.Goroutines < want-0.5 || f.Goroutines > want+0.5 { // some come and go
				t.Errorf("%s keeps %.2f goroutines for a connection at the %s, want %v", row.Transport, f.Goroutines, []string{"server", "client"}[i], want)
			}
		}
	}
}

// TestRaiseFiles: asking for what there is already, or for less, changes nothing.
func TestRaiseFiles(t *testing.T) {
	have := raiseFiles(1)
	if again := raiseFiles(have); again != have {
		t.Errorf("the limit was %d and is %d", have, again)
	}
}
