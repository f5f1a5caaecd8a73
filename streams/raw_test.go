package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/mycel-rpc/mycel/wire"
)

// rawQUIC connects to a server with nothing but quic-go.
func rawQUIC(t testing.TB, server Config) (*Conn, transport) {
	t.Helper()
	ln := listenLoopback(t, server)
	accepted := acceptOne(t, ln)
	peer := dialRaw(t, ln.Addr(), wire.ALPN)
	s := <-accepted
	closeAtEnd(t, s)
	return s, peer
}

// dialRaw dials the listener as a peer that the test plays.
func dialRaw(t testing.TB, addr net.Addr, alpn string) transport {
	t.Helper()
	conn, release, err := dialQUIC(t.Context(), addr, alpn)
	if err != nil {
		t.Fatal(err)
	}
	peer := &quicTransport{conn: conn, release: release}
	t.Cleanup(func() { peer.close(wire.CloseNone, "end of the test") })
	return peer
}

func dialQUIC(ctx context.Context, addr net.Addr, alpn string) (*quic.Conn, func(), error) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	tr := &quic.Transport{Conn: socket}
	release := func() {
		_ = tr.Close()
		_ = socket.Close()
	}
	conf := &tls.Config{RootCAs: clientTLS.RootCAs, ServerName: "localhost", NextProtos: []string{alpn}}
	conn, err := tr.Dial(ctx, addr, conf, &quic.Config{MaxIncomingStreams: 100, MaxIncomingUniStreams: 100})
	if err != nil {
		release()
		return nil, nil, err
	}
	return conn, release, nil
}

// rawTCP connects to a server with nothing but a transport over TCP.
func rawTCP(t testing.TB, server Config) (*Conn, transport) {
	t.Helper()
	ln := listenTCP(t, server)
	accepted := acceptOne(t, ln)
	peer := dialRawTCP(t, ln.Addr())
	s := <-accepted
	closeAtEnd(t, s)
	t.Cleanup(func() { // before the check for what is left
		peer.close(wire.CloseNone, "end of the test")
		peer.wait()
	})
	return s, peer
}

// dialRawTCP dials the listener as a peer that the test plays.
func dialRawTCP(t testing.TB, addr net.Addr) *tcpTransport {
	t.Helper()
	conf, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	sock := newTCPSocket(socket)
	tlsConf, err := tcpTLSConfig(clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	secure := tls.Client(sock, tlsConf)
	if err := shakeHands(t.Context(), secure); err != nil {
		t.Fatal(err)
	}
	return newTCPTransport(secure, sock, conf, true, nil)
}

// rawPipe connects to a server in memory.
func rawPipe(t testing.TB, server Config) (*Conn, transport) {
	t.Helper()
	p, s := startPipeEnd(t, server, false)
	return s, p.ends[0]
}

// startPipeEnd starts one end of a pipe, whose other end is the test.
func startPipeEnd(t testing.TB, cfg Config, dialer bool) (*pipe, *Conn) {
	t.Helper()
	conf, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	p := newPipe(conf, conf)
	side := 1
	if dialer {
		side = 0
	}
	c := newConn(p.ends[side], conf, dialer)
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c)
	return p, c
}

// frameOf returns the bytes of one frame.
func frameOf(h wire.FrameHead, payload ...byte) []byte {
	h.Len = len(payload)
	return append(wire.AppendFrameHead(nil, h), payload...)
}

// helloFrame returns a hello that no peer refuses.
func helloFrame() []byte {
	return frameOf(wire.FrameHead{Type: wire.FrameHello}, wire.AppendHello(nil, &wire.Hello{
		Version: 1, Software: "raw", MaxMessageBytes: DefaultMaxMessageBytes,
	})...)
}

// requestFrame returns a unary request of the method "echo".
func requestFrame(call uint64, body ...byte) []byte {
	payload := wire.AppendRequest(nil, &wire.Request{Name: []byte("echo")})
	return frameOf(wire.FrameHead{Type: wire.FrameRequest, End: true, Call: call}, append(payload, body...)...)
}

