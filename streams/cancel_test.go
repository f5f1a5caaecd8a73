package streams

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// notice is a Canceler that passes the reason on.
type notice chan wire.Cancel

func (n notice) Canceled(reason wire.Cancel) { n <- reason }

// watched serves calls by waiting until their callers give up; the reasons arrive on the channel.
func watched() (serve func(*Incoming), started chan *Incoming, reasons notice) {
	started, reasons = make(chan *Incoming, 100), make(notice, 100)
	return func(in *Incoming) {
		in.Notify(reasons)
		in.Payload.Release()
		started <- in
	}, started, reasons
}

// TestCancelReachesTheCallee: however a caller gives up, the callee is told, once and with the reason.
func TestCancelReachesTheCallee(t *testing.T) {
	enough := errors.New("enough \xff")
	for _, c := range []struct {
		name  string
		class wire.Class
		kind  wire.CallKind
		size  int
		lane  bool
	}{
		{"lane", wire.ClassRPC, wire.Unary, 10, true},
		{"control stream", wire.ClassControl, wire.Unary, 10, true},
		{"wide lane", wire.ClassRPC, wire.Unary, 100 << 10, true},
		{"own stream, large", wire.ClassRPC, wire.Unary, 1 << 20, false},
		{"own stream, bidi", wire.ClassStream, wire.Bidi, 10, false},
		{"own stream, bulk", wire.ClassBulk, wire.Bidi, 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, k kind) {
				serve, started, reasons := watched()
				client, _ := k.pair(t, Config{}, Config{Serve: serve})
				for i, give := range []func(*Call, context.CancelCauseFunc){
					func(call *Call, cancel context.CancelCauseFunc) {
						cancel(enough)
						if _, _, err := call.Recv(); !errors.Is(err, enough) {
							t.Errorf("Recv returned %v, want the cause of the context", err)
						}
						call.Close(wire.Cancel{})
					},
					func(call *Call, _ context.CancelCauseFunc) { call.Close(wire.Cancel{Code: wire.Canceled}) },
				} {
					ctx, cancel := context.WithCancelCause(t.Context())
					call, err := client.Start(ctx, c.class, c.kind, c.kind == wire.Unary, request("m", make([]byte, c.size)))
					if err != nil {
						t.Fatal(err)
					}
					if call.OnLane() != c.lane {
						t.Fatalf("on a lane: %v, want %v", call.OnLane(), c.lane)
					}
					in := <-started
					give(call, cancel)
					cancel(nil)
					if reason := <-reasons; reason.Code != wire.Canceled {
						t.Errorf("way %d: the callee was told %v, want %v", i, reason.Code, wire.Canceled)
					}
					in.Refuse(wire.Canceled, "as you wish")
				}
				if len(reasons) > 0 {
					t.Error("a callee was told twice")
				}
			})
		})
	}
}

// TestCalleeLearnsTheEndOfTheConnection: to the callee it is a cancellation.
func TestCalleeLearnsTheEndOfTheConnection(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		serve, started, reasons := watched()
		client, _ := k.pair(t, Config{}, Config{Serve: serve})
		for _, kind := range []wire.CallKind{wire.Unary, wire.Bidi} {
			call, err := client.Start(t.Context(), wire.ClassRPC, kind, kind == wire.Unary, request("m", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer call.Close(wire.Cancel{})
		}
		calls := []*Incoming{<-started, <-started}
		client.Close()
		for range calls {
			if reason := <-reasons; reason.Code != wire.Unavailable {
				t.Errorf("told %v, want %v", reason.Code, wire.Unavailable)
			}
		}
		for _, in := range calls {
			in.Refuse(wire.Unavailable, "")
		}
	})
}

// TestStartWithAnEndedContext: the end of the context may win at any point of the start.
func TestStartWithAnEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	onBoth(t, func(t *testing.T, k kind) {
		client, _ := k.pair(t, Config{}, Config{Serve: echo})
		for i := range 200 {
			call, err := client.Start(ctx, wire.ClassRPC, wire.CallKind(i%4), i%2 == 0, request("m", make([]byte, i*500)))
			if err != nil {
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("got error %v, want the cause of the context", err)
				}
				continue
			}
			call.Close(wire.Cancel{})
		}
		until(t, client, func() bool { return client.Outstanding() == 0 })
	})
}

// TestStartIsCanceledWhileBlocked: the request does not fit the window of a peer that does not read.
func TestStartIsCanceledWhileBlocked(t *testing.T) {
	p, client := startPipeEnd(t, Config{}, true)
	for i := range 50 {
		enough := fmt.Errorf("enough %d", i)
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := make(chan error)
		go func() {
			_, err := client.Start(ctx, wire.ClassRPC, wire.Unary, true, request("m", make([]byte, 1<<20)))
			failed <- err
		}()
		s := acceptCall(t, p.ends[1])
		cancel(enough)
		if err := <-failed; !errors.Is(err, enough) {
			t.Fatalf("got error %v, want %v", err, enough)
		}
		until(t, client, func() bool { return client.Outstanding() == 0 })
		_, err := s.Read(make([]byte, 1))
		if reset := (*ResetError)(nil); !errors.As(err, &reset) || reset.Code != wire.ResetFor(wire.Canceled) {
			t.Fatalf("the peer reads %v, want a reset with the code of a canceled call", err)
		}
		s.stopRead(0)
		s.releaseCredit()
	}
}
