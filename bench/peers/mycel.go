package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync/atomic"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
	"golang.org/x/net/ipv4"
)

var (
	smallMethod  = framework.NewUnary[Small, Small]("bench.v1/Small")
	lookupMethod = framework.NewUnary[Small, Small]("bench.v1/Lookup", framework.Idempotent())
	mediumMethod = framework.NewUnary[Medium, Medium]("bench.v1/Medium")
	bytesMethod  = framework.NewUnary[Bytes, Bytes]("bench.v1/Bytes")
	bulkMethod   = framework.NewUnary[Bytes, Bytes]("bench.v1/Bulk", framework.WithClass(framework.ClassBulk))
	ticksMethod  = framework.NewServerStream[StreamRequest, Tick]("bench.v1/Ticks")
	blobsMethod  = framework.NewServerStream[StreamRequest, Bytes]("bench.v1/Blobs")
)

// mycelServer is the endpoint of Mycel. Server and client have a store of large objects each, as in two processes.
type mycelServer struct {
	site      site
	near, far *largeobj.Store
	server    *framework.Server
	addr      string
	root      []byte // certificate of the server
	clientTLS *tls.Config
	sessions  tls.ClientSessionCache // of the clients that may resume
	wire      atomic.Uint64
	// compression is that of the server; clients have the same.
	compression framework.Compression
	served      chan error // capacity 1: what Serve returned
	limits      framework.ConnLimits
	shared      bool // objects travel in memory, or it is an error
	copied      bool // objects are made of bytes in the heap
}

// startMycel returns how Mycel is started, with the objects of both sides configured as in conf.
func startMycel(conf largeobj.Config) func() (endpoint, error) {
	return func() (endpoint, error) { return newMycel(loopback, conf) }
}

// startMycelCopy is startMycel for a client whose objects are made of bytes in the heap.
func startMycelCopy(conf largeobj.Config) func() (endpoint, error) {
	return func() (endpoint, error) {
		s, err := newMycel(loopback, conf)
		if err != nil {
			return nil, err
		}
		s.copied = true
		return s, nil
	}
}

// newMycel starts a server. Its configuration is adjusted as the caller wants.
func newMycel(at site, conf largeobj.Config, adjust ...func(*framework.ServerConfig)) (*mycelServer, error) {
	near, err := largeobj.New(conf)
	if err != nil {
		return nil, err
	}
	far, err := largeobj.New(conf)
	if err != nil {
		return nil, err
	}
	serverTLS, clientTLS, err := newTLSConfigs(at.address)
	if err != nil {
		return nil, err
	}
	serverConf := framework.ServerConfig{TLS: serverTLS, MaxMessageBytes: maxMessageBytes, Objects: far, EarlyData: true}
	for _, f := range adjust {
		f(&serverConf)
	}
	srv, err := framework.NewServer(serverConf)
	if err != nil {
		return nil, err
	}
	smallMethod.Handle(srv, echoMycel[Small])
	lookupMethod.Handle(srv, echoMycel[Small])
	mediumMethod.Handle(srv, echoMycel[Medium])
	bytesMethod.Handle(srv, echoMycel[Bytes])
	bulkMethod.Handle(srv, echoMycel[Bytes])
	ticksMethod.Handle(srv, func(_ context.Context, q *StreamRequest, out framework.Sender[Tick]) error {
		return sendTicks(*q, out.Send)
	})
	blobsMethod.Handle(srv, func(_ context.Context, q *StreamRequest, out framework.Sender[Bytes]) error {
		return sendBlobs(*q, out.Send)
	})
	handleObjects(srv)
	socket, err := at.listenUDP()
	if err != nil {
		return nil, fmt.Errorf("bench: listen: %w", err)
	}
	s := &mycelServer{site: at, near: near, far: far, server: srv, addr: socket.LocalAddr().String(), root: serverTLS.Certificates[0].Certificate[0], clientTLS: clientTLS,
		sessions: tls.NewLRUClientSessionCache(0), compression: serverConf.Compression, served: make(chan error, 1), shared: !conf.StreamsOnly}
	counted := &countingSocket{UDPConn: socket, batches: ipv4.NewPacketConn(socket), total: &s.wire}
	go func() { s.served <- srv.Serve(context.Background(), counted) }() // ends when close closes srv; close waits
	return s, nil
}

func echoMycel[T any](_ context.Context, v *T) (*T, error) { return v, nil }

func (s *mycelServer) dial(ctx context.Context, resume bool) (caller, error) {
	conf := s.clientTLS.Clone()
	if resume {
		conf.ClientSessionCache = s.sessions
	}
	c, err := s.client(framework.ClientConfig{TLS: conf})
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return mycelClient{c, s}, nil
}

// client returns a client with the configuration, which has not connected yet.
func (s *mycelServer) client(conf framework.ClientConfig) (*framework.Client, error) {
	conf.Limits = s.limits
	conf.MaxMessageBytes, conf.Objects, conf.ListenPacket, conf.Compression = maxMessageBytes, s.near, s.site.dialUDP, s.compression
	return framework.NewClient(s.addr, conf)
}

func (s *mycelServer) wireBytes() uint64 { return s.wire.Load() }

func (s *mycelServer) close() error {
	err := errors.Join(s.server.Close(), <-s.served)
	s.near.Close()
	s.far.Close()
	return err
}

// mycelClient is the caller of Mycel.
type mycelClient struct {
	c *framework.Client
	s *mycelServer
}

func (m mycelClient) small(ctx context.Context, q *Small) (*Small, error) {
	return smallMethod.Call(ctx, m.c, q)
}

func (m mycelClient) medium(ctx context.Context, q *Medium) (*Medium, error) {
	return mediumMethod.Call(ctx, m.c, q)
}

func (m mycelClient) bytes(ctx context.Context, q *Bytes) (*Bytes, error) {
	return bytesMethod.Call(ctx, m.c, q)
}

func (m mycelClient) bulk(ctx context.Context, q *Bytes) (*Bytes, error) {
	return bulkMethod.Call(ctx, m.c, q)
}

func (m mycelClient) ticks(ctx context.Context, q *StreamRequest) iter.Seq2[*Tick, error] {
	return ticksMethod.Call(ctx, m.c, q)
}

func (m mycelClient) blobs(ctx context.Context, q *StreamRequest) iter.Seq2[*Bytes, error] {
	return blobsMethod.Call(ctx, m.c, q)
}

func (m mycelClient) close() error { return m.c.Close() }

// countingSocket adds the datagrams that pass through the server's socket to total: those of all clients, in both
// directions. It has the methods by which quic-go reads several datagrams and writes segmented ones in one call.
type countingSocket struct {
	*net.UDPConn
	batches *ipv4.PacketConn
	total   *atomic.Uint64
}

// ReadBatch is how quic-go reads.
func (c *countingSocket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	n, err := c.batches.ReadBatch(ms, flags)
	for i := range n {
		c.total.Add(uint64(ms[i].N))
	}
	return n, err
}

// WriteMsgUDP is how quic-go writes.
func (c *countingSocket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = c.UDPConn.WriteMsgUDP(b, oob, addr)
	c.total.Add(uint64(n))
	return n, oobn, err
}
