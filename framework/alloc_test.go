//go:build !race

package framework_test

import (
	"context"
	"net"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// TestUnaryCallAllocations holds the budget of a small unary call, client and server together: 8 allocations of ours for
// two messages with texts and a list each, and 14 of QUIC for a packet each way, which calls made at the same time share.
func TestUnaryCallAllocations(t *testing.T) {
	serverTLS, clientTLS := framework.DevTLS()
	srv, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS})
	if err != nil {
		t.Fatal(err)
	}
	echoAccount.Handle(srv, func(_ context.Context, a *account) (*account, error) { return a, nil })
	near := framework.InProcess(srv)
	defer near.Close()
	far := serveLoopback(t, srv, func(s net.PacketConn) error { return srv.Serve(context.Background(), s) }, framework.ClientConfig{TLS: clientTLS})
	for _, c := range []struct {
		name   string
		caller framework.Caller
		budget float64
	}{{"in process", near, 10}, {"over QUIC", far, 26}} {
		t.Run(c.name, func(t *testing.T) {
			a := account{1, "Ada Lovelace", "ada.lovelace@example.com", []string{"trial", "annual"}, true, 77, 12.5}
			call := func() {
				if r, err := echoAccount.Call(t.Context(), c.caller, &a); err != nil || r.ID != a.ID {
					t.Fatal(r, err)
				}
			}
			for range 100 { // until the schemas are known and the buffers have their size
				call()
			}
			// What else the connection does now and then counts as well: the least of several measurements is that of calls.
			least := testing.AllocsPerRun(20, call)
			for range 100 {
				if least <= c.budget {
					return
				}
				least = min(least, testing.AllocsPerRun(20, call))
			}
			t.Errorf("a call takes %v allocations, the budget is %v", least, c.budget)
		})
	}
}
