package streams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// A socket is the packet connection of one dialed connection, on which the real one can be replaced. quic-go does not
// notice: to it and to the server it is as if a translator of addresses had begun to use another port (RFC 9000,
// section 9.3).
//
// quic-go can also move a connection itself (Conn.AddPath). That has three faults. It sends no PATH_CHALLENGE while the
// congestion window is full, which is what it is when nothing gets through any more: connections with much to send could not move
// (TestCallsSurviveAChangeOfAddress/blocked). It cannot let go of a socket before the connection
// ends. And then its RemoteAddr and ConnectionState race with the switch.
type socket struct {
	open    func(context.Context) (net.PacketConn, error) // another one; nil if there are no others
	current atomic.Pointer[realSocket]
	rebinds atomic.Uint64
	// established says that a network that is gone for a while is not an error any more: quic-go would end the connection,
	// although packets that are not sent are the same to it as packets that are lost. Who connects wants to know.
	established atomic.Bool

	mu struct {
		sync.Mutex   // held to replace current
		closed       bool
		readDeadline time.Time
	}
}

// A realSocket is what the packets of a socket come and go through.
type realSocket struct {
	net.PacketConn
	udp   *net.UDPConn // the same; nil if it is none
	batch *ipv4.PacketConn
}

func newRealSocket(conn net.PacketConn) *realSocket {
	r := &realSocket{PacketConn: conn}
	if r.udp, _ = conn.(*net.UDPConn); r.udp != nil {
		r.batch = ipv4.NewPacketConn(r.udp)
	}
	return r
}

// newSocket returns a socket over conn, and what to give to quic-go, which does more with a UDP socket of the kernel.
func newSocket(conn net.PacketConn, open func(context.Context) (net.PacketConn, error)) (*socket, net.PacketConn) {
	s := &socket{open: open}
	r := newRealSocket(conn)
	s.current.Store(r)
	if r.udp != nil {
		return s, &kernelSocket{s}
	}
	return s, s
}

// rebind replaces the real socket.
func (s *socket) rebind(ctx context.Context) error {
	if s.open == nil {
		return fmt.Errorf("streams: a connection on a socket that was given cannot use another one: %w", errors.ErrUnsupported)
	}
	conn, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("streams: opening another UDP socket: %w", err)
	}
	next := newRealSocket(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	if s.mu.closed || (old.udp == nil) != (next.udp == nil) {
		_ = conn.Close()
		if s.mu.closed {
			return ErrClosed
		}
		return errors.New("streams: ListenPacket returned sockets of different kinds")
	}
	if next.udp != nil {
		copySocketOptions(next.udp, old.udp)
	}
	if !s.mu.readDeadline.IsZero() {
		_ = next.SetReadDeadline(s.mu.readDeadline)
	}
	s.current.Store(next)
	s.rebinds.Add(1)
	_ = old.Close() // wakes who reads from it, who goes on with the new one
	return nil
}

// lost reports whether an error of a send means that the packet was lost and the next one need not be.
func (s *socket) lost(err error) bool {
	if !s.established.Load() {
		return false
	}
	for _, transient := range []error{
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EADDRNOTAVAIL,
		syscall.ENOBUFS, syscall.EPERM, syscall.ECONNREFUSED,
	} {
		if errors.Is(err, transient) {
			return true
		}
	}
	return false
}

func (s *socket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		r := s.current.Load()
		n, addr, err := r.ReadFrom(p)
		if err == nil {
			return n, addr, nil
		}
		if s.current.Load() == r {
			return n, addr, err
		}
	}
}

func (s *socket) WriteTo(p []byte, addr net.Addr) (int, error) {
	for {
		r := s.current.Load()
		n, err := r.WriteTo(p, addr)
		switch {
		case err == nil:
			return n, nil
		case s.current.Load() != r:
			continue
		case s.lost(err):
			return len(p), nil
		}
		return n, err
	}
}

// Close closes the real socket, for good.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	return s.current.Load().Close()
}

// SetReadDeadline is what quic-go stops reading with.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.readDeadline = t
	return s.current.Load().SetReadDeadline(t)
}

func (s *socket) LocalAddr() net.Addr                { return s.current.Load().LocalAddr() }
func (s *socket) SetDeadline(t time.Time) error      { return s.current.Load().SetDeadline(t) }
func (s *socket) SetWriteDeadline(t time.Time) error { return s.current.Load().SetWriteDeadline(t) }

// A kernelSocket is a socket over UDP sockets of the kernel: what quic-go calls an OOBCapablePacketConn, with its own ReadBatch.
type kernelSocket struct{ *socket }

func (s *kernelSocket) SyscallConn() (syscall.RawConn, error) {
	return s.current.Load().udp.SyscallConn()
}
func (s *kernelSocket) SetReadBuffer(bytes int) error {
	return s.current.Load().udp.SetReadBuffer(bytes)
}
func (s *kernelSocket) SetWriteBuffer(bytes int) error {
	return s.current.Load().udp.SetWriteBuffer(bytes)
}

func (s *kernelSocket) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	for {
		r := s.current.Load()
		if n, oobn, flags, addr, err = r.udp.ReadMsgUDP(b, oob); err == nil {
			return
		}
		if s.current.Load() == r {
			return
		}
	}
}

func (s *kernelSocket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		r := s.current.Load()
		n, err := r.batch.ReadBatch(ms, flags)
		if err == nil {
			return n, nil
		}
		if s.current.Load() == r {
			return n, err
		}
	}
}

func (s *kernelSocket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	for {
		r := s.current.Load()
		n, oobn, err = r.udp.WriteMsgUDP(b, oob, addr)
		switch {
		case err == nil:
			return n, oobn, nil
		case s.current.Load() != r:
			continue
		case s.lost(err):
			return len(b), len(oob), nil
		}
		return n, oobn, err
	}
}
