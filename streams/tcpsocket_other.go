//go:build !unix

package streams

import "net"

// A directWriter would write without blocking; here everything is written by the goroutine that may block.
type directWriter struct{}

func newDirectWriter(*net.TCPConn) *directWriter { return nil }

func (*directWriter) write([]byte) (int, error) { return 0, nil }
