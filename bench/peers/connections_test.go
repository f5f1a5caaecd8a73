package main

import (
	"io"
	"testing"
)

// TestManyConnections: every subscriber gets the message, and the row says what a connection costs.
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
	for _, row := range r.Rows {
		if row.Concurrency != 20 || row.LastByteMicros <= 0 || row.P50Micros > row.LastByteMicros || row.ConnGoroutines <= 0 {
			t.Errorf("%s has %+v", row.Transport, row.metrics)
		}
	}
}
