package integration

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// errBored is the cause of the cancellations of these tests.
var errBored = errors.New("the user has closed the window")

// wantCanceled fails the test unless err is a cancellation by the caller with the cause errBored.
func wantCanceled(t *testing.T, what string, err error) {
	t.Helper()
	wantCode(t, what, err, framework.Canceled)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, errBored) {
		t.Fatalf("%s: %v is not context.Canceled with its cause", what, err)
	}
}

// wantHandlerCanceled waits until the context of a handler ends and fails the test unless the caller has caused it.
func wantHandlerCanceled(t *testing.T, ctx context.Context, code framework.Code) {
	t.Helper()
	<-ctx.Done()
	if ctx.Err() != context.Canceled {
		t.Fatalf("the context of the handler ended with %v", ctx.Err())
	}
	cause, ok := errors.AsType[*framework.Error](context.Cause(ctx))
	if !ok || cause.Code != code {
		t.Fatalf("the context of the handler ended because of %v, want code %v", context.Cause(ctx), code)
	}
}

func TestCallsCanceledBeforeTheyStartReachNoHandler(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(context.Context, *Text) (*Text, error) {
				t.Error("the handler has run")
				return nil, framework.Internal
			})
		}})
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errBored)
		o := k.call(ctx, p.client, &Text{})
		wantCanceled(t, "call", o.err)
		wantUnprocessed(t, "call", o.err)
	})
}

func TestCancelingStopsTheHandler(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.call(ctx, p.client, &Text{}).err }()
		handlerCtx := <-started
		cancel(errBored)
		wantCanceled(t, "call", <-ended)
		wantHandlerCanceled(t, handlerCtx, framework.Canceled)
	})
}

func TestCallsCanceledAtTheGateNeverRun(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started, release := make(chan context.Context, 1), make(chan struct{})
		requests := make(chan struct{}, 8) // capacity: more than the calls made here
		var runs atomic.Int32
		p := e.start(t, setup{
			server: framework.ServerConfig{Gates: framework.Gates{RPC: framework.GateLimits{Running: 1, Waiting: 8}}},
			client: framework.ClientConfig{Interceptors: []framework.ClientInterceptor{reportSent(requests)}},
			serve: func(r framework.Registrar) {
				Now.Handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
				Say.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					runs.Add(1)
					return blocked(started, release)(ctx, q)
				})
			},
		})
		ended := [2]chan error{make(chan error, 1), make(chan error, 1)}
		ctx, cancel := context.WithCancelCause(t.Context())
		for i, ctx := range []context.Context{t.Context(), ctx} {
			go func() {
				_, err := Say.Call(ctx, p.client, &Text{})
				ended[i] <- err
			}()
			<-requests
		}
		handlerCtx := <-started
		// Frames on a lane keep their order, and Now is answered by the reader of the lane: afterwards the server has seen
		// what was sent before.
		must(Now.Call(t.Context(), p.client, &Text{}))(t, "after the requests")
		cancel(errBored)
		wantCanceled(t, "call at the gate", <-ended[1])
		must(Now.Call(t.Context(), p.client, &Text{}))(t, "after the cancellation")
		close(release)
		if err := <-ended[0]; err != nil {
			t.Fatal(err)
		}
		<-handlerCtx.Done()
		must(Say.Call(t.Context(), p.client, &Text{}))(t, "call after the canceled one")
		if n := runs.Load(); n != 2 {
			t.Errorf("%d handlers have run, want those of the first and the last call", n)
		}
	})
}

// reportSent sends to requests when the first message of a call has been sent.
func reportSent(requests chan<- struct{}) framework.ClientInterceptor {
	return func(next framework.ClientFunc) framework.ClientFunc {
		return func(ctx context.Context, info *framework.CallInfo) (framework.Stream, error) {
			s, err := next(ctx, info)
			return &reportingStream{s, requests}, err
		}
	}
}

type reportingStream struct {
	framework.Stream
	requests chan<- struct{}
}

func (s *reportingStream) Send(msg any) error {
	err := s.Stream.Send(msg)
	s.requests <- struct{}{}
	return err
}

