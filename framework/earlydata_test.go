package framework

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
)

// A testNet is a network in a bubble of testing/synctest, on which packets take their time.
type testNet struct {
	delay time.Duration // one way
	mu    sync.Mutex
	nodes map[string]*testSocket
}

type testSocket struct {
	net   *testNet
	addr  *net.UDPAddr
	in    chan testPacket
	ended chan struct{} // closed by Close

	mu       sync.Mutex
	deadline chan struct{} // closed when reads time out
}

type testPacket struct {
	data []byte
	from net.Addr
}

func (n *testNet) socket(port int) *testSocket {
	s := &testSocket{
		net: n, addr: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port},
		in: make(chan testPacket, 1024), ended: make(chan struct{}), deadline: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[s.addr.String()] = s
	return s
}

func (s *testSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	data := append([]byte(nil), p...)
	time.AfterFunc(s.net.delay, func() {
		s.net.mu.Lock()
		dst := s.net.nodes[to.String()]
		s.net.mu.Unlock()
		if dst != nil {
			select {
			case dst.in <- testPacket{data, s.addr}:
			default: // lost
			}
		}
	})
	return len(p), nil
}

func (s *testSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	s.mu.Lock()
	deadline := s.deadline
	s.mu.Unlock()
	select {
	case got := <-s.in:
		return copy(p, got.data), got.from, nil
	case <-deadline:
		return 0, nil, os.ErrDeadlineExceeded
	case <-s.ended:
		return 0, nil, net.ErrClosed
	}
}

// SetReadDeadline is only used to stop reading.
func (s *testSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.deadline:
		if t.IsZero() {
			s.deadline = make(chan struct{})
		}
	default:
		if !t.IsZero() {
			close(s.deadline)
		}
	}
	return nil
}

func (s *testSocket) Close() error {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	if s.net.nodes[s.addr.String()] == s {
		delete(s.net.nodes, s.addr.String())
		close(s.ended)
	}
	return nil
}

func (s *testSocket) LocalAddr() net.Addr              { return s.addr }
func (s *testSocket) SetDeadline(t time.Time) error    { return errors.ErrUnsupported }
func (s *testSocket) SetWriteDeadline(time.Time) error { return nil }

type number struct{ N int }

var (
	readNumber  = NewUnary[number, number]("early.v1/Read", Idempotent())
	writeNumber = NewUnary[number, number]("early.v1/Write")
	// hasteNumber is the same method for a client that takes it for idempotent.
	hasteNumber = NewUnary[number, number]("early.v1/Write", Idempotent())
)

// TestFirstCallsOfAClient: from a client that has no connection to the response, with everything between: a client's
// first call takes two round trips, that of a client which was connected before one round trip if the method is idempotent,
// which the server decides: a handler of any other does not run until the handshake is complete, half a round trip before
// the response arrives.
func TestFirstCallsOfAClient(t *testing.T) {
	const roundTrip = 50 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		network := &testNet{delay: roundTrip / 2, nodes: map[string]*testSocket{}}
		serverTLS, clientTLS := DevTLS()
		objects, err := largeobj.New(largeobj.Config{StreamsOnly: true}) // shared memory needs a real socket
		if err != nil {
			t.Fatal(err)
		}
		defer objects.Close()
		server, err := NewServer(ServerConfig{TLS: serverTLS, EarlyData: true, Objects: objects})
		if err != nil {
			t.Fatal(err)
		}
		answer := func(_ context.Context, q *number) (*number, error) { return q, nil }
		readNumber.Handle(server, answer)
		writeNumber.Handle(server, answer)
		served := make(chan error)
		go func() { served <- server.Serve(context.Background(), network.socket(1)) }()

		var ports atomic.Int32
		dial := func(ctx context.Context, _ string, conf streams.Config) (*streams.Conn, error) {
			return streams.DialPacket(ctx, network.socket(1000+int(ports.Add(1))), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1}, conf)
		}
		client, err := newClient("localhost:1", ClientConfig{TLS: clientTLS, EarlyData: true, Objects: objects}, dial)
		if err != nil {
			t.Fatal(err)
		}
		call := func(claim string, m Unary[number, number], want time.Duration) {
			t.Helper()
			begin := time.Now()
			if _, err := m.Call(t.Context(), client, &number{7}); err != nil {
				t.Fatalf("%s: %v", claim, err)
			}
			took := time.Since(begin)
			t.Logf("%s: %v", claim, took)
			if took < want || took > want+roundTrip/10 {
				t.Errorf("%s took %v, want %v", claim, took, want)
			}
			time.Sleep(10 * time.Minute) // until the pool does not replace connections any more, because nobody uses it
			for _, c := range client.conns.Conns(0) {
				c.Close()
			}
			time.Sleep(time.Minute) // the next call dials again, and at once
		}
		call("the first call", readNumber, 2*roundTrip)
		call("an idempotent call", readNumber, roundTrip)
		call("a call that is not", writeNumber, 2*roundTrip)
		call("a call that only its client takes for idempotent", hasteNumber, 2*roundTrip)
		if err := errors.Join(client.Close(), server.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
}
