package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serverTLS and clientTLS trust each other.
var serverTLS, clientTLS = framework.DevTLS()

// drainBound is how long the end of a test waits for calls that should have ended; only a bug makes it pass.
const drainBound = 10 * time.Second

// An environment is a way for a client to reach a server.
type environment struct {
	name    string
	objects *largeobj.Store // of both sides, unless the test says otherwise
	dial    func(t testing.TB, p *pair, cfg framework.ClientConfig) *framework.Client
}

var environments = []environment{
	{"quic", networkOnly, dialQUIC},
	{"quic with shared memory", nil, dialQUIC},
	{"tcp", networkOnly, dialTCP},
	{"in process", nil, func(t testing.TB, p *pair, cfg framework.ClientConfig) *framework.Client {
		t.Helper()
		c, err := framework.InProcessClient(p.server, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}},
}

var (
	overQUIC  = environments[0]
	overTCP   = environments[2]
	inProcess = environments[3]
)

// networkOnly is a store that shares no memory, so that large messages go through the network as between two hosts.
var networkOnly = func() *largeobj.Store {
	s, err := largeobj.New(largeobj.Config{StreamsOnly: true})
	if err != nil {
		panic(err)
	}
	return s
}()

func dialQUIC(t testing.TB, p *pair, cfg framework.ClientConfig) *framework.Client {
	t.Helper()
	p.socket = listenAgain(t)
	p.serve(t, p.server, p.socket)
	cfg.TLS = clientTLS
	c, err := framework.NewClient(p.socket.LocalAddr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dialTCP(t testing.TB, p *pair, cfg framework.ClientConfig) *framework.Client {
	t.Helper()
	p.listener = listenTCP(t, "127.0.0.1:0")
	p.serveTCP(t, p.server, p.listener)
	cfg.TLS, cfg.Transport = clientTLS, framework.TransportTCP
	c, err := framework.NewClient(p.listener.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// everywhere runs a test in every environment.
func everywhere(t *testing.T, test func(t *testing.T, e environment)) {
	t.Helper()
	for _, e := range environments {
		t.Run(e.name, func(t *testing.T) { test(t, e) })
	}
}

// everyKind runs a test in every environment with calls of every kind.
func everyKind(t *testing.T, test func(t *testing.T, e environment, k kind)) {
	t.Helper()
	everywhere(t, func(t *testing.T, e environment) {
		for _, k := range kinds {
			t.Run(k.name, func(t *testing.T) { test(t, e, k) })
		}
	})
}

// A setup says what a test wants. The zero value is a server that serves nothing.
type setup struct {
	server framework.ServerConfig
	client framework.ClientConfig
	serve  func(r framework.Registrar) // registers the methods of the server
	back   func(r framework.Registrar) // registers the methods that the client serves
}

// A pair is a client and a server.
type pair struct {
	server   *framework.Server
	client   *framework.Client
	socket   net.PacketConn // of the server; nil except over QUIC
	listener net.Listener   // of the server; nil except over TCP
}

// start sets up a client and a server, which end with the test. Then the server must drain: no call may be left
// on either side, unless the test has closed one of them itself.
func (e environment) start(t testing.TB, s setup) *pair {
	t.Helper()
	checkBaseline(t)
	s.server.Objects, s.client.Objects = cmp.Or(s.server.Objects, e.objects), cmp.Or(s.client.Objects, e.objects)
	p := &pair{server: newServer(t, s.server, s.serve)}
	p.client = e.dial(t, p, s.client)
	if s.back != nil {
		s.back(p.client)
	}
	t.Cleanup(func() {
		shutdown(t, p.server)
		if err := p.client.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return p
}

// serve serves on the socket until the server is closed, which the test must do.
func (p *pair) serve(t testing.TB, s *framework.Server, socket net.PacketConn) {
	t.Helper()
	serving(t, s, func() error { return s.Serve(context.Background(), socket) })
}

// serveTCP is serve on a listener for TCP.
func (p *pair) serveTCP(t testing.TB, s *framework.Server, ln net.Listener) {
	t.Helper()
	serving(t, s, func() error { return s.ServeTCP(context.Background(), ln) })
}

func serving(t testing.TB, s *framework.Server, serve func() error) {
	t.Helper()
	served := make(chan error, 1)     // capacity 1: sent to once
	go func() { served <- serve() }() // ends when s is closed; Cleanup waits
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the server: %v", err)
		}
		// A short test may be over before the goroutine has begun to serve.
		if err := <-served; err != nil && !errors.Is(err, framework.FailedPrecondition) {
			t.Errorf("serving: %v", err)
		}
	})
}

// newServer returns a server with the methods that serve registers.
func newServer(t testing.TB, cfg framework.ServerConfig, serve func(framework.Registrar)) *framework.Server {
	t.Helper()
	cfg.TLS = serverTLS
	s, err := framework.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if serve != nil {
		serve(s)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the server: %v", err)
		}
	})
	return s
}

// shutdown drains a server whose calls should all have ended.
func shutdown(t testing.TB, s *framework.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), drainBound, errors.New("a call is left"))
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("draining at the end of the test: %v", err)
	}
}

// checked is the test that checkBaseline was called for last.
var checked testing.TB

// checkBaseline checks, when everything else of the test has ended, that nothing is left of it. It does so once for a
// test, however many servers that has.
func checkBaseline(t testing.TB) {
	t.Helper()
	if checked == t {
		return
	}
	checked = t
	buffers, goroutines := wire.BuffersOut(), goleak.IgnoreCurrent()
	t.Cleanup(func() {
		// What is told to end by a context that has ended may take its time.
		for end := time.Now().Add(drainBound); time.Now().Before(end) && (wire.BuffersOut() != buffers || goleak.Find(goroutines) != nil); {
		}
		if n := wire.BuffersOut() - buffers; n != 0 {
			t.Errorf("%d pooled buffers were not released", n)
		}
		goleak.VerifyNone(t, goroutines)
	})
}

func listenUDP(t testing.TB, address string) net.PacketConn {
	t.Helper()
	socket, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// listenAgain opens a UDP socket on a port that can be listened on again later: it is none of those that are given to others.
func listenAgain(t testing.TB) net.PacketConn {
	t.Helper()
	var err error
	for range 100 {
		var socket net.PacketConn
		if socket, err = net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))); err == nil {
			return socket
		}
	}
	t.Fatal(err)
	return nil
}

func listenTCP(t testing.TB, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// wantCode fails the test unless err has the code.
func wantCode(t testing.TB, what string, err error, code framework.Code) {
	t.Helper()
	if got := framework.CodeOf(err); got != code {
		t.Fatalf("%s: got %v (%v), want code %v", what, got, err, code)
	}
}

// wantUnprocessed fails the test unless err says that no handler has seen the call.
func wantUnprocessed(t testing.TB, what string, err error) {
	t.Helper()
	if e, ok := errors.AsType[*framework.Error](err); !ok || !e.Unprocessed() {
		t.Fatalf("%s: %v does not say that the call is unprocessed", what, err)
	}
}

// wantWords fails the test unless the text of err has all the words: what a person needs to find the mistake.
func wantWords(t testing.TB, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error", what)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%s: %q does not mention %q", what, err, w)
		}
	}
}

// must returns v unless there is an error.
func must[T any](v T, err error) func(testing.TB, string) T {
	return func(t testing.TB, what string) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}
