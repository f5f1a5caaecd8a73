package pool_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mycel-rpc/mycel/pool"
)

// conn stands for a connection of package streams.
type conn struct {
	name   string
	ctx    context.Context
	cancel context.CancelFunc
}

func (c *conn) Load() int             { return 0 }
func (c *conn) Draining() bool        { return c.ctx.Err() != nil }
func (c *conn) Done() <-chan struct{} { return c.ctx.Done() }
func (c *conn) Err() error            { return c.ctx.Err() }
func (c *conn) Close()                { c.cancel() }

func (c *conn) Silent() bool               { return false }
func (c *conn) PeerLoad() (int, time.Time) { return 0, time.Time{} }
func (c *conn) RTT() time.Duration         { return 0 }
func (c *conn) GoneAway() <-chan struct{}  { return nil }
func (c *conn) Retire(context.Context)     { c.cancel() }

func Example() {
	p, err := pool.New("static:///a:4433,b:4433", pool.Config[*conn]{
		Dial: func(_ context.Context, to pool.Endpoint, role pool.Role, _ *pool.Health) (*conn, error) {
			if to.Address == "a:4433" {
				return nil, errors.New("connection refused")
			}
			c := &conn{name: role.String() + " connection to " + to.Address}
			c.ctx, c.cancel = context.WithCancel(context.Background())
			return c, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()

	c, err := p.Get(context.Background(), pool.Main, pool.Pick{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.name)
	// Output: main connection to b:4433
}
