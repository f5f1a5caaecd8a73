package framework

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/streams"
)

// A TransportPolicy says which transports a server or a client uses.
type TransportPolicy = streams.Policy

const (
	TransportAuto = streams.PreferQUIC // QUIC, and TLS over TCP where UDP is blocked; the default
	TransportQUIC = streams.OnlyQUIC   // QUIC only
	TransportTCP  = streams.OnlyTCP    // TLS over TCP only
)

// A listener accepts connections over one transport.
type listener interface {
	Accept(context.Context) (*streams.Conn, error)
	Addr() net.Addr
	Close() error
	Release() error
}

// ListenAndServe listens on the address, "127.0.0.1:4433" or ":4433", and serves until ctx ends, which closes the server, or
// until [Server.Shutdown] or [Server.Close]. It returns nil in these cases. It listens on the port for QUIC and on the one of
// the same number for TLS over TCP; ServerConfig.Transport can forbid one of them.
func (s *Server) ListenAndServe(ctx context.Context, address string) error {
	udp, tcp, err := listen(ctx, address, s.cfg.Transport)
	if err != nil {
		return err
	}
	return s.serve(ctx, udp, tcp)
}

// Serve is [Server.ListenAndServe] on a socket of the caller's, which it takes ownership of, for QUIC only. A server may serve
// several sockets and listeners at the same time.
func (s *Server) Serve(ctx context.Context, socket net.PacketConn) error {
	return s.serve(ctx, socket, nil)
}

// ServeTCP is [Server.ListenAndServe] on a listener of the caller's, which it takes ownership of, for TLS over TCP only. TLS is the
// server's: connections that ln accepts are not encrypted yet.
func (s *Server) ServeTCP(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, nil, ln)
}

// portTries is how many ports are tried when any will do, until one is free for both UDP and TCP.
const portTries = 20

// listen opens what the policy says at an address. What it does not say is nil.
func listen(ctx context.Context, address string, policy TransportPolicy) (udp net.PacketConn, tcp net.Listener, err error) {
	var l net.ListenConfig
	if policy == TransportTCP {
		if tcp, err = l.Listen(ctx, "tcp", address); err != nil {
			return nil, nil, fmt.Errorf("framework: listening on %s: %w", address, err)
		}
		return nil, tcp, nil
	}
	_, port, _ := net.SplitHostPort(address) // its error comes from ListenPacket as well
	for try := 1; ; try++ {
		if udp, err = l.ListenPacket(ctx, "udp", address); err != nil {
			return nil, nil, fmt.Errorf("framework: listening on %s: %w", address, err)
		}
		if policy == TransportQUIC {
			return udp, nil, nil
		}
		if tcp, err = l.Listen(ctx, "tcp", udp.LocalAddr().String()); err == nil {
			return udp, tcp, nil
		}
		_ = udp.Close() // the error that matters is err
		if port != "0" && port != "" || try == portTries {
			return nil, nil, fmt.Errorf("framework: listening for TCP beside UDP, which ServerConfig.Transport can forbid: %w", err)
		}
	}
}

// serve serves on a socket, on a listener, or on both.
func (s *Server) serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	listeners, err := s.open(udp, tcp)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.closeNow)
	defer stop()
	var accepting sync.WaitGroup
	for ln := range listeners {
		s.log.Info("serving", zap.Stringer("address", ln.Addr()), zap.String("network", ln.Addr().Network()))
		accepting.Go(func() { // ends with the listener, which has been closed, or with ctx
			defer s.accepting.Done()
			for {
				conn, err := ln.Accept(ctx)
				if err != nil {
					return
				}
				s.adopt(conn)
			}
		})
	}
	accepting.Wait()
	// The listeners have been closed, or ctx has ended: wait for what that sets in motion.
	if ctx.Err() != nil {
		return s.Close()
	}
	select {
	case <-s.signal.closed:
		return nil
	case <-ctx.Done():
		return s.Close()
	}
}

// open makes listeners of a socket and of a listener for TCP, one of which may be nil, and has the server close them. It takes
// ownership of both, also when it fails.
func (s *Server) open(udp net.PacketConn, tcp net.Listener) (map[listener]io.Closer, error) {
	conf := s.connConfig()
	conf.HostOffer = func(c *streams.Conn) []byte { return s.hostOffer().Offer(c, c.Owner().(*Peer).objects) }
	open := map[listener]io.Closer{}
	var errs []error
	if udp != nil {
		if ln, err := streams.Listen(udp, conf); err != nil {
			errs = append(errs, err, udp.Close())
		} else {
			open[ln] = udp
		}
	}
	if tcp != nil {
		if ln, err := streams.ListenTCP(tcp, conf); err != nil {
			errs = append(errs, err)
		} else {
			open[ln] = io.NopCloser(nil) // it has closed what it was made of
		}
	}
	if len(errs) > 0 {
		errs = []error{fmt.Errorf("framework: %w", errors.Join(errs...))}
	} else if s.enroll(open) {
		return open, nil
	} else {
		errs = []error{Errorf(FailedPrecondition, "server has been shut down")}
	}
	for ln, after := range open {
		errs = append(errs, ln.Close(), ln.Release(), after.Close())
	}
	return nil, errors.Join(errs...)
}

// enroll has Close close the listeners. It reports false when the server has been closed.
func (s *Server) enroll(listeners map[listener]io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || s.mu.draining {
		return false
	}
	maps.Copy(s.mu.listeners, listeners)
	s.accepting.Add(len(listeners)) // serve takes them off
	return true
}
