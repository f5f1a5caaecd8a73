package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
)

const (
	rawWriteBytes  = 256 << 10
	rawWindowBytes = 16 << 20 // as the bulk connections of Mycel have
	rawHeadBytes   = 16       // number and size of an object
	rawAnswerBytes = 48
	rawALPN        = "bench-raw"
)

// rawServer is the endpoint of quic-raw: each object is a stream, read into one buffer and answered with a digest.
type rawServer struct {
	socket    *net.UDPConn
	transport *quic.Transport
	listener  *quic.Listener
	clientTLS *tls.Config
	wire      atomic.Uint64
	began     atomic.Int64   // by clock: when the first bytes of the last object were there
	running   sync.WaitGroup // the accept loop, connections and streams

	buffer struct {
		sync.Mutex
		b []byte
	}
}

func rawConfig() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow: rawWindowBytes, MaxStreamReceiveWindow: rawWindowBytes,
		InitialConnectionReceiveWindow: rawWindowBytes, MaxConnectionReceiveWindow: rawWindowBytes,
	}
}

func startRawQUIC() (endpoint, error) {
	serverTLS, clientTLS, err := newTLSConfigs(loopback.address)
	if err != nil {
		return nil, err
	}
	serverTLS.NextProtos, clientTLS.NextProtos = []string{rawALPN}, []string{rawALPN}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("bench: listen: %w", err)
	}
	s := &rawServer{socket: socket, clientTLS: clientTLS}
	s.transport = &quic.Transport{Conn: &countingSocket{UDPConn: socket, batches: ipv4.NewPacketConn(socket), total: &s.wire}}
	if s.listener, err = s.transport.Listen(serverTLS, rawConfig()); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: listen: %w", err), s.transport.Close(), socket.Close())
	}
	s.running.Go(s.accept) // ends when close closes the listener
	return s, nil
}

func (s *rawServer) accept() {
	for {
		conn, err := s.listener.Accept(context.Background())
		if err != nil {
			return
		}
		s.running.Go(func() { // ends when the client closes the connection
			for {
				stream, err := conn.AcceptStream(context.Background())
				if err != nil {
					return
				}
				s.running.Go(func() { // ends with the stream, at the latest with the connection
					if err := s.serve(stream); err != nil {
						stream.CancelRead(1)
						stream.CancelWrite(1)
					}
				})
			}
		})
	}
}

// serve receives one object and answers.
func (s *rawServer) serve(stream *quic.Stream) error {
	var head [rawHeadBytes]byte
	if _, err := io.ReadFull(stream, head[:]); err != nil {
		return err
	}
	s.began.Store(int64(clock()))
	size := binary.LittleEndian.Uint64(head[8:])
	if size < endBytes || size > maxPartsBytes {
		return errFrame
	}
	s.buffer.Lock()
	defer s.buffer.Unlock()
	if uint64(len(s.buffer.b)) < size {
		s.buffer.b = make([]byte, size)
	}
	b := s.buffer.b[:size]
	if _, err := io.ReadFull(stream, b); err != nil {
		return err
	}
	d := inspect(b)
	var answer []byte
	for _, v := range []uint64{binary.LittleEndian.Uint64(head[:]), uint64(d.SizeBytes), d.Head, d.Tail, d.Pages, uint64(d.AtNanos)} {
		answer = binary.LittleEndian.AppendUint64(answer, v)
	}
	if _, err := stream.Write(answer); err != nil {
		return err
	}
	return stream.Close()
}

func (s *rawServer) dial(ctx context.Context, _ bool) (caller, error) {
	socket, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, fmt.Errorf("bench: dial: %w", err)
	}
	tr := &quic.Transport{Conn: socket}
	conn, err := tr.Dial(ctx, s.listener.Addr(), s.clientTLS, rawConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bench: dial: %w", err), tr.Close(), socket.Close())
	}
	return &rawClient{server: s, conn: conn, transport: tr, socket: socket}, nil
}

func (s *rawServer) wireBytes() uint64 { return s.wire.Load() }

func (s *rawServer) close() error {
	err := errors.Join(s.listener.Close(), s.transport.Close(), s.socket.Close())
	s.running.Wait()
	return err
}

// rawClient hands objects over; it makes no calls.
type rawClient struct {
	caller
	server    *rawServer
	conn      *quic.Conn
	transport *quic.Transport
	socket    *net.UDPConn
}

func (c *rawClient) ready(context.Context) error { return nil }

func (c *rawClient) watch() func(uint64) error { return func(uint64) error { return nil } }

func (c *rawClient) hand(ctx context.Context, n uint64, sizeBytes int) (first, last time.Duration, err error) {
	stream, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return 0, 0, err
	}
	stop := context.AfterFunc(ctx, func() {
		stream.CancelRead(1)
		stream.CancelWrite(1)
	})
	defer stop()
	head := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, n), uint64(sizeBytes))
	if _, err := stream.Write(head); err != nil {
		return 0, 0, err
	}
	for data := samples().bytes(n, sizeBytes); len(data) > 0; {
		k, err := stream.Write(data[:min(len(data), rawWriteBytes)])
		if err != nil {
			return 0, 0, err
		}
		data = data[k:]
	}
	if err := stream.Close(); err != nil {
		return 0, 0, err
	}
	answer, err := io.ReadAll(io.LimitReader(stream, rawAnswerBytes+1))
	if err != nil {
		return 0, 0, err
	}
	if len(answer) != rawAnswerBytes {
		return 0, 0, errFrame
	}
	field := func(i int) uint64 { return binary.LittleEndian.Uint64(answer[8*i:]) }
	d := Digest{field(0), int64(field(1)), field(2), field(3), field(4), int64(field(5))}
	return time.Duration(c.server.began.Load()), time.Duration(d.AtNanos), d.check(n, samples().digest(n, sizeBytes), true)
}

func (c *rawClient) close() error {
	return errors.Join(c.conn.CloseWithError(0, ""), c.transport.Close(), c.socket.Close())
}
