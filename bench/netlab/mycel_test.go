package netlab_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
)

// These tests hold Mycel to what it says about paths that are long, lossy, change or go dead. They are here and not in
// integration because nobody imports bench, and because Enter may run the tests again, as another user in another network.

type text struct{ Text string }

var (
	say  = framework.NewUnary[text, text]("netlab.v1/Say")
	hold = framework.NewUnary[text, text]("netlab.v1/Hold") // answers when it is told to
)

// overLab returns a client on the left and a server on the right. hold sends the request to held and answers when release is
// closed.
func overLab(t *testing.T, lab *netlab.Lab, held chan<- string, release <-chan struct{}) *framework.Client {
	t.Helper()
	serverTLS, clientTLS := framework.DevTLS()
	clientTLS.ServerName = "localhost"
	objects := must(largeobj.New(largeobj.Config{StreamsOnly: true}))(t, "objects") // as between two hosts
	server := must(framework.NewServer(framework.ServerConfig{TLS: serverTLS, Objects: objects}))(t, "server")
	say.Handle(server, func(_ context.Context, q *text) (*text, error) { return q, nil })
	hold.Handle(server, func(ctx context.Context, q *text) (*text, error) {
		held <- q.Text
		select {
		case <-release:
			return q, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	socket := must(lab.Right.ListenPacket(t.Context(), ""))(t, "socket on the right")
	served := make(chan error, 1)                                        // sent to once
	go func() { served <- server.Serve(context.Background(), socket) }() // ends when the server is closed; Cleanup waits
	client := must(framework.NewClient(socket.LocalAddr().String(), framework.ClientConfig{
		TLS:          clientTLS,
		Objects:      objects,
		ListenPacket: func(ctx context.Context) (net.PacketConn, error) { return lab.Left.ListenPacket(ctx, "") },
	}))(t, "client")
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), server.Close(), <-served); err != nil {
			t.Errorf("closing the client and the server: %v", err)
		}
	})
	return client
}

// calls makes calls one after another.
func calls(t *testing.T, c *framework.Client, count int, least time.Duration) {
	t.Helper()
	for range count {
		start := time.Now()
		r, err := say.Call(t.Context(), c, &text{"hello"})
		if err != nil || r.Text != "hello" {
			t.Errorf("a call returns %v, %v", r, err)
			return
		}
		if took := time.Since(start); took < least {
			t.Errorf("a call took %v, less than the round trip of %v", took, least)
		}
	}
}

func TestCallsSucceedOverALongAndLossyPath(t *testing.T) {
	t.Parallel()
	const delay = 10 * time.Millisecond
	lab := newLab(t, netlab.Config{Link: netlab.Link{Delay: delay, Loss: 0.01, Rate: 20e6}})
	c := overLab(t, lab, nil, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { calls(t, c, 40, 2*delay) })
	}
	wg.Wait()
	for i, s := range must(lab.Stats())(t, "stats") {
		t.Logf("%v: %d packets, %d bytes, %d lost", netlab.Direction(i), s.Packets, s.Bytes, s.Dropped.Loss)
		if s.PassedPackets == 0 {
			t.Error("nothing has passed the link")
		}
	}
}

func TestCallsGoOnWhenTheClientMoves(t *testing.T) {
	t.Parallel()
	const delay = 2 * time.Millisecond
	lab := newLab(t, netlab.Config{Link: netlab.Link{Delay: delay}})
	held, release := make(chan string, 1), make(chan struct{})
	c := overLab(t, lab, held, release)
	ended := make(chan error, 1)
	go func() { // ends with the call; received from below
		_, err := hold.Call(t.Context(), c, &text{"before"})
		ended <- err
	}()
	<-held
	for _, r := range []netlab.Rebinding{netlab.NewPorts, netlab.NewAddress} {
		if err := lab.Rebind(r); err != nil {
			t.Fatal(err)
		}
		calls(t, c, 10, 2*delay)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("a call that was in progress when the client moved: %v", err)
	}
	s := must(lab.Stats())(t, "stats")
	t.Logf("packets for the address from before that were dropped: %d", s[netlab.RightToLeft].Dropped.NAT)
}

func TestACallIntoABlackHoleEnds(t *testing.T) {
	t.Parallel()
	lab := newLab(t, netlab.Config{})
	held := make(chan string, 2)
	c := overLab(t, lab, held, nil)
	calls(t, c, 1, 0)
	ended := make(chan error, 1)
	go func() { // ends with the call; received from below
		_, err := hold.Call(t.Context(), c, &text{"in progress"})
		ended <- err
	}()
	<-held
	setLinks(t, lab, netlab.Link{BlackHole: true})
	start := time.Now()

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := say.Call(ctx, c, &text{"late"}); !errors.Is(err, framework.DeadlineExceeded) {
		t.Errorf("a call with a deadline: %v", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, framework.Unavailable) {
			t.Errorf("a call without a deadline: %v", err)
		}
		t.Logf("after %v: %v", time.Since(start), err)
	case <-time.After(time.Minute):
		t.Fatal("a call without a deadline does not end")
	}

	setLinks(t, lab, netlab.Link{})
	for { // the client may leave alone for a while an endpoint that could not be reached
		_, err := say.Call(t.Context(), c, &text{"again"})
		if err == nil {
			break
		}
		if !errors.Is(err, framework.Unavailable) {
			t.Fatalf("a call after the black hole: %v", err)
		}
	}
}

// The path passes small packets only from some moment on, long after both sides have found out that it takes larger ones, and
// nobody tells them. What is small goes on, and so does what is large, in either direction, if need be on another connection.
func TestCallsGoOnWhenLargePacketsVanish(t *testing.T) {
	for d, name := range map[netlab.Direction]string{netlab.LeftToRight: "to the server", netlab.RightToLeft: "to the client"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const delay = 5 * time.Millisecond
			lab := newLab(t, netlab.Config{Link: netlab.Link{Delay: delay}})
			c := overLab(t, lab, nil, nil)
			large := &text{strings.Repeat("large", 200_000)}
			echo := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				r, err := say.Call(ctx, c, large)
				if err == nil && r.Text != large.Text {
					err = errors.New("something else came back")
				}
				return err
			}
			for range 5 { // the search for larger packets takes some round trips
				if err := echo(); err != nil {
					t.Fatal(err)
				}
			}
			if err := lab.SetLink(d, netlab.Link{Delay: delay, MTU: 1300}); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			err := echo()
			t.Logf("after %v: %v", time.Since(start), err)
			// What the client sends finds another way on another connection only.
			if d == netlab.LeftToRight && errors.Is(err, framework.Unavailable) {
				err = echo()
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := must(lab.Stats())(t, "stats")[d].Dropped.MTU; n == 0 {
				t.Error("no packet was too large: both sides have never found out that the path takes larger ones")
			}
			calls(t, c, 10, 2*delay)
			if err := echo(); err != nil {
				t.Error(err)
			}
		})
	}
}
