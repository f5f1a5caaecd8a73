package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
)

// A relay passes datagrams on between one client and a server, as a bad network does.
type relay struct {
	front, back net.PacketConn
	server      net.Addr
	rnd         *rand.Rand // of the goroutine that reads front
	wg          sync.WaitGroup

	mu struct {
		sync.Mutex
		client net.Addr // who sent last
	}
}

// startRelay returns the address of a relay to the server, which ends with the test.
func startRelay(t *testing.T, server net.Addr, rnd *rand.Rand) string {
	t.Helper()
	r := &relay{front: listenUDP(t, "127.0.0.1:0"), back: listenUDP(t, "127.0.0.1:0"), server: server, rnd: rnd}
	r.wg.Go(r.forth) // ends when front is closed; Cleanup waits
	r.wg.Go(r.home)  // ends when back is closed; Cleanup waits
	t.Cleanup(func() {
		if err := errors.Join(r.front.Close(), r.back.Close()); err != nil {
			t.Error(err)
		}
		r.wg.Wait()
	})
	return r.front.LocalAddr().String()
}

// forth loses, repeats, spoils and reorders what the client sends.
func (r *relay) forth() {
	buf := make([]byte, 64<<10)
	var late []byte // sent after the next datagram
	for n := 0; ; n++ {
		size, from, err := r.front.ReadFrom(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.mu.client = from
		r.mu.Unlock()
		p := buf[:size]
		if n < 20 { // let the handshake pass
			_, _ = r.back.WriteTo(p, r.server) // what gets lost is lost
			continue
		}
		switch r.rnd.IntN(20) {
		case 0: // lost
		case 1: // twice
			_, _ = r.back.WriteTo(p, r.server)
			_, _ = r.back.WriteTo(p, r.server)
		case 2: // spoiled
			p[r.rnd.IntN(size)] ^= 0xff
			_, _ = r.back.WriteTo(p, r.server)
		case 3: // cut
			_, _ = r.back.WriteTo(p[:r.rnd.IntN(size)+1], r.server)
		case 4: // late
			late = append(late[:0], p...)
		default:
			_, _ = r.back.WriteTo(p, r.server)
			if len(late) > 0 {
				_, _ = r.back.WriteTo(late, r.server)
				late = late[:0]
			}
		}
	}
}

// home passes on what the server sends.
func (r *relay) home() {
	buf := make([]byte, 64<<10)
	for {
		size, _, err := r.back.ReadFrom(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		client := r.mu.client
		r.mu.Unlock()
		_, _ = r.front.WriteTo(buf[:size], client)
	}
}

func TestABadNetworkLosesAndSpoilsNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	p := overQUIC.start(t, setup{serve: serveAll})
	address := startRelay(t, p.socket.LocalAddr(), rand.New(rand.NewPCG(seed, 0)))
	c := must(framework.NewClient(address, framework.ClientConfig{TLS: clientTLS, MaxConnections: 1}))(t, "NewClient")
	defer c.Close()
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	const workers, calls = 8, 25
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range calls {
				q := &Text{strings.Repeat(fmt.Sprint(w, i), 1+200*(i%5))}
				r, err := Say.Call(t.Context(), c, q)
				if err == nil && r.Text != q.Text {
					err = errors.New("the response differs")
				}
				n := 0
				for got, err := range Count.Call(t.Context(), c, &Number{10}) {
					if err != nil || got.N != n {
						errs[w] = fmt.Errorf("message %d: %v, %w", n, got, err)
						return
					}
					n++
				}
				if err != nil || n != 10 {
					errs[w] = fmt.Errorf("call %d: %d messages, %w", i, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	shutdown(t, p.server) // while the client is there: what it sends when it closes may get lost
}

func TestGarbageOnTheSocketHarmsNobody(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	p := overQUIC.start(t, setup{serve: serveAll})
	must(Say.Call(t.Context(), p.client, &Text{}))(t, "before")
	socket := listenUDP(t, "127.0.0.1:0")
	defer socket.Close()
	for i := range 2000 {
		garbage := make([]byte, rnd.IntN(1400))
		for j := range garbage {
			garbage[j] = byte(rnd.Uint32())
		}
		if len(garbage) > 5 && i%2 == 0 { // as if it were an Initial packet of version 1
			copy(garbage, []byte{0xc0 | garbage[0], 0, 0, 0, 1})
		}
		if _, err := socket.WriteTo(garbage, p.socket.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 {
			must(Say.Call(t.Context(), p.client, &Text{}))(t, "meanwhile")
		}
	}
	c := must(framework.NewClient(p.socket.LocalAddr().String(), framework.ClientConfig{TLS: clientTLS}))(t, "NewClient")
	defer c.Close()
	must(Say.Call(t.Context(), c, &Text{}))(t, "a new client afterwards")
}

func TestCertificatesOfOthersAreRefused(t *testing.T) {
	p := overQUIC.start(t, setup{serve: serveAll})
	_, stranger := framework.DevTLS()
	otherName := clientTLS.Clone()
	otherName.ServerName = "example.org"
	for name, conf := range map[string]framework.ClientConfig{
		"signed by somebody else": {TLS: stranger},
		"for another name":        {TLS: otherName},
	} {
		t.Run(name, func(t *testing.T) {
			c := must(framework.NewClient(p.socket.LocalAddr().String(), conf))(t, "NewClient")
			defer c.Close()
			err := c.Connect(t.Context())
			wantCode(t, "Connect", err, framework.Unavailable)
			wantWords(t, "Connect", err, "certificate")
			_, err = Say.Call(t.Context(), c, &Text{})
			wantCode(t, "Call", err, framework.Unavailable)
			wantUnprocessed(t, "Call", err)
		})
	}
	must(Say.Call(t.Context(), p.client, &Text{}))(t, "the right client")
}

func TestConnectSaysThatNobodyIsThere(t *testing.T) {
	checkBaseline(t)
	socket := listenUDP(t, "127.0.0.1:0") // nobody answers
	defer socket.Close()
	address := socket.LocalAddr().String()
	c := must(framework.NewClient(address, framework.ClientConfig{TLS: clientTLS, DialTimeout: 50 * time.Millisecond}))(t, "NewClient")
	defer c.Close()
	err := c.Connect(t.Context())
	wantCode(t, "Connect", err, framework.Unavailable)
	wantWords(t, "Connect", err, address)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBored)
	wantCanceled(t, "Connect of somebody who does not wait", c.Connect(ctx))
}
