package content

import (
	"sync"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/wire"
)

// maxBase is the largest message that is remembered, by both sides of each direction of a streaming call, so that the peer's
// calls cannot make this side hold more than that for each of their streams.
const maxBase = 16 << 10

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

// encoder returns the encoder for the next message, of about so many bytes; nil if it must not be remembered.
func (d *Deltas) encoder(expected int) *dedup.DeltaEncoder {
	if expected > maxBase {
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
