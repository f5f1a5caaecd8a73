package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/pool/natspool"
)

// join connects to NATS. A process needs one registry; here each party has its own, so that it can die alone.
func join(url string) (r *natspool.Registry, leave func(), err error) {
	conn, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	if err == nil {
		r, err = natspool.New(js, natspool.Config{Bucket: "mycel-example", TTL: 2 * time.Second})
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return r, func() { r.Close(); conn.Close() }, nil
}

// A greeter is a server that is registered.
type greeter struct {
	srv     *framework.Server
	release func(context.Context) error
	leave   func()
}

func start(ctx context.Context, url, name string, cfg framework.ServerConfig) (*greeter, error) {
	srv, err := framework.NewServer(cfg)
	if err != nil {
		return nil, err
	}
	Hello.Handle(srv, func(_ context.Context, q *Name) (*Text, error) {
		return &Text{"hello " + q.Name + ", I am " + name}, nil
	})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go srv.Serve(ctx, socket) // ends with crash
	registry, leave, err := join(url)
	if err != nil {
		return nil, errors.Join(err, srv.Close())
	}
	g := &greeter{srv: srv, leave: leave}
	if g.release, err = registry.Register(ctx, "greeter.v1", pool.Endpoint{Address: socket.LocalAddr().String(), Metadata: name}); err != nil {
		g.crash()
		return nil, err
	}
	return g, nil
}

// crash is the end without a word: the entry stays until its lease ends.
func (g *greeter) crash() { g.leave(); g.srv.Close() }

// stop is how a server should go: out of the registry first, then after its calls.
func (g *greeter) stop(ctx context.Context) error {
	err := errors.Join(g.release(ctx), g.srv.Shutdown(ctx))
	g.leave()
	return err
}
