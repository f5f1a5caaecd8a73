package framework_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

type account struct {
	ID      uint64
	Name    string
	Email   string
	Tags    []string
	Active  bool
	Visits  uint32
	Balance float64
}

var echoAccount = framework.NewUnary[account, account]("bench.v1/Echo")

// serveLoopback serves srv on a loopback port until the test ends and returns a client of it.
func serveLoopback(t testing.TB, srv *framework.Server, server func(net.PacketConn) error, cfg framework.ClientConfig) *framework.Client {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server(socket) }()
	c, err := framework.NewClient(socket.LocalAddr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

func BenchmarkUnary(b *testing.B) {
	for _, conns := range []int{1, 4} {
		for _, workers := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("conns-%d/outstanding-%d", conns, workers), func(b *testing.B) {
				serverTLS, clientTLS := framework.DevTLS()
				srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
				if err != nil {
					b.Fatal(err)
				}
				echoAccount.Handle(srv, func(_ context.Context, a *account) (*account, error) { return a, nil })
				c := serveLoopback(b, srv, func(s net.PacketConn) error { return srv.Serve(context.Background(), s) },
					framework.ClientConfig{TLS: clientTLS, MaxConnections: conns})
				if err := c.Connect(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for w := range workers {
					wg.Go(func() {
						a := account{uint64(w), "Ada Lovelace", "ada.lovelace@example.com", []string{"trial", "annual"}, true, 77, 12.5}
						for range (b.N + workers - 1 - w) / workers {
							if r, err := echoAccount.Call(b.Context(), c, &a); err != nil || r.ID != a.ID {
								b.Error(r, err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		}
	}
}
