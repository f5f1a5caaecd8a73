package streams

import (
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/mycel-rpc/mycel/wire"
)

// TestStrangersAreRefused in the TLS handshake; the listener goes on.
func TestStrangersAreRefused(t *testing.T) {
	ln := listenLoopback(t, Config{Serve: echo})
	t.Run("another protocol", func(t *testing.T) {
		_, _, err := dialQUIC(t.Context(), ln.Addr(), "h3")
		alert := (*quic.TransportError)(nil)
		if !errors.As(err, &alert) || !alert.ErrorCode.IsCryptoError() {
			t.Errorf("got error %v, want a TLS alert", err)
		}
	})
	_, otherCA := testTLS()
	for name, conf := range map[string]*tls.Config{
		"a server that nobody vouches for": {RootCAs: otherCA.RootCAs, ServerName: "localhost"},
		"a server of another name":         {RootCAs: clientTLS.RootCAs, ServerName: "example.org"},
		"no name and no authority":         {},
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := Dial(t.Context(), ln.Addr().String(), Config{TLS: conf}); err == nil {
				c.Close()
				t.Error("connected")
			}
		})
	}
	accepted := acceptOne(t, ln)
	c, err := Dial(t.Context(), ln.Addr().String(), Config{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c, <-accepted)
	if _, st, err := call(t.Context(), c, wire.ClassRPC, nil); err != nil || st.Code != wire.OK {
		t.Errorf("a friend after the strangers: %v, %v", st, err)
	}
}

// TestNewerVersionsAreWelcome: both speak the lower one, and what the newer appends to its hello is ignored.
func TestNewerVersionsAreWelcome(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		server, peer := k.raw(t, Config{Serve: echo, Methods: []string{"a", "echo"}})
		hello := wire.AppendHello(nil, &wire.Hello{Version: 9, Software: "newer", MaxMessageBytes: 1, Methods: []string{"x"}, Table: wire.TableOffer{Slots: 1, Bytes: 1}})
		hello[0]++
		control := openRaw(t, peer, []byte{prefaceControl}, frameOf(wire.FrameHead{Type: wire.FrameHello}, append(hello, 0)...))
		f := readRaw(t, rawReader(t, control))
		answer, err := wire.ParseHello(f.payload)
		if err != nil || f.Type != wire.FrameHello || answer.Version != wire.ProtocolVersion || len(answer.Methods) != 2 || answer.Session == [16]byte{} {
			t.Errorf("answered by %+v, %v", answer, err)
		}
		if err := server.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := server.PeerHello(); h.Version != 9 || server.MethodNum("x") != 1 || server.MethodNum("y") != 0 || server.PeerMaxMessageBytes() != 1 {
			t.Errorf("the server knows %+v", h)
		}
		wantHealthy(t, peer)
	})
}

// TestSessionLinksConnections: a dialer repeats the name that the acceptor gave it.
func TestSessionLinksConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		first, _ := k.pair(t, Config{}, Config{})
		if err := first.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		session := first.PeerHello().Session
		_, server := k.pair(t, Config{Role: wire.RoleBulk, Session: session}, Config{})
		if err := server.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := server.PeerHello().Session; got != session || server.Role() != wire.RoleBulk {
			t.Errorf("the acceptor sees session %x and role %d, want %x and bulk", got, server.Role(), session)
		}
	})
}

// TestRestartedServerResetsItsClients: a server that lost its state answers with stateless resets, if what it gets is large
// enough to be answered (RFC 9000, section 10.3): the padding of pings is for this. A call that has waited for long learns
// of the restart with the first ping.
func TestRestartedServerResetsItsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(10 * time.Millisecond)
		serve, started, _ := watched()
		client, server := p.connect(t, Config{}, Config{Serve: serve})
		waiting, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		in := <-started
		time.Sleep(time.Minute) // path discovery is over: only pings are sent
		p.set(func() { p.loss = 1 })
		server.Close() // tells nobody
		in.Refuse(wire.Unavailable, "")
		time.Sleep(p.rtt) // until its last packets are lost
		p.restart(t)
		p.set(func() { p.loss = 0 })
		begun := time.Now()
		_, _, err = waiting.Recv()
		waiting.Close(wire.Cancel{})
		if reset := (*quic.StatelessResetError)(nil); !errors.As(err, &reset) {
			t.Errorf("the waiting call ended with %v, want a stateless reset", err)
		}
		if took, most := time.Since(begun), DefaultSilenceTimeout/2+3*tick; took > most { // a call that does nothing but wait
			t.Errorf("that took %v, want no more than %v", took, most)
		}
	})
}
