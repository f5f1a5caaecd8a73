//go:build amd64 || arm64

package shm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOnlyTheOtherEndOfTheConnectionAttachesOnce(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	ln := newListener(t, ListenerConfig{Arena: a})
	accepted := make(chan *Link, 10)
	offer := func(b Binding) ([]byte, func()) {
		t.Helper()
		blob, withdraw, err := ln.Offer(b, func(l *Link) { accepted <- l })
		if err != nil || len(blob) > 256 {
			t.Fatal(len(blob), err)
		}
		return blob, withdraw
	}
	refused := func(what string, blob []byte, b Binding, step string) {
		t.Helper()
		l, err := Dial(t.Context(), blob, b, a, LinkConfig{})
		var attach *AttachError
		if !errors.As(err, &attach) || attach.Step != step {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			l.Close()
		}
	}
	attached := func(what string, blob []byte, b Binding) {
		t.Helper()
		c, err := Dial(t.Context(), blob, b, a, LinkConfig{})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		s := receive(t, accepted, "the link")
		for _, l := range []*Link{c, s} {
			if l.PeerPID() != os.Getpid() || l.PeerUID() != os.Geteuid() {
				t.Errorf("the peer is %d of user %d", l.PeerPID(), l.PeerUID())
			}
			l.Close()
		}
	}
	clientA, serverA := tlsPair(t)
	clientB, serverB := tlsPair(t)

	blob, _ := offer(serverA)
	refused("the client of another connection", blob, clientB, "proof")
	attached("after that, the right one", blob, clientA)
	refused("an offer used before", blob, clientA, "proof")
	blob, withdraw := offer(serverB)
	withdraw()
	withdraw()
	refused("an offer withdrawn", blob, clientB, "proof")

	blob, _ = offer(serverB)
	refused("no offer", nil, clientB, "offer")
	refused("part of an offer", blob[:20], clientB, "offer")
	refused("an offer and more", append(bytes.Clone(blob), 0), clientB, "offer")
	changed := func(at int) []byte {
		b := bytes.Clone(blob)
		b[at] ^= 1
		return b
	}
	refused("another version", changed(0), clientB, "offer")
	refused("another host", changed(20), clientB, "host")
	refused("another socket", changed(40), clientB, "connect")
	refused("a connection without a secret", blob, noSecret{}, "proof")
	if _, _, err := ln.Offer(noSecret{}, nil); !errors.Is(err, errNoSecret) {
		t.Errorf("offering to a connection without a secret: %v", err)
	}
	if _, err := Dial(t.Context(), changed(20), clientB, a, LinkConfig{}); !errors.Is(err, ErrOtherHost) {
		t.Errorf("another host: %v", err)
	}
	ln.Close()
	refused("a listener that is closed", blob, clientB, "connect")
	if _, _, err := ln.Offer(serverB, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("offering when closed: %v", err)
	}
	if len(accepted) != 0 {
		t.Errorf("%d links too many", len(accepted))
	}
}

type noSecret struct{}

var errNoSecret = errors.New("no secret")

func (noSecret) ExportKeyingMaterial(string, []byte, int) ([]byte, error) { return nil, errNoSecret }

// tlsPair returns both ends of a TLS connection.
func tlsPair(t testing.TB) (client, server Binding) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	a, b := net.Pipe()
	c := tls.Client(a, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	var wg sync.WaitGroup
	wg.Go(func() { err = s.Handshake() })
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if wg.Wait(); err != nil {
		t.Fatal(err)
	}
	a.Close()
	b.Close()
	cs, ss := c.ConnectionState(), s.ConnectionState()
	return &cs, &ss
}

// squatter listens where an offer says, without knowing the secret.
func squatter(t *testing.T, answer func(conn *net.UnixConn, hello []byte)) (blob []byte) {
	t.Helper()
	id, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	var o offer
	rand.Read(o.socket[:])
	o.boot = bootHash(id, o.nonce)
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: "@" + socketName(o.socket)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.AcceptUnix()
			if err != nil {
				return
			}
			if hello, _, err := receivePacket(conn, helloBytes); err != nil {
				t.Error(err)
			} else {
				answer(conn, hello)
			}
			conn.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return o.append(nil)
}

func TestSomebodyElseAtTheSocket(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(conn *net.UnixConn, hello []byte)
		step   string
	}{
		{"closes", func(conn *net.UnixConn, hello []byte) {}, "proof"},
		{"says too little", func(conn *net.UnixConn, hello []byte) { conn.Write([]byte{1}) }, "proof"},
		{"has no table", func(conn *net.UnixConn, hello []byte) { conn.Write(make([]byte, welcomeBytes)) }, "table"},
		{"does not know the secret", func(conn *net.UnixConn, hello []byte) {
			fd, mem, err := newTable(8, DefaultMaxLeases)
			if err != nil {
				t.Error(err)
				return
			}
			sendPacket(conn, append(make([]byte, welcomeBytes-4), 8, 0, 0, 0), fd)
			unix.Close(fd)
			unmap(mem)
		}, "proof"},
		{"sends the proof back", func(conn *net.UnixConn, hello []byte) {
			fd, mem, err := newTable(8, DefaultMaxLeases)
			if err != nil {
				t.Error(err)
				return
			}
			sendPacket(conn, hello[17:], fd)
			unix.Close(fd)
			unmap(mem)
		}, "proof"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := openDescriptors(t)
			blob := squatter(t, c.answer)
			_, err := Dial(t.Context(), blob, testBinding, newArena(t, ArenaConfig{}), LinkConfig{})
			var attach *AttachError
			if !errors.As(err, &attach) || attach.Step != c.step {
				t.Errorf("dialing: %v", err)
			}
			until(t, "the descriptors to be closed", func() bool { return openDescriptors(t) <= before+1 })
		})
	}
}

