package streams

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsentBytes bounds what waits in the kernel without having been sent (TCP_NOTSENT_LOWAT, tcp(7)). What waits there has left
// our order of urgency.
const unsentBytes = 32 << 10

// limitUnsent makes the socket take no more than it is about to send.
func limitUnsent(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // an old kernel just queues more
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
	})
}

// addKernelStats adds what the kernel knows of the connection (TCP_INFO, tcp(7)).
func addKernelStats(c net.Conn, s *Stats) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // fails when the connection is closed
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			s.CongestionWindow = uint64(info.Snd_cwnd) * uint64(info.Snd_mss)
			s.PacketsLost, s.BytesLost = uint64(info.Total_retrans), info.Bytes_retrans
		}
	})
}
