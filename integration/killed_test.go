package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
)

// restart serves on the address of a server whose socket is gone.
func restart(t *testing.T, p *pair, serve func(framework.Registrar)) {
	t.Helper()
	s := newServer(t, framework.ServerConfig{}, serve)
	p.serve(t, s, listenUDP(t, p.socket.LocalAddr().String()))
}

// kill takes the socket away from a server, as the end of its process does: nobody is told.
func kill(t *testing.T, p *pair) {
	t.Helper()
	if err := p.socket.Close(); err != nil {
		t.Fatal(err)
	}
}

// callUntilServed makes calls until the client has found the server again: it may leave alone for a while an endpoint
// whose connection was lost, and use the old connection until its end is known.
func callUntilServed(t *testing.T, c *framework.Client, k kind) {
	t.Helper()
	for {
		o := k.call(t.Context(), c, &Text{"again"})
		if o.err == nil {
			if o.response.Text != "again" {
				t.Errorf("got %v", o.response)
			}
			return
		}
		wantCode(t, "call after the restart", o.err, framework.Unavailable)
	}
}

func TestClientsOfAKilledServerFindItsSuccessor(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			started := make(chan context.Context, 1)
			p := overQUIC.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
			if err := p.client.Connect(t.Context()); err != nil { // a stateless reset ends no handshake
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- k.call(t.Context(), p.client, &Text{}).err }()
			<-started
			kill(t, p)
			restart(t, p, func(r framework.Registrar) {
				k.handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
			})
			// The successor answers the next ping with a stateless reset.
			err := <-ended
			wantCode(t, "call in progress", err, framework.Unavailable)
			if e, ok := errors.AsType[*framework.Error](err); !ok || e.Unprocessed() {
				t.Errorf("%v says that no handler has seen the call", err)
			}
			callUntilServed(t, p.client, k)
		})
	}
}

func TestSilenceOfAKilledServerIsNoticed(t *testing.T) {
	started := make(chan context.Context, 2)
	p := overQUIC.start(t, setup{
		client: framework.ClientConfig{Limits: framework.ConnLimits{SilenceTimeout: 2 * time.Second}},
		serve: func(r framework.Registrar) {
			Say.Handle(r, blocked(started, nil))
			Tell.Handle(r, func(ctx context.Context, _ *Text, _ framework.Sender[Text]) error {
				started <- ctx
				<-ctx.Done()
				return ctx.Err()
			})
		},
	})
	ended := make(chan error, 2)
	for _, k := range kinds[:2] {
		go func() { ended <- k.call(t.Context(), p.client, &Text{}).err }()
		<-started
	}
	kill(t, p)
	// Pings stay without an answer; the connection ends after a few seconds of silence.
	for range 2 {
		wantCode(t, "call in progress", <-ended, framework.Unavailable)
	}
	_, err := Say.Call(t.Context(), p.client, &Text{})
	wantCode(t, "call while nobody is there", err, framework.Unavailable)
	wantUnprocessed(t, "call while nobody is there", err)
	restart(t, p, serveAll)
	callUntilServed(t, p.client, kinds[0])
}

func TestAServerThatClosesIsReplacedAtOnce(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			echo := func(r framework.Registrar) {
				k.handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
			}
			p := overQUIC.start(t, setup{serve: echo})
			if o := k.call(t.Context(), p.client, &Text{}); o.err != nil {
				t.Fatal(o.err)
			}
			if err := p.server.Close(); err != nil {
				t.Fatal(err)
			}
			restart(t, p, echo)
			callUntilServed(t, p.client, k)
		})
	}
}
