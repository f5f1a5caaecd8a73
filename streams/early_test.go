package streams

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// A redial is a server on a path of 50 ms and sockets for clients that connect to it one after the other.
type redial struct {
	*path
	t       *testing.T
	server  Config
	sockets []net.PacketConn
	socket  net.PacketConn
	ln      *Listener
	done    chan struct{}
}

// newRedial runs in a bubble.
func newRedial(t *testing.T, clients int, server Config) *redial {
	r := &redial{path: newPath(50 * time.Millisecond), t: t, server: server}
	for i := range clients {
		r.sockets = append(r.sockets, r.path.socket(simAddr(9100+i)))
	}
	r.socket = r.path.socket(serverAddr)
	if err := r.net.Start(); err != nil {
		t.Fatal(err)
	}
	r.listen()
	t.Cleanup(func() {
		r.stop()
		for _, f := range []func() error{r.socket.Close, r.net.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func (r *redial) listen() {
	if r.server.TLS == nil {
		r.server.TLS = serverTLS
	}
	ln, err := Listen(r.socket, r.server)
	if err != nil {
		r.t.Fatal(err)
	}
	r.ln, r.done = ln, make(chan struct{})
	go func(done chan struct{}) { // ends with the listener
		defer close(done)
		var conns []*Conn
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			c.Close()
		}
	}(r.done)
}

// stop ends the listener and what it accepted.
func (r *redial) stop() {
	if err := r.ln.Close(); err != nil {
		r.t.Error(err)
	}
	<-r.done
	if err := r.ln.Release(); err != nil {
		r.t.Error(err)
	}
}

// firstCall connects, makes one call and returns how many round trips that took, in percent. It runs in a bubble.
func (r *redial) firstCall(client Config, early bool) (roundTrips int, s Stats) {
	r.t.Helper()
	socket := r.sockets[0]
	r.sockets = r.sockets[1:]
	client.TLS = clientTLS
	begin := time.Now()
	c, err := DialPacket(r.t.Context(), socket, serverAddr, client)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	start := c.Start
	if early {
		start = c.StartEarly
	}
	call, err := start(r.t.Context(), wire.ClassRPC, wire.Unary, true, request("echo", []byte("hello")))
	if err != nil {
		r.t.Fatal(err)
	}
	defer call.Close(wire.Cancel{})
	_, b, err := call.Recv()
	if err != nil {
		r.t.Fatal(err)
	}
	b.Release()
	took := time.Since(begin)
	time.Sleep(time.Second) // tickets come after the handshake
	return int(100 * took / r.rtt), c.Stats()
}

func atMost(t *testing.T, what string, got, want int) {
	t.Helper()
	t.Logf("%s: %d.%02d round trips", what, got/100, got%100)
	if got > want {
		t.Errorf("%s took %d.%02d round trips, want at most %d.%02d", what, got/100, got%100, want/100, want%100)
	}
}

// TestRoundTripsOfTheFirstCall: two for a server that is new, one for a server that gave a ticket, if the call is one that may
// be early, and two again otherwise.
func TestRoundTripsOfTheFirstCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedial(t, 4, Config{Serve: echo, EarlyData: true})
		conf := Config{Tickets: NewTickets(), EarlyData: true}
		took, s := r.firstCall(conf, true)
		atMost(t, "a cold call", took, 210)
		if s.Resumed || s.EarlyData {
			t.Errorf("a first connection has %+v", s)
		}
		took, s = r.firstCall(conf, true)
		atMost(t, "an early call", took, 110)
		if !s.Resumed || !s.EarlyData {
			t.Errorf("a connection with early data has %+v", s)
		}
		took, s = r.firstCall(conf, false)
		atMost(t, "a call that is not early", took, 210)
		if !s.Resumed {
			t.Errorf("a connection with a ticket has %+v", s)
		}
		took, s = r.firstCall(Config{Tickets: conf.Tickets}, true)
		atMost(t, "a resumed call", took, 210)
		if !s.Resumed || s.EarlyData {
			t.Errorf("a resumed connection without early data has %+v", s)
		}
	})
}

// TestRefusedEarlyDataIsSentAgain: a server that does not take the early data, here because it has another register, makes
// the call take two round trips and nothing else. Both streams are used to their full.
func TestRefusedEarlyDataIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := serverTLS.Clone()
		keys.SetSessionTicketKeys([][32]byte{{1}})
		var served atomic.Int32
		r := newRedial(t, 2, Config{TLS: keys, EarlyData: true, Serve: func(in *Incoming) { served.Add(1); echo(in) }})
		conf := Config{Tickets: NewTickets(), EarlyData: true}
		r.firstCall(conf, true)
		r.stop()
		r.listen() // with the same keys, as a process that was started again
		took, s := r.firstCall(conf, true)
		atMost(t, "a refused early call", took, 210)
		if !s.Resumed || s.EarlyData || served.Load() != 2 {
			t.Errorf("the connection has %+v, and %d calls were served, want it resumed without early data and 2", s, served.Load())
		}
	})
}

