package framework

import (
	"sync"

	"github.com/mycel-rpc/mycel/dedup"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/compress"
)

const (
	// codecDelta says in a reference that a message is a frame of package dedup: the difference from the one before it.
	codecDelta = 64
	// maxBase is the largest message that is remembered, by both sides of each direction of a streaming call, so that the
	// peer's calls cannot make this side hold more than that for each of their streams.
	maxBase = 16 << 10
	// deltaNanos is what a delta costs both sides, measured for messages of 489 bytes: 0.64 and 0.22 microseconds, besides
	// what the base does to the cache.
	deltaNanos = 1500
)

// deltaBudget bounds what all streams of the process remember of what they have sent.
var deltaBudget = dedup.NewBudget(64 << 20)

// deltas remembers the last messages of a streaming call.
type deltas struct {
	in *dedup.DeltaDecoder // nil until a difference arrives; the receiver's

	mu     sync.Mutex          // held to make or close out
	out    *dedup.DeltaEncoder // nil until a message is worth it
	closed bool
}

// close gives back what the budget is charged for.
func (d *deltas) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.out != nil {
		d.out.Close()
	}
}

// encoder returns the encoder for the next message of a kind, nil if differences do not pay on the connection, or must not
// be made.
func (d *deltas) encoder(m *messageSpec, conn *streams.Conn) *dedup.DeltaEncoder {
	expected := m.size.expected()
	if m.choice == nil || expected == 0 || expected > maxBase {
		return nil
	}
	path, ok := compression(conn)
	if !ok || float64(expected)*path.Cost() < deltaNanos {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out == nil && !d.closed {
		var err error
		if d.out, err = dedup.NewDeltaEncoder(dedup.DeltaOptions{MaxBaseBytes: maxBase, Budgets: []*dedup.Budget{deltaBudget}}); err != nil {
			panic("framework: " + err.Error()) // the options are constants
		}
	}
	return d.out
}

// message returns a message of a streaming call with its reference: as the difference from the one before it, compressed, or as
// it is. Arguments and errors are those of append; the caller releases the result, and sends it if it makes another one.
func (m *messageSpec) message(d *deltas, conn *streams.Conn, ref *wire.SchemaRef, msg any, scope *largeobj.Scope, fault Code) (*wire.Buffer, error) {
	var body *wire.Buffer
	var err error
	if e := d.encoder(m, conn); e != nil {
		body, err = m.difference(e, conn, ref, msg, scope, fault)
	} else {
		body, err = m.packed(conn, ref, msg, scope, fault)
	}
	if err != nil {
		return nil, err
	}
	b := m.buffer()
	b.B = wire.AppendSchemaRef(b.B, ref)
	return m.behind(b, body, conn, ref, msg, scope, fault)
}

// difference returns the body of a message as a frame of package dedup, or otherwise if that is no use now.
func (m *messageSpec) difference(e *dedup.DeltaEncoder, conn *streams.Conn, ref *wire.SchemaRef, msg any, scope *largeobj.Scope, fault Code) (*wire.Buffer, error) {
	plain, err := m.body(conn, ref, msg, scope, fault)
	if err != nil {
		return nil, err
	}
	frame := wire.NewBuffer(len(plain.B) + 16)
	frame.B = e.Append(frame.B, plain.B, nil)
	if dedup.Form(frame.B[0]) != dedup.FormPlain {
		plain.Release()
		ref.Codec = codecDelta
		return frame, nil
	}
	frame.Release()
	if c := m.choose(conn); c != compress.None {
		return m.compressed(c, ref, plain), nil
	}
	return plain, nil
}

// undelta returns the plain body of a message that is a difference. The caller releases it.
func (d *deltas) undelta(frame []byte, limit int) (*wire.Buffer, error) {
	if d.in == nil {
		var err error
		if d.in, err = dedup.NewDeltaDecoder(dedup.DeltaOptions{MaxBaseBytes: maxBase}); err != nil {
			panic("framework: " + err.Error()) // the options are constants
		}
	}
	plain := wire.NewBuffer(len(frame))
	var err error
	if plain.B, err = d.in.Decode(plain.B, frame, limit); err != nil {
		plain.Release()
		return nil, err
	}
	return plain, nil
}
