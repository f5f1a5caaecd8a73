package integration

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

func TestClosingTheServerEndsCallsAndHandlers(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
		ended := make(chan error, 1)
		go func() { ended <- k.call(t.Context(), p.client, &Text{}).err }()
		handlerCtx := <-started
		if err := p.server.Close(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "call", <-ended, framework.Unavailable)
		select {
		case <-handlerCtx.Done():
		default:
			t.Error("Close has returned before the handler was canceled")
		}
	})
}

func TestClosedClientsRefuseCalls(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
		}})
		if o := k.call(t.Context(), p.client, &Text{}); o.err != nil {
			t.Fatal(o.err)
		}
		for range 2 { // idempotent
			if err := p.client.Close(); err != nil {
				t.Fatal(err)
			}
		}
		o := k.call(t.Context(), p.client, &Text{})
		if o.err == nil {
			t.Fatal("a closed client made a call")
		}
		wantUnprocessed(t, "call", o.err)
	})
}

func TestClosingBothSidesAtOnceIsSafe(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		const calls = 32
		started := make(chan context.Context, calls)
		p := e.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
		var wg sync.WaitGroup
		errs := make([]error, calls)
		for i := range calls {
			wg.Go(func() { errs[i] = k.call(t.Context(), p.client, &Text{}).err })
		}
		<-started // while others are under way
		closed := make([]error, 4)
		for i, c := range []func() error{p.client.Close, p.server.Close, p.client.Close, p.server.Close} {
			wg.Go(func() { closed[i] = c() })
		}
		wg.Wait()
		if err := errors.Join(closed...); err != nil {
			t.Error(err)
		}
		for _, err := range errs {
			if err == nil {
				t.Error("a call has ended well, although its handler was only canceled")
			}
		}
	})
}

func TestHandlersOfAClientEndWhenItCloses(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{
			serve: func(r framework.Registrar) {
				Say.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					return Ahead.Call(ctx, framework.PeerFrom(ctx), q)
				})
			},
			back: func(r framework.Registrar) { Ahead.Handle(r, blocked(started, nil)) },
		})
		ended := make(chan error, 1)
		go func() {
			_, err := Say.Call(t.Context(), p.client, &Text{})
			ended <- err
		}()
		handlerCtx := <-started
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		<-handlerCtx.Done()
		wantCode(t, "call", <-ended, framework.Unavailable)
	})
}

func TestCancelingACallCancelsTheCallsBack(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started, code := make(chan context.Context, 1), make(chan framework.Code, 1)
		p := e.start(t, setup{
			serve: func(r framework.Registrar) {
				Say.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					_, err := Ahead.Call(ctx, framework.PeerFrom(ctx), q)
					code <- framework.CodeOf(err)
					return nil, err
				})
			},
			back: func(r framework.Registrar) { Ahead.Handle(r, blocked(started, nil)) },
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := Say.Call(ctx, p.client, &Text{})
			ended <- err
		}()
		handlerCtx := <-started
		cancel(errBored)
		wantCanceled(t, "call", <-ended)
		wantHandlerCanceled(t, handlerCtx, framework.Canceled)
		if c := <-code; c != framework.Canceled {
			t.Errorf("the call back ended with %v", c)
		}
	})
}
