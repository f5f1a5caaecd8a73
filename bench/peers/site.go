package main

import (
	"context"
	"net"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

// A site is where a server and its clients have their sockets.
type site struct {
	address   net.IP // of the server
	listenUDP func() (*net.UDPConn, error)
	dialUDP   func(context.Context) (net.PacketConn, error)
	listenTCP func() (net.Listener, error)
	dialTCP   func(ctx context.Context, addr string) (net.Conn, error)
}

var loopback = site{
	address:   net.IPv4(127, 0, 0, 1),
	listenUDP: func() (*net.UDPConn, error) { return net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) },
	dialUDP:   nil, // whatever the client takes by itself
	listenTCP: func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
	dialTCP: func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	},
}

// labSite is a server on the right host of a lab and its clients on the left one. TCP connections have the options at both
// ends.
func labSite(lab *netlab.Lab, tcp ...netlab.SocketOption) site {
	return site{
		address:   lab.Right.Addr().AsSlice(),
		listenUDP: func() (*net.UDPConn, error) { return lab.Right.ListenPacket(context.Background(), "") },
		dialUDP:   func(ctx context.Context) (net.PacketConn, error) { return lab.Left.ListenPacket(ctx, "") },
		listenTCP: func() (net.Listener, error) { return lab.Right.Listen(context.Background(), "", tcp...) },
		dialTCP: func(ctx context.Context, addr string) (net.Conn, error) {
			return lab.Left.Dial(ctx, "tcp", addr, tcp...)
		},
	}
}
