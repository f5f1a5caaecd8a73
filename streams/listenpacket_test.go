package streams

import (
	"context"
	"errors"
	"net"
	"testing"
)

// TestSocketOfTheCaller: a dialed connection uses the socket that its configuration opens, and closes it.
func TestSocketOfTheCaller(t *testing.T) {
	ln := listenLoopback(t, Config{})
	var socket *net.UDPConn
	cfg := Config{TLS: clientTLS, ListenPacket: func(context.Context) (_ net.PacketConn, err error) {
		socket, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		return socket, err
	}}
	accepted := acceptOne(t, ln)
	c, err := Dial(t.Context(), ln.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c, <-accepted)
	if c.LocalAddr().String() != socket.LocalAddr().String() {
		t.Errorf("the connection is on %v, want %v", c.LocalAddr(), socket.LocalAddr())
	}
	c.Close()
	if _, err := socket.WriteTo(nil, ln.Addr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket of a closed connection: %v", err)
	}

	no := errors.New("no socket today")
	cfg.ListenPacket = func(context.Context) (net.PacketConn, error) { return nil, no }
	if _, err := Dial(t.Context(), ln.Addr().String(), cfg); !errors.Is(err, no) {
		t.Errorf("Dial returned %v, want the error of ListenPacket", err)
	}
}
