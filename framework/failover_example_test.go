package framework_test

import (
	"context"
	"fmt"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/pool"
)

type (
	lookupReq  struct{ Key string }
	lookupResp struct{ Value string }
)

var lookup = framework.NewUnary[lookupReq, lookupResp]("example.v1/Lookup", framework.Idempotent(),
	framework.WithRetry(framework.RetryPolicy{MaxAttempts: 4}))

// Calls of a method that is declared idempotent survive the loss of a server; some may also be hedged, or go where their key belongs.
func ExampleWithHedge() {
	srv, err := framework.NewServer(framework.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()
	lookup.Handle(srv, func(_ context.Context, q *lookupReq) (*lookupResp, error) {
		return &lookupResp{"value of " + q.Key}, nil
	})
	c := framework.InProcess(srv)
	defer c.Close()
	resp, err := lookup.Call(context.Background(), c, &lookupReq{"a"},
		framework.WithKey("a"),
		framework.WithHedge(framework.Hedge{Delay: 50 * time.Millisecond}))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.Value)
	for _, e := range c.Endpoints() {
		fmt.Println(e.State, e.Main, "connection")
	}
	// Output:
	// value of a
	// ready 1 connection
}

// A server announces itself, and clients of the service find it.
func ExampleServer_Announce() {
	var registry pool.Registry // or one that other processes see
	srv, err := framework.NewServer(framework.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := srv.Announce(ctx, &registry, "lookup.v1", pool.Endpoint{Address: "192.0.2.1:4433", Zone: "north"}); err != nil {
		fmt.Println(err)
		return
	}
	show := func() {
		for list := range registry.Watch(ctx, "lookup.v1") {
			fmt.Println(len(list), "endpoints")
			return
		}
	}
	show()
	if err := srv.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}
	show()
	// Output:
	// 1 endpoints
	// 0 endpoints
}
