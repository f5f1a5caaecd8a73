package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// Details of errors. The server knows a later version of Reason than the client, and Hint, which the client does not know.
type (
	Reason struct {
		Field string
		Limit int
	}
	Hint struct{ Text string }
)

// serverSide has the version of Reason that the server knows; details are found by the name of their type.
func serverSide() any {
	type Reason struct {
		Field string
		Limit int
		Since string
	}
	return Reason{"age", 150, "v2"}
}

func TestEveryCodeArrivesWithMessageAndDetails(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(_ context.Context, q *Text) (*Text, error) {
				var code framework.Code
				for code = framework.Canceled; code.String() != q.Text; code++ {
				}
				return nil, framework.Errorf(code, "because of %s", q.Text).WithDetail(Hint{"unknown to the client"}).WithDetail(serverSide())
			})
		}})
		for code := framework.Canceled; code <= framework.Unauthenticated; code++ {
			o := k.call(t.Context(), p.client, &Text{code.String()})
			wantCode(t, "call", o.err, code)
			if !errors.Is(o.err, code) {
				t.Errorf("errors.Is(%v, %v) does not hold", o.err, code)
			}
			rpc, ok := errors.AsType[*framework.Error](o.err)
			if !ok || !rpc.Remote || rpc.Unprocessed() || rpc.Message != "because of "+code.String() {
				t.Errorf("got %#v", rpc)
			}
			if r, ok := framework.Detail[Reason](o.err); !ok || r != (Reason{"age", 150}) {
				t.Errorf("detail behind one that the client does not know: %v, %v", r, ok)
			}
			if h, ok := framework.Detail[Hint](o.err); !ok || h.Text == "" {
				t.Errorf("detail: %v, %v", h, ok)
			}
		}
	})
}

func TestOnlyAuthoredErrorsCrossTheWire(t *testing.T) {
	authored := framework.Errorf(framework.NotFound, "no such user")
	for _, c := range []struct {
		name    string
		err     error
		code    framework.Code
		message string // that the caller sees, if the error was authored
	}{
		{"a plain error arrives as Unknown", errors.New("secret"), framework.Unknown, ""},
		{"a plain error that is wrapped, too", fmt.Errorf("at secret: %w", errors.New("secret")), framework.Unknown, ""},
		{"a bare code arrives as that code", framework.Aborted, framework.Aborted, ""},
		{"a wrapped code, too", fmt.Errorf("secret: %w", framework.Aborted), framework.Aborted, ""},
		{"an error arrives without what wraps it", fmt.Errorf("secret: %w", authored), framework.NotFound, "no such user"},
		{"context.Canceled is Canceled", context.Canceled, framework.Canceled, ""},
		{"context.DeadlineExceeded is DeadlineExceeded", context.DeadlineExceeded, framework.DeadlineExceeded, ""},
		{"OK is not an error", framework.OK, framework.Unknown, ""},
		{"a long message is cut", framework.Errorf(framework.NotFound, "%s", strings.Repeat("x", 1<<20)), framework.NotFound, "xxx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			everyKind(t, func(t *testing.T, e environment, k kind) {
				p := e.start(t, setup{serve: func(r framework.Registrar) {
					k.handle(r, func(context.Context, *Text) (*Text, error) { return nil, c.err })
				}})
				o := k.call(t.Context(), p.client, &Text{})
				wantCode(t, "call", o.err, c.code)
				if strings.Contains(o.err.Error(), "secret") {
					t.Errorf("the text of an error that is not ours has crossed: %v", o.err)
				}
				if !strings.Contains(o.err.Error(), c.message) {
					t.Errorf("got %v, want the message %q", o.err, c.message)
				}
			})
		})
	}
}

func TestErrorsOfOtherServicesDoNotPassThrough(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		behind := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(context.Context, *Text) (*Text, error) {
				return nil, framework.Errorf(framework.NotFound, "no such row").WithDetail(Hint{"row"})
			})
		}})
		front := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				o := k.call(ctx, behind.client, q)
				if q.Text == "authored" {
					return nil, framework.Errorf(framework.CodeOf(o.err), "front: %w", o.err)
				}
				return nil, o.err
			})
		}})
		o := k.call(t.Context(), front.client, &Text{"returned"})
		wantCode(t, "error of another service returned", o.err, framework.Unknown)
		o = k.call(t.Context(), front.client, &Text{"authored"})
		wantCode(t, "error made of that of another service", o.err, framework.NotFound)
		wantWords(t, "error made of that of another service", o.err, "front", "no such row")
	})
}

func TestErrorsFollowTheMessagesSentBefore(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Count.Handle(r, func(_ context.Context, q *Number, out framework.Sender[Number]) error {
				for i := range q.N {
					if err := out.Send(&Number{i}); err != nil {
						return err
					}
				}
				return framework.Errorf(framework.DataLoss, "the rest is gone")
			})
		}})
		for _, n := range []int{0, 1, 100} {
			got := 0
			var last error
			for _, err := range Count.Call(t.Context(), p.client, &Number{n}) {
				if last = err; err == nil {
					got++
				}
			}
			if got != n {
				t.Errorf("got %d messages before the error, want %d", got, n)
			}
			wantCode(t, "after the messages", last, framework.DataLoss)
		}
	})
}
