package framework

import (
	"context"
	"errors"
	"sync"

	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
)

// Rebind moves every connection of the client to another UDP socket, and so to whatever network the host now uses; calls in
// progress go on. It is for programs that are told when the network changes and want to waste no time: without it, a
// connection on which nothing arrives while calls wait moves by itself after half a second. It returns when the servers have
// answered; a connection whose server has not is part of the error. Connections that cannot move, because they are not
// QUIC, are left alone.
func (c *Client) Rebind(ctx context.Context) error {
	conns := append(c.conns.Conns(pool.Main), c.conns.Conns(pool.Bulk)...)
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() { errs[i] = rebind(ctx, conn.Conn) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func rebind(ctx context.Context, conn *streams.Conn) error {
	err := conn.Rebind(ctx)
	if err == nil || errors.Is(err, errors.ErrUnsupported) || conn.Err() != nil { // one that has ended is replaced
		return nil
	}
	return convert(ctx, err)
}