func TestDialEndsWithItsContextAndItsDeadline(t *testing.T) {
	silent := make(chan struct{})
	blob := squatter(t, func(conn *net.UnixConn, hello []byte) { <-silent })
	defer close(silent)
	a := newArena(t, ArenaConfig{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	if _, err := Dial(ctx, blob, testBinding, a, LinkConfig{}); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	begin := time.Now()
	var attach *AttachError
	if _, err := Dial(t.Context(), blob, testBinding, a, LinkConfig{}); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &attach) {
		t.Errorf("too late: %v", err)
	}
	if took := time.Since(begin); took < DefaultAttachTimeout {
		t.Errorf("it took %v", took)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	ln := newListener(t, ListenerConfig{Arena: newArena(t, ArenaConfig{}), AttachTimeout: time.Minute})
	blob, _, err := ln.Offer(testBinding, func(l *Link) { l.Close() })
	if err != nil {
		t.Fatal(err)
	}
	o, _ := parseOffer(blob)
	var conns []*net.UnixConn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range maxAttaching { // that say nothing
		c, err := connect(t.Context(), o.socket, "")
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	until(t, "all of them to be let in", func() bool { return len(ln.attaching) == maxAttaching })
	a := newArena(t, ArenaConfig{})
	if _, err := Dial(t.Context(), blob, testBinding, a, LinkConfig{}); err == nil {
		t.Error("one more than there is room for")
	}
	conns[0].Close()
	until(t, "one to leave", func() bool { return len(ln.attaching) < maxAttaching })
	link, err := Dial(t.Context(), blob, testBinding, a, LinkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	link.Close()
	ln.Close() // while the others are waiting
}

func TestALinkThatItsTakerClosesIsClosed(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	ln := newListener(t, ListenerConfig{Arena: a})
	blob, _, err := ln.Offer(testBinding, func(l *Link) { l.Close() })
	if err != nil {
		t.Fatal(err)
	}
	link, err := Dial(t.Context(), blob, testBinding, a, LinkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	receive(t, link.Done(), "the end")
	if !errors.Is(link.Err(), ErrPeerGone) {
		t.Errorf("it ended with: %v", link.Err())
	}
	link.Close()
	blob, _, err = ln.Offer(testBinding, func(l *Link) { l.Close() })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), blob, testBinding, a, LinkConfig{Ready: func(l *Link) { l.Close() }}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed by Ready: %v", err)
	}
}

func TestClosedArenaEndsItsLinks(t *testing.T) {
	a, b := newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{})
	c, s := newPair(t, a, b, LinkConfig{})
	a.Close()
	if !errors.Is(c.Err(), ErrClosed) {
		t.Errorf("it ended with: %v", c.Err())
	}
	receive(t, s.Done(), "the end at the peer")
	ln := newListener(t, ListenerConfig{Arena: b})
	blob, _, err := ln.Offer(testBinding, func(l *Link) { l.Close() })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), blob, testBinding, a, LinkConfig{}); !errors.Is(err, ErrClosed) {
		t.Errorf("dialing for a closed arena: %v", err)
	}
}

func TestSocketInADirectoryIsRemoved(t *testing.T) {
	dir, err := os.MkdirTemp("", "mycel")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln := newListener(t, ListenerConfig{Arena: newArena(t, ArenaConfig{}), Dir: dir})
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("in the directory are %v", names)
	}
	ln.Close()
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("left in the directory are %v", names)
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for _, c := range []ArenaConfig{
		{SegmentBytes: -1}, {SegmentBytes: 4096}, {SegmentBytes: 1 << 30}, {SegmentBytes: 64<<10 + 1},
		{MaxBytes: -1}, {MaxBytes: 1 << 20}, {MaxSegments: -1}, {MaxSegments: 257}, {IdleAfter: -1}, {IdleAfter: time.Microsecond},
	} {
		if _, err := NewArena(c); err == nil {
			t.Errorf("%+v is fine", c)
		}
	}
	a := newArena(t, ArenaConfig{})
	for _, c := range []LinkConfig{{MaxLeases: -1}, {MaxLeases: maxLeaseSlots + 1}, {MaxLeasedBytes: -1}} {
		if _, err := Listen(ListenerConfig{Arena: a, Link: c}); err == nil {
			t.Errorf("%+v is fine", c)
		}
		if _, err := Dial(t.Context(), nil, testBinding, a, c); err == nil {
			t.Errorf("%+v is fine", c)
		}
	}
	for _, c := range []ListenerConfig{{}, {Arena: a, AttachTimeout: -1}, {Arena: a, Dir: "/does/not/exist"}} {
		if _, err := Listen(c); err == nil {
			t.Errorf("%+v is fine", c)
		}
	}
}

func FuzzParseOffer(f *testing.F) {
	o := offer{nonce: [16]byte{1}, boot: [16]byte{2}, socket: [16]byte{3}}
	f.Add(o.append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOffer(b)
		if err == nil && !bytes.Equal(o.append(nil), b) || err != nil && !errors.Is(err, ErrOffer) {
			t.Errorf("%x is %+v, %v", b, o, err)
		}
	})
}
