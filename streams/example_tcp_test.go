package streams

import (
	"context"
	"fmt"
	"net"

	"github.com/mycel-rpc/mycel/wire"
)

// A server that is reached over TCP only, as by a client whose network blocks UDP.
func ExampleDialer_Dial() {
	ctx := context.Background()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := ListenTCP(socket, Config{TLS: serverTLS, Serve: echo})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ln.Close()
	accepted := make(chan *Conn, 1)
	go func() {
		server, err := ln.Accept(ctx)
		if err != nil {
			fmt.Println(err)
		}
		accepted <- server
	}()

	dialer, err := NewDialer(PreferQUIC, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dialer.Close()
	client, err := dialer.Dial(ctx, ln.Addr().String(), Config{TLS: clientTLS})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	server := <-accepted
	defer server.Close()

	body, _, err := call(ctx, client, wire.ClassRPC, []byte("hello"))
	fmt.Println(string(body), err, "over", client.Stats().Transport)
	// Output: hello <nil> over tcp
}
