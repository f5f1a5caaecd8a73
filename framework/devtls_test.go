package framework

import (
	"crypto/tls"
	"io"
	"testing"
	"time"
)

// handshake runs a TLS handshake over the loopback interface and returns the error of the client.
func handshake(t *testing.T, server, client *tls.Config, name string) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { // ends when the client has closed its connection, or at once without one
		defer close(served)
		if conn, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	defer func() {
		l.Close()
		<-served
	}()
	client = client.Clone()
	client.ServerName = name
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}

func TestDevTLSPairsMatch(t *testing.T) {
	server, client := DevTLS()
	for _, name := range []string{"localhost", "127.0.0.1", "::1"} {
		state, err := handshake(t, server, client, name)
		if err != nil || state.Version != tls.VersionTLS13 {
			t.Errorf("handshake with %s: version %x, %v", name, state.Version, err)
		}
	}
	if _, err := handshake(t, server, client, "example.com"); err == nil {
		t.Error("the client accepts the certificate for another name")
	}
	other, _ := DevTLS()
	if _, err := handshake(t, other, client, "localhost"); err == nil {
		t.Error("the client accepts the certificate of another pair")
	}
	old := client.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := handshake(t, server, old, "localhost"); err == nil {
		t.Error("the server accepts TLS 1.2")
	}
	late := client.Clone()
	late.Time = func() time.Time { return time.Now().Add(devTLSValidity + time.Minute) }
	if _, err := handshake(t, server, late, "localhost"); err == nil {
		t.Error("the certificate is valid after its time")
	}
}
