package streams

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// A path is a simulated network between two addresses, for tests in a bubble of testing/synctest: time is exact and costs
// nothing. Its fields may be changed with set while packets are under way.
type path struct {
	simnet.PerfectRouter
	net   simnet.Simnet
	rand  *rand.Rand
	mu    sync.Mutex
	rtt   time.Duration
	loss  float64
	rate  float64            // bytes per second each way; 0 is unlimited
	queue time.Duration      // longest queueing delay before packets are dropped
	next  map[bool]time.Time // by direction, towards the server or not: when the queue in front of the bottleneck will have drained
	delay time.Duration      // of the packet that is under way
	turn  sync.Mutex         // one packet at a time

	external int          // port that packets of the client come from, as the server sees it; 0 is its own
	blocked  map[int]bool // ports that nothing leaves or reaches
	mtu      int          // longest packet that gets through; 0 is unlimited
}

var serverAddr, clientAddr = simAddr(9000), simAddr(9001)

func simAddr(port int) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port} }

func newPath(rtt time.Duration) *path {
	p := &path{rtt: rtt, rand: rand.New(rand.NewPCG(1, 2)), next: map[bool]time.Time{}}
	p.net.Router = p
	return p
}

// set changes the path.
func (p *path) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// SendPacket drops the packet or says when it arrives.
func (p *path) SendPacket(packet simnet.Packet) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	if !p.translate(&packet) || !p.admit(packet) {
		return nil
	}
	return p.PerfectRouter.SendPacket(packet)
}

// firstExternal is the first port that addresses may be translated to.
const firstExternal = 20000

// translate does what a network address translator does. It reports false for a packet that nobody gets.
func (p *path) translate(packet *simnet.Packet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	from, to := packet.From.(*net.UDPAddr).Port, packet.To.(*net.UDPAddr).Port
	if p.blocked[from] || p.blocked[to] {
		return false
	}
	switch {
	case p.external != 0 && from == clientAddr.Port:
		packet.From = simAddr(p.external)
	case to == p.external && to != 0:
		packet.To = clientAddr
	case to >= firstExternal || p.external != 0 && to == clientAddr.Port:
		return false // no longer translated
	}
	return true
}

func (p *path) admit(packet simnet.Packet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mtu > 0 && len(packet.Data) > p.mtu {
		return false
	}
	if p.loss > 0 && p.rand.Float64() < p.loss {
		return false
	}
	toServer := packet.To.(*net.UDPAddr).Port == serverAddr.Port
	p.delay = p.rtt / 2
	if p.rate > 0 {
		now := time.Now()
		next := p.next[toServer]
		if next.Before(now) {
			next = now
		}
		if next.Sub(now) > p.queue {
			return false
		}
		next = next.Add(time.Duration(float64(len(packet.Data)) / p.rate * float64(time.Second)))
		p.next[toServer] = next
		p.delay += next.Sub(now)
	}
	return true
}

func (p *path) latency(simnet.Packet) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay
}

func (p *path) socket(addr *net.UDPAddr) net.PacketConn {
	link := simnet.LinkSettings{MTU: 1500}
	return p.net.NewEndpoint(addr, simnet.NodeBiDiLinkSettings{LatencyFunc: p.latency, Uplink: link, Downlink: link})
}

// connect returns a connection over the path, which ends with the test.
func (p *path) connect(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	cs, ss := p.connectAll(t, server, client)
	return cs[0], ss[0]
}

// connectAll returns a connection for each client over the path, and the server's ends of them.
func (p *path) connectAll(t testing.TB, server Config, clients ...Config) (cs, ss []*Conn) {
	t.Helper()
	serverSocket := p.socket(serverAddr)
	var sockets []net.PacketConn
	for i := range clients {
		sockets = append(sockets, p.socket(simAddr(clientAddr.Port+i)))
	}
	if err := p.net.Start(); err != nil {
		t.Fatal(err)
	}
	server.TLS = serverTLS
	ln, err := Listen(serverSocket, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []func() error{ln.Close, ln.Release, serverSocket.Close, p.net.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
	for i, client := range clients {
		client.TLS = clientTLS
		accepted := acceptOne(t, ln)
		c, err := DialPacket(t.Context(), sockets[i], serverAddr, client)
		if err != nil {
			t.Fatal(err)
		}
		s := <-accepted
		closeAtEnd(t, c, s)
		cs, ss = append(cs, c), append(ss, s)
	}
	return cs, ss
}

// restart puts a server with the same certificate, and nothing else of the old one, at its address.
func (p *path) restart(t testing.TB) {
	t.Helper()
	network := simnet.Simnet{Router: p} // of its own, because the other one has started
	link := simnet.LinkSettings{MTU: 1500}
	socket := network.NewEndpoint(serverAddr, simnet.NodeBiDiLinkSettings{LatencyFunc: p.latency, Uplink: link, Downlink: link})
	if err := network.Start(); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen(socket, Config{TLS: serverTLS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []func() error{ln.Close, ln.Release, socket.Close, network.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
}
