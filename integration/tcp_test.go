package integration

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
)

// A tcpRelay forwards TCP connections to a server until it is told to cut or to hold them. What comes over UDP to the same
// port it takes and forgets.
type tcpRelay struct {
	udp net.PacketConn
	ln  net.Listener
	mu  struct {
		sync.Mutex
		conns []net.Conn
	}
	held chan struct{} // closed when nothing is forwarded any more
	wg   sync.WaitGroup
}

// startTCPRelay relays to the server until the test ends.
func startTCPRelay(t *testing.T, server net.Addr) *tcpRelay {
	t.Helper()
	r := &tcpRelay{held: make(chan struct{})}
	r.udp, r.ln = bothPorts(t)
	r.wg.Go(func() { // ends when the socket is closed
		for buf := make([]byte, 1500); ; {
			if _, _, err := r.udp.ReadFrom(buf); err != nil {
				return
			}
		}
	})
	r.wg.Go(func() { // ends when the listener is closed
		for {
			near, err := r.ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server.String())
			if err != nil {
				_ = near.Close()
				continue
			}
			r.mu.Lock()
			r.mu.conns = append(r.mu.conns, near, far)
			r.mu.Unlock()
			r.wg.Go(func() { r.forward(near, far) })
			r.wg.Go(func() { r.forward(far, near) })
		}
	})
	t.Cleanup(func() {
		_, _ = r.udp.Close(), r.ln.Close()
		r.cut()
		r.wg.Wait()
	})
	return r
}

// forward ends when either end is closed.
func (r *tcpRelay) forward(from, to net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-r.held:
		default:
			if err == nil {
				_, err = to.Write(buf[:n])
			}
		}
		if err != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}

// cut closes all connections.
func (r *tcpRelay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.mu.conns {
		_ = c.Close()
	}
}

// bothPorts opens a UDP socket and a listener for TCP on one port, which stays free when they are closed.
func bothPorts(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		udp := listenAgain(t)
		if ln, err := net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			return udp, ln
		}
		_ = udp.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

// wantTransport checks what the only connection of a client is over.
func wantTransport(t *testing.T, c *framework.Client, want string) {
	t.Helper()
	conns := c.Stats().Conns
	if len(conns) != 1 || conns[0].Path.Transport != want {
		t.Errorf("the connections are %+v, want one over %s", conns, want)
	}
}

func TestListenAndServeServesBothTransports(t *testing.T) {
	for policy, want := range map[framework.TransportPolicy][2]bool{ // QUIC, TCP
		framework.TransportAuto: {true, true},
		framework.TransportQUIC: {true, false},
		framework.TransportTCP:  {false, true},
	} {
		t.Run(policy.String(), func(t *testing.T) {
			checkBaseline(t)
			udp, tcp := bothPorts(t)
			address := udp.LocalAddr().String()
			_, _ = udp.Close(), tcp.Close()
			s := newServer(t, framework.ServerConfig{Transport: policy}, serveAll)
			serving(t, s, func() error { return s.ListenAndServe(context.Background(), address) })
			addresses := 0
			for i, only := range []framework.TransportPolicy{framework.TransportQUIC, framework.TransportTCP} {
				conf := framework.ClientConfig{TLS: clientTLS, Transport: only}
				if !want[i] {
					conf.DialTimeout = 200 * time.Millisecond
				}
				c := must(framework.NewClient(address, conf))(t, "NewClient")
				defer c.Close()
				if !want[i] {
					wantCode(t, "call over "+only.String(), c.Connect(t.Context()), framework.Unavailable)
					continue
				}
				addresses++
				for c.Connect(t.Context()) != nil { // until the server listens
				}
				r := must(Say.Call(t.Context(), c, &Text{"x"}))(t, "call over "+only.String())
				if r.Text != "x" {
					t.Errorf("got %v", r)
				}
				wantTransport(t, c, [...]string{"quic", "tcp"}[i])
			}
			if got := s.Stats().Addresses; len(got) != addresses {
				t.Errorf("serving on %q, want %d addresses", got, addresses)
			}
			shutdown(t, s)
		})
	}
}

func TestBlockedUDPIsNoObstacle(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			p := overTCP.start(t, setup{serve: serveAll})
			relay := startTCPRelay(t, p.listener.Addr())
			c := must(framework.NewClient(relay.ln.Addr().String(), framework.ClientConfig{TLS: clientTLS, MaxConnections: 1}))(t, "NewClient")
			defer c.Close()
			must(Say.Call(t.Context(), c, &Text{"x"}))(t, "call")
			wantTransport(t, c, "tcp")
			relay.cut() // the next connection is made over TCP as well
			for {
				r, err := Say.Call(t.Context(), c, &Text{"y"})
				if err == nil && r.Text == "y" {
					break
				}
				wantCode(t, "call after the connection was cut", err, framework.Unavailable)
			}
			wantTransport(t, c, "tcp")
		})
	}
}

