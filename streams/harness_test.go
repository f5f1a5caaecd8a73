package streams

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serverTLS and clientTLS trust each other.
var serverTLS, clientTLS = testTLS()

func testTLS() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// A kind is one of the transports that every behaviour is tested over.
type kind struct {
	name string
	// pair connects two ends and ends both with the test.
	pair func(t testing.TB, client, server Config) (c, s *Conn)
	// raw connects a server to a peer of which only the transport exists: the test is the peer.
	raw func(t testing.TB, server Config) (s *Conn, peer transport)
}

var kinds = []kind{{"quic", quicPair, rawQUIC}, {"tcp", tcpPair, rawTCP}, {"pipe", pipePair, rawPipe}}

func onBoth(t *testing.T, f func(t *testing.T, k kind)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) { f(t, k) })
	}
}

// listenLoopback returns a listener that ends with the test.
func listenLoopback(t testing.TB, server Config) *Listener {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = serverTLS
	ln, err := Listen(socket, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []func() error{ln.Close, ln.Release, socket.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
	return ln
}

// acceptOne accepts one connection in the background.
func acceptOne(t testing.TB, ln interface {
	Accept(context.Context) (*Conn, error)
}) <-chan *Conn {
	accepted := make(chan *Conn, 1)
	go func() {
		s, err := ln.Accept(context.Background())
		if err != nil {
			t.Error(err)
		}
		accepted <- s
	}()
	return accepted
}

// quicPair connects a client and a server over loopback.
func quicPair(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	ln := listenLoopback(t, server)
	accepted := acceptOne(t, ln)
	client.TLS = clientTLS
	c, err := Dial(t.Context(), ln.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	s = <-accepted
	closeAtEnd(t, c, s)
	return c, s
}

// listenTCP returns a listener over TCP that ends with the test.
func listenTCP(t testing.TB, server Config) *TCPListener {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = serverTLS
	ln, err := ListenTCP(socket, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	})
	return ln
}

// tcpPair connects a client and a server over TCP over loopback.
func tcpPair(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	ln := listenTCP(t, server)
	accepted := acceptOne(t, ln)
	client.TLS = clientTLS
	c, err := DialTCP(t.Context(), ln.Addr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	s = <-accepted
	closeAtEnd(t, c, s)
	return c, s
}

// pipePair connects two ends in memory.
func pipePair(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	c, s, err := Pipe(client, server)
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c, s)
	return c, s
}

// openConns counts the connections of [closeAtEnd]; leaked is how many buffers earlier tests have lost.
var openConns, leaked int

// closeAtEnd closes the connections with the test and checks that nothing is left of them.
func closeAtEnd(t testing.TB, conns ...*Conn) {
	openConns += len(conns)
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
		if openConns -= len(conns); openConns == 0 {
			handlers.Wait() // not earlier: the others may start handlers
		}
		// Handlers, and goroutines of context.AfterFunc that nobody waits for, may take their time.
		soon := func(reached func() bool) {
			for tries := 0; !reached() && tries < 20_000; tries++ {
				if tries < 10_000 {
					runtime.Gosched()
				} else {
					<-time.After(time.Millisecond) // of the bubble, if the test runs in one
				}
			}
		}
		for _, c := range conns {
			soon(func() bool { return c.Outstanding() == 0 && c.Serving() == 0 && c.Load() == 0 })
			if c.Outstanding() != 0 || c.Serving() != 0 || c.Load() != 0 {
				t.Errorf("closed with %d calls (load %d) outstanding and %d served", c.Outstanding(), c.Load(), c.Serving())
			}
		}
		if openConns > 0 {
			return // their readers hold buffers
		}
		soon(func() bool { return int(wire.BuffersOut()) == leaked })
		if n := int(wire.BuffersOut()) - leaked; n != 0 {
			t.Errorf("%d buffers are still held", n)
			leaked += n
		}
	})
}

// waitFor fails the test when something that has to happen does not, long before the test run as a whole times out.
func waitFor(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	hung := time.NewTimer(20 * time.Second)
	defer hung.Stop()
	select {
	case <-done:
	case <-hung.C:
		t.Fatalf("waited in vain for %s", what)
	}
}

// request returns the payload of a request frame: a header for the method and a body.
func request(method string, body []byte) *wire.Buffer {
	b := wire.NewBuffer(64 + len(body))
	b.B = wire.AppendRequest(b.B, &wire.Request{Name: []byte(method)})
	b.B = append(b.B, body...)
	return b
}

// handlers are the goroutines of [async]; each test waits for its own.
var handlers sync.WaitGroup

// async serves each call on a goroutine of its own, as Config.Serve must.
func async(serve func(*Incoming)) func(*Incoming) {
	return func(in *Incoming) { handlers.Go(func() { serve(in) }) }
}

// echo answers every call with the body of its request.
var echo = async(echoNow)

func echoNow(in *Incoming) {
	var q wire.Request
	n, err := wire.ParseRequest(in.Payload.B, &q)
	if err != nil {
		in.Payload.Release()
		in.Refuse(wire.InvalidArgument, err.Error())
		return
	}
	out := wire.NewBuffer(len(in.Payload.B))
	out.B = wire.AppendResponse(out.B, &wire.Response{})
	out.B = append(out.B, in.Payload.B[n:]...)
	in.Payload.Release()
	in.Respond(out)
}

// call makes one unary call and returns the body of the response.
func call(ctx context.Context, c *Conn, class wire.Class, body []byte) ([]byte, wire.Status, error) {
	call, err := c.Start(ctx, class, wire.Unary, true, request("echo", body))
	if err != nil {
		return nil, wire.Status{}, err
	}
	defer call.Close(wire.Cancel{})
	_, b, err := call.Recv()
	if err != nil {
		return nil, wire.Status{}, err
	}
	defer b.Release()
	var r wire.Response
	n, err := wire.ParseResponse(b.B, &r)
	return append([]byte(nil), b.B[n:]...), r.Status, err
}

// until returns when a state that only shows in a variable has been reached.
func until(t testing.TB, c *Conn, reached func() bool) {
	t.Helper()
	for !reached() {
		if c.Err() != nil {
			t.Fatalf("the connection ended meanwhile: %v", c.Err())
		}
		runtime.Gosched()
	}
}
