package framework

import (
	"context"
	"io"
	"time"

	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
)

// A pooled is a connection as package pool sees it.
type pooled struct{ *streams.Conn }

func (l pooled) RTT() time.Duration { return l.Stats().SmoothedRTT }

func (l pooled) Retire(ctx context.Context) {
	_ = l.Conn.Retire(ctx, "the client does not need this connection") // fails only with ctx, and then the pool closes it
}

// healthOf returns what takes note of the calls on a connection, nil if nothing does.
func healthOf(conn *streams.Conn) *pool.Health {
	if p, ok := conn.Owner().(*Peer); ok {
		return p.health
	}
	return nil
}

// noteOutcome tells the pool how a call on conn has ended. Only what another endpoint may have done better counts as failure.
func noteOutcome(conn *streams.Conn, status error) {
	h := healthOf(conn)
	if h == nil {
		return
	}
	if status == nil || status == io.EOF {
		h.Succeeded()
		return
	}
	switch CodeOf(status) {
	case Unavailable: // in a row only what the server itself has answered, and not because it leaves
		e, ok := status.(*Error)
		h.Failed(ok && e.Remote && !e.unprocessed)
	case DeadlineExceeded, ResourceExhausted, Internal, Unknown, DataLoss:
		h.Failed(false)
	case Canceled: // says nothing about the endpoint
	default:
		h.Succeeded()
	}
}
