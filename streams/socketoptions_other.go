//go:build !linux

package streams

import "net"

// copySocketOptions gives to the sizes of buffers that quic-go asks for. The rest is as it is by default: ECN is then not
// read, and large packets may be fragmented.
func copySocketOptions(to, _ *net.UDPConn) {
	const bytes = 7 << 20
	_ = to.SetReadBuffer(bytes)  // less is slower
	_ = to.SetWriteBuffer(bytes) // the same
}
