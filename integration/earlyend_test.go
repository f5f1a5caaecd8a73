package integration

import (
	"context"
	"iter"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// sendUntilError sends until that fails, as a client does that does not look at the responses, and returns the error.
func sendUntilError(send func(*Blob) error) error {
	for chunk := (&Blob{make([]byte, 4<<10)}); ; {
		if err := send(chunk); err != nil {
			return err
		}
	}
}

// full is the error of the handlers of these tests.
func full() error {
	return framework.Errorf(framework.ResourceExhausted, "the disk is full").WithDetail(Hint{"try tomorrow"})
}

// wantFull fails the test unless err is the complete error of the handler.
func wantFull(t *testing.T, what string, err error) {
	t.Helper()
	wantCode(t, what, err, framework.ResourceExhausted)
	wantWords(t, what, err, "the disk is full")
	if h, ok := framework.Detail[Hint](err); !ok || h.Text != "try tomorrow" {
		t.Fatalf("%s: detail is %v, %v", what, h, ok)
	}
}

func TestAnEarlyErrorOfAClientStreamReachesASender(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		for _, read := range []int{0, 1, 10} {
			p := e.start(t, setup{serve: func(r framework.Registrar) {
				Upload.Handle(r, func(_ context.Context, in iter.Seq2[*Blob, error]) (*Number, error) {
					n := 0
					for range in {
						if n++; n >= read {
							break
						}
					}
					return nil, full()
				})
			}})
			up := must(Upload.Open(t.Context(), p.client))(t, "Open")
			defer up.Close()
			wantCode(t, "Send", sendUntilError(up.Send), framework.ResourceExhausted)
			_, err := up.CloseAndRecv()
			wantFull(t, "CloseAndRecv", err)
		}
	})
}

func TestAnEarlyErrorOfABidiCallReachesASender(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Through.Handle(r, func(ctx context.Context, _ iter.Seq2[*Blob, error], out framework.Sender[Blob]) error {
				for range 3 {
					if err := out.Send(&Blob{make([]byte, 1000)}); err != nil {
						return err
					}
				}
				if err := framework.SetTrailer(ctx, "used", "100%"); err != nil {
					return err
				}
				return full()
			})
		}})
		b := must(Through.Open(t.Context(), p.client))(t, "Open")
		defer b.Close()
		wantCode(t, "Send", sendUntilError(b.Send), framework.ResourceExhausted)
		for range 3 {
			must(b.Recv())(t, "message sent before the error")
		}
		_, err := b.Recv()
		wantFull(t, "Recv", err)
		if got := b.Trailer().Get("used"); got != "100%" {
			t.Errorf("trailer is %q", got)
		}
		wantFull(t, "Send after the status is known", b.Send(&Blob{}))
	})
}

func TestAnEarlyResponseEndsAClientStream(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			Upload.Handle(r, func(context.Context, iter.Seq2[*Blob, error]) (*Number, error) { return &Number{7}, nil })
		}})
		up := must(Upload.Open(t.Context(), p.client))(t, "Open")
		defer up.Close()
		if err := sendUntilError(up.Send); err == nil {
			t.Error("Send did not fail")
		}
		if r := must(up.CloseAndRecv())(t, "CloseAndRecv"); r.N != 7 {
			t.Errorf("got %d", r.N)
		}
	})
}

func TestCallsThatAreRefusedReachASender(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		p := e.start(t, setup{})
		b := must(Through.Open(t.Context(), p.client))(t, "Open")
		defer b.Close()
		wantCode(t, "Send", sendUntilError(b.Send), framework.Unimplemented)
		_, err := b.Recv()
		wantCode(t, "Recv", err, framework.Unimplemented)
		wantUnprocessed(t, "Recv", err)
	})
}

func TestTheLimitOfStreamingCallsRefusesMore(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started, release := make(chan context.Context, 1), make(chan struct{})
		p := e.start(t, setup{
			server: framework.ServerConfig{MaxStreamingCalls: 1},
			serve: func(r framework.Registrar) {
				Chat.Handle(r, func(ctx context.Context, in iter.Seq2[*Text, error], out framework.Sender[Text]) error {
					_, err := blocked(started, release)(ctx, &Text{})
					return err
				})
			},
		})
		first := must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer first.Close()
		<-started
		// One more waits; which of these it is does not matter. The other is refused.
		second, third := must(Chat.Open(t.Context(), p.client))(t, "Open"), must(Chat.Open(t.Context(), p.client))(t, "Open")
		defer second.Close()
		defer third.Close()
		refused := make(chan error, 2)
		for _, c := range []*framework.BidiCall[Text, Text]{second, third} {
			go func() {
				_, err := c.Recv()
				refused <- err
			}()
		}
		err := <-refused
		wantCode(t, "call above the limit", err, framework.ResourceExhausted)
		wantUnprocessed(t, "call above the limit", err)
		close(release)
		<-refused
	})
}
