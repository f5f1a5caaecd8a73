package main

import (
	"context"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// borrowedBytes decodes [Bytes] without copying the data: valid until the handler returns.
type borrowedBytes struct {
	id   uint64
	data []byte
}

// UnmarshalMsg borrows b.
func (q *borrowedBytes) UnmarshalMsg(b []byte) ([]byte, error) {
	entries, b, err := msgp.ReadMapHeaderBytes(b)
	for ; entries > 0 && err == nil; entries-- {
		var key []byte
		if key, b, err = msgp.ReadMapKeyZC(b); err != nil {
			return nil, err
		}
		switch string(key) {
		case "id":
			q.id, b, err = msgp.ReadUint64Bytes(b)
		case "data":
			q.data, b, err = msgp.ReadBytesZC(b)
		default:
			b, err = msgp.Skip(b)
		}
	}
	if err == nil && len(q.data) < endBytes {
		err = errFrame
	}
	return b, err
}

func (c *wsClient) ready(context.Context) error { return nil }

func (c *wsClient) hand(ctx context.Context, n uint64, sizeBytes int) (first, last time.Duration, err error) {
	var d Digest
	if err := c.call(ctx, "hand", &Bytes{ID: n, Data: samples().bytes(n, sizeBytes)}, &d); err != nil {
		return 0, 0, err
	}
	if sizeBytes > chunkBytes {
		first = time.Duration(c.server.last.Load().began.Load())
	}
	return first, time.Duration(d.AtNanos), d.check(n, samples().digest(n, sizeBytes), true)
}

// watch has nothing to watch: there is one way.
func (c *wsClient) watch() func(uint64) error { return func(uint64) error { return nil } }