func TestAnErrorNamesBothTransports(t *testing.T) {
	checkBaseline(t)
	udp, tcp := bothPorts(t) // UDP is taken and forgotten, TCP is refused
	defer udp.Close()
	address := tcp.Addr().String()
	_ = tcp.Close()
	c := must(framework.NewClient(address, framework.ClientConfig{TLS: clientTLS, DialTimeout: 2 * time.Second}))(t, "NewClient") // TCP is tried after 250 ms
	defer c.Close()
	err := c.Connect(t.Context())
	wantCode(t, "Connect", err, framework.Unavailable)
	wantWords(t, "Connect", err, address, "over QUIC", "over TCP", "refused")
	wantUnprocessed(t, "Connect", err)
}

func TestAServerThatIsNotThereIsNoticedAtOnce(t *testing.T) {
	checkBaseline(t)
	udp, tcp := bothPorts(t)
	address := tcp.Addr().String()
	_, _ = udp.Close(), tcp.Close()
	c := must(framework.NewClient(address, framework.ClientConfig{TLS: clientTLS, DialTimeout: time.Hour}))(t, "NewClient")
	defer c.Close()
	err := c.Connect(t.Context())
	wantCode(t, "Connect", err, framework.Unavailable)
	wantWords(t, "Connect", err, address, "over QUIC", "over TCP", "cannot be reached")
}

func TestTransportsThatAreForbiddenAreNotUsed(t *testing.T) {
	p := overTCP.start(t, setup{serve: serveAll})
	relay := startTCPRelay(t, p.listener.Addr())
	c := must(framework.NewClient(relay.ln.Addr().String(), framework.ClientConfig{
		TLS: clientTLS, Transport: framework.TransportQUIC, DialTimeout: 500 * time.Millisecond,
	}))(t, "NewClient")
	defer c.Close()
	wantCode(t, "Connect", c.Connect(t.Context()), framework.Unavailable)
	if _, err := framework.NewClient("127.0.0.1:1", framework.ClientConfig{TLS: clientTLS, Transport: 9}); err == nil {
		t.Error("a client took a transport that does not exist")
	}
	if _, err := framework.NewServer(framework.ServerConfig{TLS: serverTLS, Transport: 9}); err == nil {
		t.Error("a server took a transport that does not exist")
	}
}

func TestACutTCPConnectionFailsItsCalls(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			started := make(chan context.Context, 1)
			p := overTCP.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
			relay := startTCPRelay(t, p.listener.Addr())
			c := must(framework.NewClient(relay.ln.Addr().String(), framework.ClientConfig{TLS: clientTLS, Transport: framework.TransportTCP}))(t, "NewClient")
			defer c.Close()
			ended := make(chan error, 1)
			go func() { ended <- k.call(t.Context(), c, &Text{}).err }()
			handler := <-started
			relay.cut()
			err := <-ended
			wantCode(t, "call in progress", err, framework.Unavailable)
			if e, ok := errors.AsType[*framework.Error](err); !ok || e.Unprocessed() {
				t.Errorf("%v says that no handler has seen the call", err)
			}
			<-handler.Done()
		})
	}
}

func TestASilentTCPConnectionFailsItsCalls(t *testing.T) {
	started := make(chan context.Context, 1)
	p := overTCP.start(t, setup{serve: func(r framework.Registrar) { Say.Handle(r, blocked(started, nil)) }})
	relay := startTCPRelay(t, p.listener.Addr())
	c := must(framework.NewClient(relay.ln.Addr().String(), framework.ClientConfig{
		TLS: clientTLS, Transport: framework.TransportTCP, Limits: framework.ConnLimits{SilenceTimeout: time.Second},
	}))(t, "NewClient")
	defer c.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := Say.Call(t.Context(), c, &Text{})
		ended <- err
	}()
	handler := <-started
	close(relay.held) // nothing arrives any more, and nobody is told
	wantCode(t, "call in progress", <-ended, framework.Unavailable)
	relay.cut()
	<-handler.Done()
}

// TestStrangersOnTheListenerHarmNobody: bytes that are no TLS, and connections that say nothing or vanish.
func TestStrangersOnTheListenerHarmNobody(t *testing.T) {
	p := overTCP.start(t, setup{serve: serveAll})
	must(Say.Call(t.Context(), p.client, &Text{}))(t, "before")
	for _, garbage := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff", "\x16\x03\x03\x00\x05hello"} {
		for range 20 {
			stranger := must(net.Dial("tcp", p.listener.Addr().String()))(t, "stranger")
			_, _ = io.WriteString(stranger, garbage) // may have been sent away
			if len(garbage)%2 == 0 {
				_ = stranger.Close()
			} else {
				defer stranger.Close()
			}
		}
		must(Say.Call(t.Context(), p.client, &Text{}))(t, "meanwhile")
	}
	c := must(framework.NewClient(p.listener.Addr().String(), framework.ClientConfig{TLS: clientTLS, Transport: framework.TransportTCP}))(t, "NewClient")
	defer c.Close()
	must(Say.Call(t.Context(), c, &Text{}))(t, "a new client afterwards")
}
