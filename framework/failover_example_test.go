package framework_test

import (
	"context"
	"fmt"
	"net"
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

func lookUp(_ context.Context, q *lookupReq) (*lookupResp, error) {
	return &lookupResp{"value of " + q.Key}, nil
}

// Calls of a method that is declared idempotent survive the loss of a server; some may also be hedged, or go where their key belongs.
func ExampleWithHedge() {
	srv, err := framework.NewServer(framework.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()
	lookup.Handle(srv, lookUp)
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

// A client that starts before its server waits for it.
func ExampleWaitForReady() {
	var registry pool.Registry
	serverTLS, clientTLS := framework.DevTLS()
	c, err := framework.NewClient("lookup.v1", framework.ClientConfig{TLS: clientTLS, Resolver: &registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := lookup.Call(context.Background(), c, &lookupReq{"a"}, framework.WaitForReady(), framework.WithTimeout(time.Minute))
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(resp.Value)
	}()

	srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()
	lookup.Handle(srv, lookUp)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { // ends with Close
		if err := srv.Serve(context.Background(), socket); err != nil {
			fmt.Println(err)
		}
	}()
	if err := srv.Announce(context.Background(), &registry, "lookup.v1", pool.Endpoint{Address: socket.LocalAddr().String()}); err != nil {
		fmt.Println(err)
		return
	}
	<-done
	// Output:
	// value of a
}
