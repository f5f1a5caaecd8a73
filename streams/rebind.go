package streams

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Rebind moves a connection that this side dialed to another UDP socket, from [Config.ListenPacket], and so to another port and
// to whatever network the host now uses (RFC 9000, section 9). Calls go on. It returns when the server has answered on the new
// socket and so sends there; when ctx ends before, the connection uses the new socket nevertheless, as there is no way back.
// Who moves again before that may lose the connection: the server examines each address under another connection ID, has three
// to spare, and gets further ones only from a client that it reaches.
//
// It is seldom needed: when an address is translated anew, or the host moves to another network, packets simply come from
// elsewhere and the server follows. A connection whose peer is silent while calls wait ([Config.Silent]) does this by
// itself after half a second, and again after three. Rebind is for those who know about a change before that.
//
// Errors: [errors.ErrUnsupported] on an accepted connection, and where the transport cannot; *[ConnError]; what ListenPacket
// returned; the cause of ctx.
func (c *Conn) Rebind(ctx context.Context) error {
	t, ok := c.t.(interface {
		rebind(context.Context) error
	})
	if !ok || !c.dialer {
		return fmt.Errorf("streams: moving a connection of kind %q to another socket: %w", c.t.stats().Transport, errors.ErrUnsupported)
	}
	if err := c.Confirmed(ctx); err != nil {
		return err
	}
	if err := t.rebind(ctx); err != nil {
		if c.Err() != nil {
			return c.Err()
		}
		return err
	}
	c.log.Info("connection moved to another socket", zap.Stringer("peer", c.t.remoteAddr()), zap.Stringer("local", c.t.localAddr()))
	first := c.ping() // so that the server has something to answer, and learns the address
	again := time.NewTicker(tick)
	defer again.Stop()
	for c.pongs.Load() < first {
		select {
		case <-c.signal.pong:
		case <-again.C:
			c.ping()
		case <-c.ctx.Done():
			return c.Err()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
