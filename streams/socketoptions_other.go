//go:build !linux

package streams

import "net"

// copySocketOptions gives to the sizes of buffers that quic-go asks for. The rest is as it is by default: ECN is then not
// read, and large packets may be fragmented.
func copySocketOptions(to, _ *net.UDPConn) {
	_ = to.SetReadBuffer(wantBufferBytes)  // less is slower
	_ = to.SetWriteBuffer(wantBufferBytes) // the same
}

// bufferBytes returns the sizes of the buffers of a socket, 0 if they are not known.
func bufferBytes(*net.UDPConn) (receive, send int) { return 0, 0 }