// TestEarlyCallsOfAllKinds: on lanes and streams, with messages that fill the first flight and more, accepted and refused.
func TestEarlyCallsOfAllKinds(t *testing.T) {
	for _, refused := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			keys := serverTLS.Clone()
			keys.SetSessionTicketKeys([][32]byte{{1}})
			r := newRedial(t, 2, Config{TLS: keys, EarlyData: true, Serve: echo})
			conf := Config{Tickets: NewTickets(), EarlyData: true}
			r.firstCall(conf, true)
			if refused {
				r.stop()
				r.listen()
			}
			conf.TLS = clientTLS
			c, err := DialPacket(t.Context(), r.sockets[0], serverAddr, conf)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			results := make(chan error)
			sizes := []int{0, 100, 2 << 10, 15 << 10, 100 << 10, 1 << 20}
			classes := []wire.Class{wire.ClassControl, wire.ClassStream, wire.ClassRPC, wire.ClassBulk}
			for _, class := range classes {
				for _, size := range sizes {
					go func() { results <- earlyEcho(t.Context(), c, class, size) }()
				}
			}
			given := start2(t, c)
			for range len(sizes) * len(classes) {
				if err := <-results; err != nil {
					t.Errorf("refused %v: %v", refused, err)
				}
			}
			given.Close(wire.Cancel{})
			if c.Stats().EarlyData == refused {
				t.Errorf("early data was used: %v, want %v", !refused, refused)
			}
		})
	}
}

// start2 starts a streaming call in the first flight and gives it up there.
func start2(t *testing.T, c *Conn) *Call {
	t.Helper()
	call, err := c.StartEarly(t.Context(), wire.ClassStream, wire.Bidi, false, request("echo", nil))
	if err != nil {
		t.Fatal(err)
	}
	call.Cancel(wire.Cancel{Code: wire.Canceled})
	return call
}

func earlyEcho(ctx context.Context, c *Conn, class wire.Class, size int) error {
	body := slices.Repeat([]byte{'x'}, size)
	call, err := c.StartEarly(ctx, class, wire.Unary, true, request("echo", body))
	if err != nil {
		return err
	}
	defer call.Close(wire.Cancel{})
	_, b, err := call.Recv()
	if err != nil {
		return err
	}
	defer b.Release()
	var resp wire.Response
	n, err := wire.ParseResponse(b.B, &resp)
	if err == nil && len(b.B)-n != size {
		err = errors.New("the response has another size")
	}
	return err
}

// TestReplayedEarlyData: whoever records a first flight and sends it again reaches nobody after the original did; before it,
// the call is served if it may be repeated, and what waits for Confirmed never is.
func TestReplayedEarlyData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var early, late atomic.Int32
		r := newRedial(t, 4, Config{EarlyData: true, Serve: async(func(in *Incoming) {
			if !in.Conn().IsConfirmed() {
				early.Add(1)
			}
			if in.Conn().Confirmed(context.Background()) == nil {
				late.Add(1)
			}
			echoNow(in)
		})})
		attacker := r.sockets[3]
		conf := Config{Tickets: NewTickets(), EarlyData: true}
		r.firstCall(conf, true)
		expect := func(what string, wantEarly, wantLate int32) {
			t.Helper()
			if early.Load() != wantEarly || late.Load() != wantLate {
				t.Errorf("%s: %d calls came early and %d were confirmed, want %d and %d", what, early.Load(), late.Load(), wantEarly, wantLate)
			}
		}
		expect("the first call", 0, 1)

		recorder := &recording{PacketConn: r.sockets[0]}
		r.sockets[0] = recorder
		r.firstCall(conf, true)
		expect("the early call", 1, 2)
		time.Sleep(time.Minute) // the server has forgotten the connection
		recorder.replay(t, attacker)
		time.Sleep(time.Minute)
		expect("a replay after it", 1, 2)

		recorder = &recording{PacketConn: r.sockets[0], mute: true}
		conf.TLS = clientTLS
		c, err := DialPacket(t.Context(), recorder, serverAddr, conf)
		if err != nil {
			t.Fatal(err)
		}
		call, err := c.StartEarly(t.Context(), wire.ClassRPC, wire.Unary, true, request("echo", nil))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		recorder.replay(t, attacker)
		time.Sleep(time.Minute)
		expect("a replay in its place", 2, 2)
		if _, _, err := call.Recv(); err == nil {
			t.Error("the call that nobody got has succeeded")
		}
		call.Close(wire.Cancel{})
		c.Close()
	})
}

// A recording keeps what a client sends until it has received something.
type recording struct {
	net.PacketConn
	received atomic.Bool
	mute     bool // send nothing
	mu       sync.Mutex
	packets  [][]byte
}

func (r *recording) WriteTo(p []byte, to net.Addr) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.received.Load() {
		r.packets = append(r.packets, slices.Clone(p))
	}
	if r.mute {
		return len(p), nil
	}
	return r.PacketConn.WriteTo(p, to)
}

func (r *recording) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := r.PacketConn.ReadFrom(p)
	r.received.Store(true)
	return n, from, err
}

// replay sends the first flight from another address.
func (r *recording) replay(t *testing.T, from net.PacketConn) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.packets) < 2 {
		t.Fatalf("recorded %d packets, want a hello and early data", len(r.packets))
	}
	for _, p := range r.packets {
		if _, err := from.WriteTo(p, serverAddr); err != nil {
			t.Error(err)
		}
	}
	r.packets = nil
}
