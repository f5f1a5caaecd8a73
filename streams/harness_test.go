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
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
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

// quicPair connects a client and a server over loopback and ends both with the test.
func quicPair(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server.TLS, client.TLS = serverTLS, clientTLS
	ln, err := Listen(socket, server)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan *Conn, 1)
	go func() {
		s, err := ln.Accept(context.Background())
		if err != nil {
			t.Error(err)
		}
		accepted <- s
	}()
	c, err = Dial(t.Context(), socket.LocalAddr().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	s = <-accepted
	t.Cleanup(func() {
		c.Close()
		s.Close()
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
		if err := ln.Release(); err != nil {
			t.Error(err)
		}
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, s
}

// pipePair connects two ends in memory and ends both with the test.
func pipePair(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	c, s, err := Pipe(client, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c, s
}

// request returns the payload of a request frame: a header for the method and a body.
func request(method string, body []byte) *wire.Buffer {
	b := wire.NewBuffer(64 + len(body))
	b.B = wire.AppendRequest(b.B, &wire.Request{Name: []byte(method)})
	b.B = append(b.B, body...)
	return b
}

// echo answers every call with the body of its request.
func echo(in *Incoming) { go echoNow(in) }

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
