package integration

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/pool"
)

// Repeat is answered with the request; it may be called twice.
var Repeat = framework.NewUnary[Text, Text]("integration.v1/Repeat", framework.Idempotent())

// A cluster is a few servers and a client of all of them.
type cluster struct {
	servers []*clusterServer
	client  *framework.Client
}

// A clusterServer is a server that can be put in place of its predecessor, behind an address that can be cut off.
type clusterServer struct {
	*framework.Server
	pair
	relay   *blackHole
	address string // that clients dial
	handled atomic.Int64
}

// startCluster starts servers and a client that does not know them by name. serve registers the methods of each.
func startCluster(t *testing.T, size int, cfg framework.ClientConfig, conf framework.ServerConfig, serve func(i int, s *clusterServer) func(framework.Registrar)) *cluster {
	t.Helper()
	checkBaseline(t)
	c := &cluster{}
	conf.Objects, cfg.Objects = networkOnly, networkOnly
	var list []string
	for i := range size {
		s := &clusterServer{}
		s.socket = listenAgain(t)
		s.relay = startBlackHole(t, s.socket.LocalAddr())
		s.address = s.relay.front.LocalAddr().String()
		s.start(t, conf, serve(i, s))
		c.servers = append(c.servers, s)
		list = append(list, s.address)
	}
	cfg.TLS = clientTLS
	c.client = must(framework.NewClient("static:///"+strings.Join(list, ","), cfg))(t, "NewClient")
	t.Cleanup(func() {
		if err := c.client.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return c
}

// start puts a server on the socket.
func (s *clusterServer) start(t *testing.T, conf framework.ServerConfig, serve func(framework.Registrar)) {
	t.Helper()
	s.Server = newServer(t, conf, serve)
	s.serve(t, s.Server, s.socket)
}

// replace starts another server at the address of s, whose socket has been closed.
func (s *clusterServer) replace(t *testing.T, conf framework.ServerConfig, serve func(framework.Registrar)) {
	t.Helper()
	conf.Objects = networkOnly
	s.socket = listenUDP(t, s.socket.LocalAddr().String())
	s.start(t, conf, serve)
}

// connected waits until the client has a connection to every server.
func (c *cluster) connected(t *testing.T) {
	t.Helper()
	if err := c.client.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.servers {
		c.until(t, s, pool.Ready)
	}
}

// until waits for the state of a server, as the client sees it.
func (c *cluster) until(t *testing.T, s *clusterServer, states ...pool.State) pool.Status {
	t.Helper()
	wait := time.NewTicker(5 * time.Millisecond)
	defer wait.Stop()
	for {
		var last pool.Status
		for _, st := range c.client.Endpoints() {
			if st.Endpoint.Address == s.address {
				last = st
			}
		}
		for _, state := range states {
			if last.State == state {
				return last
			}
		}
		select {
		case <-wait.C:
		case <-t.Context().Done():
			t.Fatalf("%s is %v, not %v", s.address, last.State, states)
		}
	}
}

// maxLoad is how many calls a [steadyLoad] has in progress at most: more wait on a machine that is too slow for the rate,
// instead of piling up until nothing gets an answer in time.
const maxLoad = 32

// A steadyLoad makes calls at a fixed rate, however long they take, and keeps what went wrong.
type steadyLoad struct {
	stop    chan struct{}
	wg      sync.WaitGroup
	made    atomic.Int64
	slowest atomic.Int64 // nanoseconds
	mu      sync.Mutex
	failed  []error
}

func startLoad(every time.Duration, call func() error) *steadyLoad {
	l := &steadyLoad{stop: make(chan struct{})}
	l.wg.Go(func() { // ends when stop is closed; end waits
		tick := time.NewTicker(every)
		defer tick.Stop()
		begin, made, places := time.Now(), 0, make(chan struct{}, maxLoad)
		for {
			select {
			case <-tick.C:
			case <-l.stop:
				return
			}
			for due := int(time.Since(begin) / every); made < due && len(places) < maxLoad; made++ {
				places <- struct{}{}
				l.wg.Go(func() {
					defer func() { <-places }()
					start := time.Now()
					err := call()
					took := int64(time.Since(start))
					for old := l.slowest.Load(); took > old && !l.slowest.CompareAndSwap(old, took); old = l.slowest.Load() {
					}
					l.made.Add(1)
					if err != nil {
						l.mu.Lock()
						l.failed = append(l.failed, err)
						l.mu.Unlock()
					}
				})
			}
		}
	})
	return l
}

// more waits until n more calls have been made.
func (l *steadyLoad) more(t *testing.T, n int64) {
	t.Helper()
	wait := time.NewTicker(5 * time.Millisecond)
	defer wait.Stop()
	for goal := l.made.Load() + n; l.made.Load() < goal; {
		select {
		case <-wait.C:
		case <-t.Context().Done():
			t.Fatal("the load has stopped")
		}
	}
}

// end stops the load, waits for its calls and fails the test if one has failed.
func (l *steadyLoad) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	t.Logf("%d calls, the slowest took %v", l.made.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond))
	if n := len(l.failed); n > 0 {
		t.Errorf("%d of %d calls failed, the first with: %v", n, l.made.Load(), l.failed[0])
	}
}

// A blackHole passes datagrams on between clients and a server until it is told to swallow them.
type blackHole struct {
	front  net.PacketConn
	server net.Addr
	open   atomic.Bool
	wg     sync.WaitGroup
	mu     sync.Mutex
	back   map[string]net.PacketConn // by client
}

func startBlackHole(t *testing.T, server net.Addr) *blackHole {
	t.Helper()
	b := &blackHole{front: listenUDP(t, "127.0.0.1:0"), server: server, back: map[string]net.PacketConn{}}
	b.open.Store(true)
	b.wg.Go(func() { b.forth(t) }) // ends when front is closed; Cleanup waits
	t.Cleanup(func() {
		if err := b.front.Close(); err != nil {
			t.Error(err)
		}
		b.mu.Lock()
		for _, s := range b.back {
			_ = s.Close() // cannot fail
		}
		b.mu.Unlock()
		b.wg.Wait()
	})
	return b
}

func (b *blackHole) forth(t *testing.T) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := b.front.ReadFrom(buf)
		if err != nil {
			return
		}
		if !b.open.Load() {
			continue
		}
		b.mu.Lock()
		back := b.back[from.String()]
		if back == nil {
			back, err = net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				b.mu.Unlock()
				t.Error(err)
				return
			}
			b.back[from.String()] = back
			b.wg.Go(func() { b.home(back, from) }) // ends when back is closed; Cleanup waits
		}
		b.mu.Unlock()
		_, _ = back.WriteTo(buf[:n], b.server) // what gets lost is lost
	}
}

func (b *blackHole) home(back net.PacketConn, client net.Addr) {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := back.ReadFrom(buf)
		if err != nil {
			return
		}
		if b.open.Load() {
			_, _ = b.front.WriteTo(buf[:n], client)
		}
	}
}

// echoRepeat serves Repeat and Say.
func echoRepeat(_ int, s *clusterServer) func(framework.Registrar) {
	echo := func(_ context.Context, q *Text) (*Text, error) {
		s.handled.Add(1)
		return q, nil
	}
	return func(r framework.Registrar) {
		Repeat.Handle(r, echo)
		Say.Handle(r, echo)
	}
}
