package streams

import (
	"net"

	"golang.org/x/sys/unix"
)

// copySocketOptions gives to what quic-go has set on from: that packets are not fragmented, that their ECN bits and
// addresses are read, and the sizes of the buffers. What cannot be set is as it is by default, which costs speed only.
func copySocketOptions(to, from *net.UDPConn) {
	type option struct{ level, name, value int }
	options := []option{
		{level: unix.IPPROTO_IP, name: unix.IP_MTU_DISCOVER},
		{level: unix.IPPROTO_IP, name: unix.IP_RECVTOS},
		{level: unix.IPPROTO_IP, name: unix.IP_PKTINFO},
		{level: unix.IPPROTO_IPV6, name: unix.IPV6_MTU_DISCOVER},
		{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVTCLASS},
		{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVPKTINFO},
		{level: unix.SOL_SOCKET, name: unix.SO_RCVBUF},
		{level: unix.SOL_SOCKET, name: unix.SO_SNDBUF},
	}
	forced := map[int]int{unix.SO_RCVBUF: unix.SO_RCVBUFFORCE, unix.SO_SNDBUF: unix.SO_SNDBUFFORCE}
	source, err := from.SyscallConn()
	if err != nil {
		return
	}
	target, err := to.SyscallConn()
	if err != nil {
		return
	}
	_ = source.Control(func(fd uintptr) {
		for i := range options {
			o := &options[i]
			if o.value, err = unix.GetsockoptInt(int(fd), o.level, o.name); err != nil {
				o.value = -1 // for instance one of IPv6 on a socket of IPv4
			}
		}
	})
	_ = target.Control(func(fd uintptr) {
		for _, o := range options {
			switch {
			case o.value < 0:
			case o.level == unix.SOL_SOCKET: // the kernel tells twice what was asked for
				if unix.SetsockoptInt(int(fd), o.level, forced[o.name], o.value/2) != nil {
					_ = unix.SetsockoptInt(int(fd), o.level, o.name, o.value/2)
				}
			default:
				_ = unix.SetsockoptInt(int(fd), o.level, o.name, o.value)
			}
		}
	})
}

// bufferBytes returns the sizes of the buffers of a socket, 0 if they are not known.
func bufferBytes(conn *net.UDPConn) (receive, send int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0
	}
	_ = raw.Control(func(fd uintptr) { // what fails leaves 0
		receive, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		send, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	return receive, send
}
