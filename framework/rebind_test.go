package framework_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// TestClientMoves: a call and a stream that are in progress when the client moves to other sockets go on.
func TestClientMoves(t *testing.T) {
	serverTLS, clientTLS := framework.DevTLS()
	server, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	hold := framework.NewUnary[HelloReq, HelloResp]("rebind.v1/Hold")
	hold.Handle(server, func(context.Context, *HelloReq) (*HelloResp, error) {
		close(started)
		<-release
		return new(HelloResp), nil
	})
	chat := framework.NewBidi[HelloReq, HelloReq]("rebind.v1/Chat", framework.WithClass(framework.ClassBulk))
	chat.Handle(server, func(_ context.Context, in iter.Seq2[*HelloReq, error], out framework.Sender[HelloReq]) error {
		for q, err := range in {
			if err != nil {
				return err
			}
			if err := out.Send(q); err != nil {
				return err
			}
		}
		return nil
	})
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- server.Serve(context.Background(), socket) }()
	client, err := framework.NewClient(socket.LocalAddr().String(), framework.ClientConfig{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Rebind(t.Context()); err != nil {
		t.Errorf("a client without connections: %v", err)
	}
	held := make(chan error)
	go func() {
		_, err := hold.Call(t.Context(), client, new(HelloReq))
		held <- err
	}()
	<-started
	stream, err := chat.Open(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := stream.Send(&HelloReq{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if got, err := stream.Recv(); err != nil || got.Name != fmt.Sprint(i) {
			t.Fatalf("message %d came back as %v, %v", i, got, err)
		}
		if err := client.Rebind(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range client.Stats().Conns {
		if c.Path.Rebinds != 3 {
			t.Errorf("a connection has moved %d times, want 3", c.Path.Rebinds)
		}
	}
	close(release)
	if err := <-held; err != nil {
		t.Error(err)
	}
	if err := errors.Join(stream.Close(), client.Close(), server.Close(), <-served); err != nil {
		t.Error(err)
	}
}

// ExampleClient_Rebind is what a program does that is told of a new network.
func ExampleClient_Rebind() {
	_, clientTLS := framework.DevTLS()
	client, err := framework.NewClient("greeter:4433", framework.ClientConfig{TLS: clientTLS})
	if err != nil {
		fmt.Println(err)
		return
	}
	networkChanged := func(ctx context.Context) {
		if err := client.Rebind(ctx); err != nil {
			fmt.Println("some servers cannot be reached from here:", err)
		}
	}
	networkChanged(context.Background())
	if err := client.Close(); err != nil {
		fmt.Println(err)
	}
	// Output:
}
