//go:build unix

package streams

import (
	"net"
	"syscall"
)

// A directWriter writes to a TCP connection without ever blocking. It belongs to one goroutine at a time.
type directWriter struct {
	raw syscall.RawConn
	p   []byte
	n   int
	err error
	f   func(fd uintptr) bool // bound once, so that writing does not allocate
}

// newDirectWriter returns nil when the connection gives no access to its file descriptor.
func newDirectWriter(c *net.TCPConn) *directWriter {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	d := &directWriter{raw: raw}
	d.f = func(fd uintptr) bool {
		for {
			d.n, d.err = syscall.Write(int(fd), d.p)
			if d.err != syscall.EINTR {
				return true
			}
		}
	}
	return d
}

// write writes as much of p as there is room for.
func (d *directWriter) write(p []byte) (int, error) {
	d.p = p
	err := d.raw.Write(d.f)
	d.p = nil
	switch {
	case err != nil:
		return 0, err
	case d.err == syscall.EAGAIN:
		return 0, nil
	}
	return max(d.n, 0), d.err
}
