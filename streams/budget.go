package streams

import (
	"sync/atomic"

	"github.com/mycel-rpc/mycel/wire"
)

// A budget bounds the bytes of messages that are being received on a connection.
type budget struct {
	limit int64
	used  atomic.Int64
}

// add takes n bytes from the budget, or returns a *wire.LimitError.
func (b *budget) add(n int) error {
	if used := b.used.Add(int64(n)); used > b.limit {
		b.used.Add(int64(-n))
		return &wire.LimitError{What: "messages being received on one connection", Limit: uint64(b.limit), Got: uint64(used), Knob: "MaxPendingBytes"}
	}
	return nil
}

func (b *budget) sub(n int) { b.used.Add(int64(-n)) }
