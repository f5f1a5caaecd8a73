package content

import (
	"sync"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/wire"
)

const (
	// maxBase is the largest message that is remembered, by both sides of each direction of a streaming call, so that the
	// peer's calls cannot make this side hold more than that for each of their streams.
	maxBase = 16 << 10
	// deltaNanos is what a delta costs both sides, measured for messages of 489 bytes: 0.64 and 0.22 microseconds, besides
	// what the base does to the cache.
	deltaNanos = 1500
)

// Deltas remember the last message of each direction of a streaming call. The zero value is ready to use.
type Deltas struct {
	in *dedup.DeltaDecoder // nil until a difference arrives; the receiver's

	mu     sync.Mutex          // held to make or close out
	out    *dedup.DeltaEncoder // nil until a message is worth it
	closed bool
}

// Close gives back what the budget is charged for. It may be called while messages are sent, and more than once.
func (d *Deltas) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.out != nil {
		d.out.Close()
	}
}

// encoder returns the encoder for the next message, of about so many bytes; nil if differences do not pay, or must not be made.
func (d *Deltas) encoder(expected int, perByte float64) *dedup.DeltaEncoder {
	if expected > maxBase || float64(expected)*perByte < deltaNanos {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out == nil && !d.closed {
		var err error
		if d.out, err = dedup.NewDeltaEncoder(dedup.DeltaOptions{MaxBaseBytes: maxBase, Budgets: []*dedup.Budget{processBudget}}); err != nil {
			panic("content: " + err.Error()) // the options are constants
		}
	}
	if d.out == nil || d.out.Rest() {
		return nil
	}
	return d.out
}

// decode puts the message in plain that a frame stands for.
func (d *Deltas) decode(plain *wire.Buffer, frame []byte, limit int) (err error) {
	if d.in == nil {
		if d.in, err = dedup.NewDeltaDecoder(dedup.DeltaOptions{MaxBaseBytes: maxBase}); err != nil {
			panic("content: " + err.Error()) // the options are constants
		}
	}
	plain.B, err = d.in.Decode(plain.B, frame, limit)
	return err
}
