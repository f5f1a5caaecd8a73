package streams

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mycel-rpc/mycel/wire"
)

// TestConnectionLimit: who comes when a listener is full is told so at once, and is welcome when somebody has left.
func TestConnectionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		r := newRedial(t, 5, Config{Serve: echo, MaxConnections: 2, Logger: zap.New(core)})
		dial := func() (*Conn, error) {
			socket := r.sockets[0]
			r.sockets = r.sockets[1:]
			return DialPacket(t.Context(), socket, serverAddr, Config{TLS: clientTLS})
		}
		first, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		second, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			begun := time.Now()
			_, err = dial()
			if err == nil || !strings.Contains(err.Error(), "MaxConnections") {
				t.Errorf("the third got error %v", err)
			}
			if took := time.Since(begun); took != r.rtt {
				t.Errorf("the third was told after %v, want one round trip", took)
			}
		}
		if n := logs.FilterMessage("refusing connections").Len(); n != 1 {
			t.Errorf("%d lines in the log, want 1: %v", n, logs.All())
		}
		first.Close()
		time.Sleep(time.Second) // until the server knows
		third, err := dial()
		if err != nil {
			t.Fatal("after one has left:", err)
		}
		second.Close()
		third.Close()
		time.Sleep(time.Second)
		if a := r.ln.admission; a.open.Load() != 0 || a.handshaking.Load() != 0 {
			t.Errorf("%d connections and %d handshakes are left", a.open.Load(), a.handshaking.Load())
		}
	})
}

// TestFloodOfHandshakes: while many are in progress, who comes has to prove its address, which takes a round trip, unless it
// has a token; far more are refused.
func TestFloodOfHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedial(t, 4, Config{Serve: echo})
		a := r.ln.admission
		conf := Config{Tickets: NewTickets()}
		took, _ := r.firstCall(conf, false)
		atMost(t, "a cold call", took, 210)
		a.handshaking.Add(retryAbove)
		if took, _ = r.firstCall(Config{}, false); took < 300 {
			t.Errorf("a call during a flood took %d percent of a round trip, want 300: its address was not verified", took)
		}
		took, _ = r.firstCall(conf, false)
		atMost(t, "a call with a token during a flood", took, 210)
		a.handshaking.Add(maxHandshakes - retryAbove)
		conf.TLS = clientTLS
		if c, err := DialPacket(t.Context(), r.sockets[0], serverAddr, conf); err == nil {
			c.Close()
			t.Error("connected while there are too many handshakes")
		}
		a.handshaking.Add(-maxHandshakes)
		time.Sleep(time.Second)
		if a.open.Load() != 0 || a.handshaking.Load() != 0 {
			t.Errorf("%d connections and %d handshakes are left", a.open.Load(), a.handshaking.Load())
		}
	})
}

// TestHandshakesThatEndEarly do not count any more: nobody answers the server, and the client gives up.
func TestHandshakesThatEndEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRedial(t, 1, Config{Serve: echo})
		ctx, cancel := context.WithTimeout(t.Context(), r.rtt*3/4)
		defer cancel()
		if _, err := DialPacket(ctx, r.sockets[0], serverAddr, Config{TLS: clientTLS}); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		a := r.ln.admission
		if a.open.Load() != 1 || a.handshaking.Load() != 1 {
			t.Errorf("%d connections and %d handshakes, want one", a.open.Load(), a.handshaking.Load())
		}
		time.Sleep(time.Minute)
		if a.open.Load() != 0 || a.handshaking.Load() != 0 {
			t.Errorf("%d connections and %d handshakes are left", a.open.Load(), a.handshaking.Load())
		}
	})
}

// TestSmallBuffersAreReported names what to raise, through the logger and nowhere else.
func TestSmallBuffersAreReported(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	sayBuffers(zap.New(core), 416<<10, 208<<10)
	if logs.Len() != 1 || !strings.Contains(logs.All()[0].Message, "net.core.rmem_max") || logs.All()[0].ContextMap()["receive_bytes"] != int64(416<<10) {
		t.Errorf("logged %v", logs.All())
	}
	listenLoopback(t, Config{})
	if os.Getenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING") == "" {
		t.Error("quic-go prints a warning of its own")
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if receive, send := bufferBytes(socket); (receive == 0) != (send == 0) {
		t.Errorf("buffers have %d and %d bytes", receive, send)
	}
}

// TestBlackHoleOfLargePackets: packets above the least that QUIC needs vanish once the handshake is done, and calls of any
// size go on. (That the search for larger packets survives it is tested over a real path, where packets can be kept from
// being fragmented: bench/netlab.)
func TestBlackHoleOfLargePackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		c, _ := p.connect(t, Config{}, Config{Serve: async(echoStream)})
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.set(func() { p.mtu = 1280 })
		if err := smallCalls(t.Context(), c, 3); err != nil {
			t.Error(err)
		}
		for _, class := range []wire.Class{wire.ClassStream, wire.ClassBulk} {
			if err := exchange(t.Context(), c, class, 1<<20); err != nil {
				t.Errorf("class %v: %v", class, err)
			}
		}
	})
}
