package integration

import (
	"context"
	"net"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/pool"
)

// startIPv6 starts a server at the loopback address of IPv6.
func startIPv6(t *testing.T) (address string) {
	t.Helper()
	socket, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skipf("NOT TESTED: this host has no IPv6: %v", err)
	}
	checkBaseline(t)
	p := &pair{socket: socket, server: newServer(t, framework.ServerConfig{Objects: networkOnly}, func(r framework.Registrar) {
		for _, k := range kinds {
			k.handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
		}
	})}
	p.serve(t, p.server, p.socket)
	return socket.LocalAddr().String()
}

func clientOf(t *testing.T, target string, cfg framework.ClientConfig) *framework.Client {
	t.Helper()
	cfg.TLS, cfg.Objects = clientTLS, networkOnly
	c := must(framework.NewClient(target, cfg))(t, "NewClient")
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestCallsOfEveryKindTravelOverIPv6(t *testing.T) {
	address := startIPv6(t)
	for _, transport := range []framework.TransportPolicy{framework.TransportAuto, framework.TransportQUIC} {
		c := clientOf(t, address, framework.ClientConfig{Transport: transport})
		for _, k := range kinds {
			if o := k.call(t.Context(), c, &Text{"six"}); o.err != nil || o.response.Text != "six" {
				t.Errorf("%s: %v, %v", k.name, o.response, o.err)
			}
		}
		if got := c.Stats().Conns[0].Peer; got != address {
			t.Errorf("connected to %s, want %s", got, address)
		}
	}
}

// A name has an address of each family, and one of them is dead: packets to it vanish. No call fails, whichever is tried first.
func TestADeadFamilyOfAddressesFailsNoCall(t *testing.T) {
	six := startIPv6(t)
	four := listenUDP(t, "127.0.0.1:0") // nobody reads
	defer four.Close()
	for range 4 { // the order is random
		var registry pool.Registry
		for _, address := range []string{four.LocalAddr().String(), six} {
			must(registry.Register(t.Context(), "greeter", pool.Endpoint{Address: address}))(t, "Register")
		}
		c := clientOf(t, "greeter", framework.ClientConfig{Resolver: &registry, Transport: framework.TransportQUIC})
		for range 20 {
			must(Say.Call(t.Context(), c, &Text{"x"}))(t, "Say")
		}
	}
}
