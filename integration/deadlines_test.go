package integration

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/framework"
)

func TestDeadlinesTravelAsTheTimeThatIsLeft(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var left atomic.Int64
				p := inProcess.start(t, setup{serve: func(r framework.Registrar) {
					k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
						deadline, ok := ctx.Deadline()
						if !ok {
							left.Store(0)
						} else {
							left.Store(int64(time.Until(deadline)))
						}
						return q, nil
					})
				}})
				for _, want := range []time.Duration{0, time.Microsecond, time.Second, 90 * time.Minute} {
					ctx, cancel := t.Context(), context.CancelFunc(func() {})
					if want > 0 {
						ctx, cancel = context.WithTimeout(ctx, want+time.Second)
						time.Sleep(time.Second) // the clock of the bubble: what is left is want
					}
					if o := k.call(ctx, p.client, &Text{}); o.err != nil {
						t.Fatal(o.err)
					}
					cancel()
					if got := time.Duration(left.Load()); got != want {
						t.Errorf("the handler has %v, want %v", got, want)
					}
				}
			})
		})
	}
}

func TestDeadlinesReachHandlersOverAnyTransport(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		deadlines := make(chan time.Time, 1) // capacity 1: one call at a time
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				d, _ := ctx.Deadline()
				deadlines <- d
				return q, nil
			})
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if o := k.call(ctx, p.client, &Text{}); o.err != nil {
			t.Fatal(o.err)
		}
		// One clock: the deadline of the handler is that of the caller plus the time the request has taken.
		caller, _ := ctx.Deadline()
		if got := <-deadlines; got.Before(caller.Add(-time.Microsecond)) || got.After(time.Now().Add(time.Hour)) {
			t.Errorf("handler has the deadline %v, caller %v", got, caller)
		}
	})
}

func TestCallsWhoseDeadlineHasPassedDoNotStart(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(context.Context, *Text) (*Text, error) {
				t.Error("the handler has run")
				return nil, framework.Internal
			})
		}})
		ctx, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		o := k.call(ctx, p.client, &Text{})
		wantCode(t, "call", o.err, framework.DeadlineExceeded)
		wantUnprocessed(t, "call", o.err)
	})
}

func TestDeadlinesEndCallsOnBothSides(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		stopped := make(chan error, 64) // capacity: more than the attempts made here
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			k.handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				<-ctx.Done()
				stopped <- context.Cause(ctx)
				return nil, ctx.Err()
			})
		}})
		for timeout := 10 * time.Millisecond; ; timeout *= 2 { // until there is time enough to reach the handler
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			o := k.call(ctx, p.client, &Text{})
			cancel()
			wantCode(t, "call", o.err, framework.DeadlineExceeded)
			if !errors.Is(o.err, context.DeadlineExceeded) {
				t.Errorf("%v is not context.DeadlineExceeded", o.err)
			}
			select {
			case cause := <-stopped:
				wantCode(t, "cause of the handler's context", cause, framework.DeadlineExceeded)
				return
			default:
			}
		}
	})
}

func TestDeadlinesEndCallsAtTheirTime(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started := make(chan context.Context, 1)
				p := inProcess.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				begin := time.Now()
				wantCode(t, "call", k.call(ctx, p.client, &Text{}).err, framework.DeadlineExceeded)
				if took := time.Since(begin); took != 3*time.Second {
					t.Errorf("took %v, want exactly 3s", took)
				}
			})
		})
	}
}

func TestTheOwnDeadlineDecidesBetweenCanceledAndDeadlineExceeded(t *testing.T) {
	everyKind(t, func(t *testing.T, e environment, k kind) {
		started := make(chan context.Context, 1)
		p := e.start(t, setup{serve: func(r framework.Registrar) { k.handle(r, blocked(started, nil)) }})

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		ended := make(chan error, 1)
		go func() { ended <- k.call(ctx, p.client, &Text{}).err }()
		<-started
		cancel()
		wantCode(t, "canceled before its deadline", <-ended, framework.Canceled)

		ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		wantCode(t, "its deadline passed", k.call(ctx, p.client, &Text{}).err, framework.DeadlineExceeded)
	})
}

func TestTheEarliestTimeoutCounts(t *testing.T) {
	quick := framework.NewUnary[Text, Text]("integration.v1/Quick", framework.WithTimeout(2*time.Second))
	for _, c := range []struct {
		name string
		ctx  time.Duration // 0 for none
		opts []framework.CallOption
		want time.Duration
	}{
		{"the method's", 0, nil, 2 * time.Second},
		{"the call's", 0, []framework.CallOption{framework.WithTimeout(time.Second)}, time.Second},
		{"a later one of the call changes nothing", 0, []framework.CallOption{framework.WithTimeout(time.Minute)}, 2 * time.Second},
		{"the context's", 500 * time.Millisecond, nil, 500 * time.Millisecond},
		{"a later one of the context changes nothing", time.Minute, nil, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started := make(chan context.Context, 1)
				p := inProcess.start(t, setup{serve: func(r framework.Registrar) { quick.Handle(r, blocked(started, nil)) }})
				ctx := t.Context()
				if c.ctx > 0 {
					bounded, cancel := context.WithTimeout(ctx, c.ctx)
					defer cancel()
					ctx = bounded
				}
				begin := time.Now()
				_, err := quick.Call(ctx, p.client, &Text{}, c.opts...)
				wantCode(t, "call", err, framework.DeadlineExceeded)
				if took := time.Since(begin); took != c.want {
					t.Errorf("took %v, want exactly %v", took, c.want)
				}
			})
		})
	}
}

func TestCallsThatExpireAtTheGateNeverRun(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started, release := make(chan context.Context, 1), make(chan struct{})
		p := e.start(t, setup{
			server: framework.ServerConfig{Gates: framework.Gates{RPC: framework.GateLimits{Running: 1, Waiting: 8}}},
			serve: func(r framework.Registrar) {
				Now.Handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
				Say.Handle(r, blocked(started, release))
			},
		})
		first := make(chan error, 1)
		go func() {
			_, err := Say.Call(t.Context(), p.client, &Text{})
			first <- err
		}()
		<-started
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := Say.Call(ctx, p.client, &Text{})
		wantCode(t, "call that waits at the gate", err, framework.DeadlineExceeded)
		must(Now.Call(t.Context(), p.client, &Text{}))(t, "behind the cancellation on the lane")
		close(release)
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if _, err := Say.Call(t.Context(), p.client, &Text{}); err != nil {
			t.Fatal(err)
		}
		<-started // the third call: the second has not run, it came before
		select {
		case <-started:
			t.Error("the call that had expired has run")
		default:
		}
	})
}
