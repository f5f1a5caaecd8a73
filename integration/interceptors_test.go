package integration

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// A diary collects what happens in its order.
type diary struct {
	mu struct {
		sync.Mutex
		lines []string
	}
}

func (d *diary) write(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.lines = append(d.mu.lines, line)
}

// take returns what was written and begins anew.
func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.mu.lines
	d.mu.lines = nil
	return lines
}

func (d *diary) server(name string) framework.ServerInterceptor {
	return func(next framework.ServerFunc) framework.ServerFunc {
		return func(ctx context.Context, info *framework.CallInfo, s framework.Stream) error {
			d.write(name + " before")
			err := next(ctx, info, s)
			d.write(name + " after")
			return err
		}
	}
}

func (d *diary) client(name string) framework.ClientInterceptor {
	return func(next framework.ClientFunc) framework.ClientFunc {
		return func(ctx context.Context, info *framework.CallInfo) (framework.Stream, error) {
			d.write(name)
			return next(framework.WithMetadata(ctx, "path", name), info)
		}
	}
}

func TestTheFirstInterceptorIsOutermost(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		var d diary
		p := e.start(t, setup{
			client: framework.ClientConfig{Interceptors: []framework.ClientInterceptor{d.client("c1"), d.client("c2")}},
			server: framework.ServerConfig{Interceptors: []framework.ServerInterceptor{d.server("s1"), d.server("s2")}},
			serve: func(r framework.Registrar) {
				k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					d.write("handler " + framework.CallInfoFrom(ctx).Kind.String())
					if path := framework.MetadataFrom(ctx).Values("path"); !slices.Equal(path, []string{"c1", "c2"}) {
						t.Errorf("metadata of the interceptors is %v", path)
					}
					return q, nil
				})
			},
		})
		if o := k.call(t.Context(), p.client, &Text{}); o.err != nil {
			t.Fatal(o.err)
		}
		shutdown(t, p.server) // the interceptors have returned
		want := []string{"c1", "c2", "s1 before", "s2 before", "handler " + k.name, "s2 after", "s1 after"}
		if got := d.take(); !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}

func TestServerInterceptorsRefuseBeforeTheRequestIsDecoded(t *testing.T) {
	type number struct{ Text int } // does not decode a Text
	everywhere(t, func(t *testing.T, e environment) {
		guard := func(next framework.ServerFunc) framework.ServerFunc {
			return func(ctx context.Context, info *framework.CallInfo, s framework.Stream) error {
				if framework.MetadataFrom(ctx).Get("token") != "right" {
					return framework.Errorf(framework.Unauthenticated, "%s needs a token", info.Method).WithDetail(Hint{"log in"})
				}
				return next(ctx, info, s)
			}
		}
		p := e.start(t, setup{
			server: framework.ServerConfig{Interceptors: []framework.ServerInterceptor{guard}},
			serve: func(r framework.Registrar) {
				framework.NewUnary[number, Text](Say.Name()).Handle(r, func(context.Context, *number) (*Text, error) {
					t.Error("the handler has run")
					return nil, framework.Internal
				})
			},
		})
		_, err := Say.Call(t.Context(), p.client, &Text{})
		wantCode(t, "without a token", err, framework.Unauthenticated)
		wantWords(t, "without a token", err, Say.Name())
		if h, ok := framework.Detail[Hint](err); !ok || h.Text != "log in" {
			t.Errorf("detail is %v, %v", h, ok)
		}
		_, err = Say.Call(framework.WithMetadata(t.Context(), "token", "right"), p.client, &Text{})
		wantCode(t, "with a token the request is decoded", err, framework.FailedPrecondition)
	})
}

func TestClientInterceptorsRefuseBeforeAnythingIsSent(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		refuse := func(framework.ClientFunc) framework.ClientFunc {
			return func(context.Context, *framework.CallInfo) (framework.Stream, error) {
				return nil, framework.Errorf(framework.PermissionDenied, "not from here")
			}
		}
		p := e.start(t, setup{
			client: framework.ClientConfig{Interceptors: []framework.ClientInterceptor{refuse}},
			serve: func(r framework.Registrar) {
				k.handle(r, func(context.Context, *Text) (*Text, error) {
					t.Error("the handler has run")
					return nil, framework.Internal
				})
			},
		})
		wantCode(t, "call", k.call(t.Context(), p.client, &Text{}).err, framework.PermissionDenied)
	})
}

// countingStream counts the messages of a call.
type countingStream struct {
	framework.Stream
	d *diary
}

func (s countingStream) Send(msg any) error {
	s.d.write("send")
	return s.Stream.Send(msg)
}

func (s countingStream) Recv(msg any) error {
	err := s.Stream.Recv(msg)
	switch {
	case err == nil:
		s.d.write("recv")
	case err == io.EOF:
		s.d.write("end")
	default:
		s.d.write(framework.CodeOf(err).String())
	}
	return err
}

func TestInterceptorsSeeMessagesThroughTheirOwnStream(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		var client, server diary
		p := e.start(t, setup{
			client: framework.ClientConfig{Interceptors: []framework.ClientInterceptor{func(next framework.ClientFunc) framework.ClientFunc {
				return func(ctx context.Context, info *framework.CallInfo) (framework.Stream, error) {
					s, err := next(ctx, info)
					if err != nil {
						return nil, err
					}
					return countingStream{s, &client}, nil
				}
			}}},
			server: framework.ServerConfig{Interceptors: []framework.ServerInterceptor{func(next framework.ServerFunc) framework.ServerFunc {
				return func(ctx context.Context, info *framework.CallInfo, s framework.Stream) error {
					return next(ctx, info, countingStream{s, &server})
				}
			}}},
			serve: serveAll,
		})
		must(Say.Call(t.Context(), p.client, &Text{}))(t, "Say")
		for _, err := range Count.Call(t.Context(), p.client, &Number{2}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		shutdown(t, p.server)
		if got, want := client.take(), []string{"send", "recv", "send", "recv", "recv", "end"}; !slices.Equal(got, want) {
			t.Errorf("client: got %q, want %q", got, want)
		}
		if got, want := server.take(), []string{"recv", "send", "recv", "send", "send"}; !slices.Equal(got, want) {
			t.Errorf("server: got %q, want %q", got, want)
		}
	})
}

func TestInterceptorsWrapCallsToTheClientToo(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		var d diary
		p := e.start(t, setup{
			server: framework.ServerConfig{PeerInterceptors: []framework.ClientInterceptor{d.client("peer")}},
			client: framework.ClientConfig{ServeInterceptors: []framework.ServerInterceptor{d.server("serve")}},
			serve: func(r framework.Registrar) {
				Say.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
					return Now.Call(ctx, framework.PeerFrom(ctx), q)
				})
			},
			back: func(r framework.Registrar) {
				Now.Handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
			},
		})
		must(Say.Call(t.Context(), p.client, &Text{}))(t, "Say")
		if got, want := d.take(), []string{"peer", "serve before", "serve after"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
