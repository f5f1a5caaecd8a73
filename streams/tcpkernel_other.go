//go:build !linux

package streams

import "net"

// limitUnsent does nothing: what the kernel queues is bounded by its socket buffer only.
func limitUnsent(*net.TCPConn) {}

// addKernelStats does nothing: what the kernel knows of the connection is known on Linux only.
func addKernelStats(net.Conn, *Stats) {}
