package integration

import (
	"context"
	"iter"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mycel-rpc/mycel/framework"
)

func TestPanicsOfHandlersAreInternalErrorsAndLogged(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		core, logs := observer.New(zap.ErrorLevel)
		p := e.start(t, setup{server: framework.ServerConfig{Logger: zap.New(core)}, serve: func(r framework.Registrar) {
			k.handle(r, func(_ context.Context, q *Text) (*Text, error) {
				if q.Text == "panic" {
					panic("secret")
				}
				return q, nil
			})
		}})
		o := k.call(t.Context(), p.client, &Text{"panic"})
		wantCode(t, "call", o.err, framework.Internal)
		if strings.Contains(o.err.Error(), "secret") {
			t.Errorf("the value of the panic has crossed: %v", o.err)
		}
		entries := logs.FilterMessage("handler panicked").All()
		if len(entries) != 1 || entries[0].ContextMap()["panic"] != "secret" || entries[0].ContextMap()["stack"] == "" {
			t.Errorf("logged %v", entries)
		}
		if o := k.call(t.Context(), p.client, &Text{}); o.err != nil {
			t.Errorf("the next call: %v", o.err)
		}
	})
}

func TestHandlersThatEndTheirGoroutineAreInternalErrors(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{
			server: framework.ServerConfig{Gates: framework.Gates{RPC: framework.GateLimits{Running: 1, Waiting: 8}}},
			serve: func(r framework.Registrar) {
				k.handle(r, func(_ context.Context, q *Text) (*Text, error) {
					if q.Text == "exit" {
						runtime.Goexit() // as FailNow of package testing does
					}
					return q, nil
				})
			}})
		o := k.call(t.Context(), p.client, &Text{"exit"})
		wantCode(t, "call", o.err, framework.Internal)
		if o := k.call(t.Context(), p.client, &Text{}); o.err != nil {
			t.Errorf("the next call: %v", o.err)
		}
	})
}

func TestPanicsElsewhereAreContained(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{
			server: framework.ServerConfig{Interceptors: []framework.ServerInterceptor{
				func(next framework.ServerFunc) framework.ServerFunc {
					return func(ctx context.Context, info *framework.CallInfo, s framework.Stream) error {
						if framework.MetadataFrom(ctx).Get("panic") != "" {
							panic("in an interceptor")
						}
						return next(ctx, info, s)
					}
				},
			}},
			serve: func(r framework.Registrar) {
				Now.Handle(r, func(context.Context, *Text) (*Text, error) { panic("inline") })
				Say.Handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
				Chat.Handle(r, func(_ context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
					for q := range in {
						if err := out.Send(q); err != nil {
							return err
						}
						panic("between messages")
					}
					return nil
				})
			},
		})
		_, err := Now.Call(t.Context(), p.client, &Text{})
		wantCode(t, "inline handler", err, framework.Internal)
		_, err = Say.Call(framework.WithMetadata(t.Context(), "panic", "yes"), p.client, &Text{})
		wantCode(t, "interceptor", err, framework.Internal)
		chat := must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer chat.Close()
		if err := chat.Send(&Text{"first"}); err != nil {
			t.Fatal(err)
		}
		if r := must(chat.Recv())(t, "message before the panic"); r.Text != "first" {
			t.Errorf("got %v", r)
		}
		_, err = chat.Recv()
		wantCode(t, "between messages", err, framework.Internal)
		must(Say.Call(t.Context(), p.client, &Text{}))(t, "the next call")
	})
}

func TestPanicsOfMethodsThatAClientServesAreContained(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{
			serve: func(r framework.Registrar) {
				Say.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					_, err := Now.Call(ctx, framework.PeerFrom(ctx), q)
					return &Text{framework.CodeOf(err).String()}, nil
				})
			},
			back: func(r framework.Registrar) {
				Now.Handle(r, func(context.Context, *Text) (*Text, error) { panic("in the client") })
			},
		})
		if r := must(Say.Call(t.Context(), p.client, &Text{}))(t, "call"); r.Text != framework.Internal.String() {
			t.Errorf("the server got code %q", r.Text)
		}
	})
}