func TestCancelingBetweenMessagesEndsBothSides(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		failed := make(chan error, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Chat.Handle(r, func(ctx context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
				for q, err := range in {
					if err != nil {
						failed <- err
						return err
					}
					if err := out.Send(q); err != nil {
						return err
					}
				}
				return nil
			})
		}})
		ctx, cancel := context.WithCancelCause(t.Context())
		chat := must(Chat.Open(ctx, p.client))(t, "Open")
		defer chat.Close()
		if err := chat.Send(&Text{"one"}); err != nil {
			t.Fatal(err)
		}
		must(chat.Recv())(t, "Recv")
		received := make(chan error, 1)
		go func() {
			_, err := chat.Recv() // blocks: nothing comes
			received <- err
		}()
		cancel(errBored)
		wantCanceled(t, "Recv", <-received)
		_, err := chat.Recv()
		wantCanceled(t, "Recv again", err)
		wantCanceled(t, "Send", chat.Send(&Text{"two"}))
		wantCode(t, "what the handler receives", <-failed, framework.Canceled)
	})
}

func TestCancelingUnblocksSend(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Upload.Handle(r, func(ctx context.Context, _ iter.Seq2[*Blob, error]) (*Number, error) {
				started <- ctx
				<-ctx.Done() // never reads
				return nil, ctx.Err()
			})
		}})
		ctx, cancel := context.WithCancelCause(t.Context())
		up := must(Upload.Open(ctx, p.client))(t, "Open")
		defer up.Close()
		handlerCtx := <-started
		full, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			chunk := &Blob{make([]byte, 16<<10)}
			for n := 0; ; n += len(chunk.Data) {
				if n == 256<<10 { // more than that blocks soon; in any case Send does not end by itself
					close(full)
				}
				if err := up.Send(chunk); err != nil {
					ended <- err
					return
				}
			}
		}()
		<-full
		cancel(errBored)
		wantCanceled(t, "Send", <-ended)
		wantHandlerCanceled(t, handlerCtx, framework.Canceled)
	})
}

func TestCloseUnblocksSendAndRecv(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Through.Handle(r, func(ctx context.Context, _ iter.Seq2[*Blob, error], _ framework.Sender[Blob]) error {
				started <- ctx
				<-ctx.Done()
				return ctx.Err()
			})
		}})
		b := must(Through.Open(t.Context(), p.client))(t, "Open")
		handlerCtx := <-started
		sending, sent, received := make(chan struct{}), make(chan error, 1), make(chan error, 1)
		go func() {
			close(sending)
			var err error
			for chunk := (&Blob{make([]byte, 16<<10)}); err == nil; {
				err = b.Send(chunk)
			}
			sent <- err
		}()
		go func() {
			_, err := b.Recv()
			received <- err
		}()
		<-sending
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err == nil {
			t.Error("Send did not fail")
		}
		wantCode(t, "Recv", <-received, framework.Canceled)
		wantHandlerCanceled(t, handlerCtx, framework.Canceled)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLeavingTheLoopCancelsTheHandler(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		failed := make(chan error, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Count.Handle(r, func(_ context.Context, _ *Number, out framework.Sender[Number]) error {
				for i := 0; ; i++ {
					if err := out.Send(&Number{i}); err != nil {
						failed <- err
						return err
					}
				}
			})
		}})
		for r, err := range Count.Call(t.Context(), p.client, &Number{}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.N == 3 {
				break
			}
		}
		wantCode(t, "Send of the handler", <-failed, framework.Canceled)
	})
}

func TestHandlersNoticeThatTheirClientIsGone(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
		ended := make(chan error, 1)
		go func() { ended <- k.call(t.Context(), p.client, &Text{}).err }()
		handlerCtx := <-started
		if err := p.client.Close(); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "call", <-ended, framework.Unavailable)
		wantHandlerCanceled(t, handlerCtx, framework.Unavailable)
	})
}

func TestTheContextOfAHandlerEndsWithIt(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		contexts := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				contexts <- ctx
				return q, nil
			})
		}})
		if o := k.call(t.Context(), p.client, &Text{}); o.err != nil {
			t.Fatal(o.err)
		}
		<-(<-contexts).Done()
	})
}
