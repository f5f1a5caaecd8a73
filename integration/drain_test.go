package integration

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

func TestShutdownLosesNoCall(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		const workers = 16
		var handled, done atomic.Int64
		var busy sync.Once
		running := make(chan struct{})
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(_ context.Context, q *Text) (*Text, error) {
				if handled.Add(1) == 10*workers {
					busy.Do(func() { close(running) })
				}
				return q, nil
			})
		}})
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() { // until the server takes no more
				for {
					o := k.call(t.Context(), p.client, &Text{"x"})
					if o.err == nil {
						done.Add(1)
						continue
					}
					if e, ok := errors.AsType[*framework.Error](o.err); !ok || e.Code != framework.Unavailable || !e.Unprocessed() {
						t.Errorf("a call during the shutdown: %v", o.err)
					}
					return
				}
			})
		}
		<-running
		shutdown(t, p.server)
		wg.Wait()
		if handled.Load() != done.Load() {
			t.Errorf("%d handlers have run, %d calls have ended well", handled.Load(), done.Load())
		}
	})
}

func TestShutdownWaitsForCallsInProgress(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		started, draining := make(chan context.Context, 1), make(chan struct{})
		release := make(chan struct{})
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				started <- ctx
				<-framework.Draining(ctx)
				close(draining)
				<-release
				return q, ctx.Err()
			})
		}})
		ended, down := make(chan outcome, 1), make(chan error, 1)
		go func() { ended <- k.call(t.Context(), p.client, &Text{"kept"}) }()
		<-started
		go func() { down <- p.server.Shutdown(t.Context()) }()
		<-draining
		o := k.call(t.Context(), p.client, &Text{})
		wantCode(t, "new call", o.err, framework.Unavailable)
		wantUnprocessed(t, "new call", o.err)
		select {
		case err := <-down:
			t.Fatalf("Shutdown has returned during a call: %v", err)
		default:
		}
		close(release)
		if o := <-ended; o.err != nil || o.response.Text != "kept" {
			t.Errorf("the call in progress: %v, %v", o.response, o.err)
		}
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

func TestStreamsGoOnDuringShutdown(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Chat.Handle(r, func(ctx context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
				if err := out.Send(&Text{"open"}); err != nil {
					return err
				}
				<-framework.Draining(ctx)
				for q, err := range in {
					if err != nil {
						return err
					}
					if err := out.Send(q); err != nil {
						return err
					}
				}
				return nil
			})
		}})
		chat := must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer chat.Close()
		must(chat.Recv())(t, "Recv")
		down := make(chan error, 1)
		go func() { down <- p.server.Shutdown(t.Context()) }()
		for range 1000 {
			if err := chat.Send(&Text{"line"}); err != nil {
				t.Fatal(err)
			}
			must(chat.Recv())(t, "Recv")
		}
		endWell(t, chat)
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
		ended := make(chan error, 1)
		go func() { ended <- k.call(t.Context(), p.client, &Text{}).err }()
		handlerCtx := <-started
		ctx, cancel := context.WithCancelCause(t.Context())
		down := make(chan error, 1)
		go func() { down <- p.server.Shutdown(ctx) }()
		<-framework.Draining(handlerCtx)
		cancel(errBored)
		err := <-down
		if !errors.Is(err, errBored) {
			t.Errorf("Shutdown returned %v, want the cause of its context", err)
		}
		wantWords(t, "Shutdown", err, "1 of 1", "in progress")
		wantCode(t, "call", <-ended, framework.Unavailable)
		<-handlerCtx.Done()
	})
}

func TestCallsGoElsewhereWhenAServerDrains(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			checkBaseline(t)
			started, release := make(chan context.Context, 1), make(chan struct{})
			var handled [2]atomic.Int64
			var servers [2]*framework.Server
			target := "static:///"
			for i := range servers {
				servers[i] = newServer(t, framework.ServerConfig{}, func(r framework.Registrar) {
					k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
						handled[i].Add(1)
						if q.Text == "block" {
							return blocked(started, release)(ctx, q)
						}
						return q, nil
					})
				})
				socket := listenUDP(t, "127.0.0.1:0")
				new(pair).serve(t, servers[i], socket)
				target += socket.LocalAddr().String() + ","
			}
			c := must(framework.NewClient(target[:len(target)-1], framework.ClientConfig{TLS: clientTLS, MaxConnections: 1}))(t, "NewClient")
			t.Cleanup(func() { shutdown(t, servers[0]); shutdown(t, servers[1]); c.Close() })
			ended := make(chan error, 1)
			go func() { ended <- k.call(t.Context(), c, &Text{"block"}).err }()
			handlerCtx := <-started
			first := 0
			if handled[1].Load() == 1 {
				first = 1
			}
			down := make(chan error, 1)
			go func() { down <- servers[first].Shutdown(t.Context()) }()
			<-framework.Draining(handlerCtx)
			for range 20 {
				o := k.call(t.Context(), c, &Text{})
				// Calls that stream their requests are not kept for another attempt: their caller makes it.
				for o.err != nil && (k.name == "client stream" || k.name == "bidi") {
					wantUnprocessed(t, "call while the first server drains", o.err)
					o = k.call(t.Context(), c, &Text{})
				}
				if o.err != nil {
					t.Errorf("call while the first server drains: %v", o.err)
				}
			}
			if n := handled[1-first].Load(); n != 20 {
				t.Errorf("the other server handled %d of 20 calls", n)
			}
			close(release)
			if err := errors.Join(<-ended, <-down); err != nil {
				t.Error(err)
			}
		})
	}
}
