package framework_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
)

// TestStatsOfConnections: both sides see the same connections, and what passes over them.
func TestStatsOfConnections(t *testing.T) {
	serverTLS, clientTLS := framework.DevTLS()
	server, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		t.Fatal(err)
	}
	waiting, release := make(chan framework.ConnStats), make(chan struct{})
	hold := framework.NewUnary[HelloReq, HelloResp]("stats.v1/Hold", framework.WithClass(framework.ClassBulk))
	hold.Handle(server, func(ctx context.Context, _ *HelloReq) (*HelloResp, error) {
		waiting <- framework.PeerFrom(ctx).Stats()
		<-release
		return new(HelloResp), nil
	})
	Hello.Handle(server, func(context.Context, *HelloReq) (*HelloResp, error) { return new(HelloResp), nil })
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
	if s := client.Stats(); len(s.Conns) != 0 || s.Target != socket.LocalAddr().String() {
		t.Errorf("a client that never called has %+v", s)
	}
	if _, err := Hello.Call(t.Context(), client, new(HelloReq)); err != nil {
		t.Fatal(err)
	}
	held := make(chan error)
	go func() {
		_, err := hold.Call(t.Context(), client, new(HelloReq))
		held <- err
	}()
	seen := <-waiting
	c, s := client.Stats(), server.Stats()
	if len(c.Conns) != 2 || len(s.Conns) != 2 || len(s.Addresses) != 1 || s.Addresses[0] != socket.LocalAddr().String() {
		t.Fatalf("the client has %+v and the server %+v, want two connections each", c, s)
	}
	main, bulk := c.Conns[0], c.Conns[1]
	if main.Role != "main" || bulk.Role != "bulk" || main.Calls != 0 || bulk.Calls != 1 || bulk.Serving != 0 || s.Conns[1].Serving != 1 || seen.Serving != 1 {
		t.Errorf("the client has %+v and the server %+v, want a call on the bulk connection", c, s)
	}
	for _, conn := range append(c.Conns, s.Conns...) {
		p := conn.Path
		if p.Transport != "quic" || p.SmoothedRTT <= 0 || p.LatestRTT <= 0 || p.MinRTT > p.SmoothedRTT*2 || p.CongestionWindow == 0 ||
			p.PacketsSent == 0 || p.BytesReceived == 0 || p.EarlyData || p.Rebinds != 0 || conn.Draining || conn.Unproven || conn.Age <= 0 {
			t.Errorf("a connection has %+v", conn)
		}
	}
	if main.Peer != socket.LocalAddr().String() {
		t.Errorf("the client says that its peer is %s", main.Peer)
	}
	close(release)
	if err := <-held; err != nil {
		t.Error(err)
	}
	if err := errors.Join(client.Close(), server.Close(), <-served); err != nil {
		t.Error(err)
	}
	if s := server.Stats(); len(s.Conns) != 0 {
		t.Errorf("a closed server has %+v", s)
	}
}

// ExampleClient_Stats prints what is known of the connections of a client.
func ExampleClient_Stats() {
	server, err := framework.NewServer(framework.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	Hello.Handle(server, func(context.Context, *HelloReq) (*HelloResp, error) { return new(HelloResp), nil })
	client := framework.InProcess(server)
	if _, err := Hello.Call(context.Background(), client, new(HelloReq)); err != nil {
		fmt.Println(err)
	}
	for _, c := range client.Stats().Conns {
		fmt.Println(c.Role, c.Peer, c.Path.Transport, c.Calls, c.Path.PacketsLost, c.Age < time.Hour)
	}
	if err := errors.Join(client.Close(), server.Close()); err != nil {
		fmt.Println(err)
	}
	// Output: main in-process pipe 0 0 true
}