// openRaw opens a bidirectional stream and writes to it.
func openRaw(t testing.TB, peer transport, content ...[]byte) stream {
	t.Helper()
	s, err := peer.openStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writeRaw(t, s, content...)
	return s
}

// openRawUni opens a unidirectional stream and writes to it.
func openRawUni(t testing.TB, peer transport, content ...[]byte) sendStream {
	t.Helper()
	s, err := peer.openUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writeRaw(t, s, content...)
	return s
}

// writeRaw writes to a stream. That our side closes the connection meanwhile is for the test to find.
func writeRaw(t testing.TB, s sendStream, content ...[]byte) {
	t.Helper()
	for _, b := range content {
		_, err := s.Write(b)
		if closed := (*ConnError)(nil); errors.As(err, &closed) && closed.Remote {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// openRawControl opens the control stream and says hello.
func openRawControl(t testing.TB, peer transport) stream {
	t.Helper()
	return openRaw(t, peer, []byte{prefaceControl}, helloFrame())
}

// acceptRaw takes the next stream that our side opens.
func acceptRaw(t testing.TB, peer transport) stream {
	t.Helper()
	s, err := peer.acceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// acceptCall takes the next call stream that our side opens, whose preface it has read.
func acceptCall(t testing.TB, peer transport) stream {
	t.Helper()
	for {
		s, preface := acceptRaw(t, peer), make([]byte, 1)
		if _, err := s.Read(preface); err != nil {
			t.Fatal(err)
		}
		if preface[0]&prefaceMask == prefaceCall {
			return s
		}
	}
}

// readRaw returns the next frame on a stream; it is valid until the next read.
func readRaw(t testing.TB, r *frameReader) frame {
	t.Helper()
	f, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// rawReader returns a reader that takes any frame and ends with the test.
func rawReader(t testing.TB, s recvStream) *frameReader {
	r := newFrameReader(s, laneReadBytes, maxMessageLimit, "")
	t.Cleanup(r.release)
	return r
}

// wantResponse reads a response frame and checks its status code.
func wantResponse(t testing.TB, r *frameReader, code wire.Code) wire.Response {
	t.Helper()
	f := readRaw(t, r)
	var response wire.Response
	if _, err := wire.ParseResponse(f.payload, &response); err != nil || f.Type != wire.FrameResponse {
		t.Fatalf("got a frame of type %d, %v, want a response", f.Type, err)
	}
	if response.Status.Code != code {
		t.Fatalf("got status %v (%s), want %v", response.Status.Code, response.Status.Message, code)
	}
	return response
}

// wantClosed waits until the connection has ended and checks that both sides know the same reason.
func wantClosed(t testing.TB, s *Conn, peer transport, code uint64, says string) {
	t.Helper()
	waitFor(t, s.Done(), "the end of the connection")
	waitFor(t, peer.done(), "the peer to be told")
	local, remote := (*ConnError)(nil), (*ConnError)(nil)
	if !errors.As(s.Err(), &local) || local.Remote || local.Code != code || !strings.Contains(local.Text, says) {
		t.Errorf("the connection ended with %v, want code %d and a text with %q", s.Err(), code, says)
	}
	if !errors.As(peer.cause(), &remote) || !remote.Remote || remote.Code != code || !strings.Contains(remote.Text, says) {
		t.Errorf("the peer was told %v, want code %d and a text with %q", peer.cause(), code, says)
	}
}

// wantHealthy checks that calls of the peer are served.
func wantHealthy(t testing.TB, peer transport) {
	t.Helper()
	s := openRaw(t, peer, []byte{prefaceCall}, requestFrame(0, 'x'))
	_ = s.closeWrite() // fails when the server was faster
	wantResponse(t, rawReader(t, s), wire.OK)
}
