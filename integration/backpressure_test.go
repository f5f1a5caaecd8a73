package integration

import (
	"context"
	"iter"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// Flood is a bidi call whose messages stay as long as they are, so that a few of them fill a window.
var Flood = framework.NewBidi[Blob, Blob]("integration.v1/Flood", framework.Uncompressed(), framework.NoDedup())

func TestClientsThatNeverReadHoldUpNobodyElse(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		const unread = 30
		started, failed := make(chan context.Context, unread), make(chan error, unread)
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			serveAll(r)
			Flood.Handle(r, func(ctx context.Context, _ iter.Seq2[*Blob, error], out framework.Sender[Blob]) error {
				started <- ctx
				for chunk := (&Blob{make([]byte, 16<<10)}); ; {
					if err := out.Send(chunk); err != nil { // blocks when the windows are full
						failed <- err
						return err
					}
				}
			})
		}})
		ctx, cancel := context.WithCancelCause(t.Context())
		for range unread {
			d := must(Flood.Open(ctx, p.client))(t, "Open")
			defer d.Close()
		}
		for range unread {
			<-started
		}
		for range 100 {
			must(Say.Call(t.Context(), p.client, &Text{"others"}))(t, "Say")
		}
		n := 0
		for _, err := range Count.Call(t.Context(), p.client, &Number{100}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 100 {
			t.Errorf("a stream that is read got %d of 100 messages", n)
		}
		select {
		case err := <-failed:
			t.Errorf("a handler whose client does not read got %v before the client gave up", err)
		default:
		}
		cancel(errBored)
		for range unread {
			wantCode(t, "blocked Send of a handler", <-failed, framework.Canceled)
		}
	})
}

func TestServersThatNeverReadHoldUpNobodyElse(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		const unread = 20
		started, release := make(chan struct{}, unread), make(chan struct{})
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			serveAll(r)
			Upload.Handle(r, func(_ context.Context, in iter.Seq2[*Blob, error]) (*Number, error) {
				started <- struct{}{}
				<-release
				n := new(Number)
				for b, err := range in {
					if err != nil {
						return nil, err
					}
					n.N += len(b.Data)
				}
				return n, nil
			})
		}})
		const chunks, chunkBytes = 64, 16 << 10 // more than a stream takes without a reader
		results := make(chan error, unread)
		for range unread {
			up := must(Upload.Open(t.Context(), p.client))(t, "Open")
			defer up.Close()
			go func() {
				for range chunks {
					if err := up.Send(&Blob{make([]byte, chunkBytes)}); err != nil {
						results <- err
						return
					}
				}
				n, err := up.CloseAndRecv()
				if err == nil && n.N != chunks*chunkBytes {
					err = framework.Errorf(framework.DataLoss, "%d bytes have arrived", n.N)
				}
				results <- err
			}()
		}
		for range unread {
			<-started
		}
		for range 100 {
			must(Say.Call(t.Context(), p.client, &Text{"others"}))(t, "Say")
		}
		close(release)
		for range unread {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestCallsAboveTheStreamLimitWait(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		const limit, many = 6, 200 // far more than the limit and what a connection keeps for itself
		p := e.start(t, setup{
			server: framework.ServerConfig{Limits: framework.ConnLimits{MaxStreams: limit}}, client: oneConnection, serve: serveAll,
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		open, full := make(chan *framework.BidiCall[Text, Text], many), make(chan error, 1)
		go func() {
			for range many {
				c, err := Chat.Open(ctx, p.client)
				if err != nil {
					full <- err
					return
				}
				open <- c
			}
			full <- nil
		}()
		for range limit {
			c := <-open
			if err := c.Send(&Text{}); err != nil {
				t.Fatal(err)
			}
			must(c.Recv())(t, "Recv")
			defer c.Close()
		}
		must(Say.Call(t.Context(), p.client, &Text{}))(t, "Say while a call waits for a stream")
		cancel(errBored)
		wantCanceled(t, "Open above the limit", <-full)
		close(open)
		for c := range open {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		for range 3 * limit { // there is room again
			c := must(Chat.Open(t.Context(), p.client))(t, "Open")
			endWell(t, c)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestCallsAboveTheStreamLimitTakeAnotherConnection, as long as there may be one more.
func TestCallsAboveTheStreamLimitTakeAnotherConnection(t *testing.T) {
	for _, e := range []environment{overQUIC, overTCP} {
		t.Run(e.name, func(t *testing.T) {
			const limit, conns, many = 6, 3, 70 // more than two connections take, with what each keeps for itself
			p := e.start(t, setup{
				server: framework.ServerConfig{Limits: framework.ConnLimits{MaxStreams: limit}},
				client: framework.ClientConfig{MaxConnections: conns}, serve: serveAll,
			})
			var calls []*framework.BidiCall[Text, Text]
			for range many {
				calls = append(calls, must(Chat.Open(t.Context(), p.client))(t, "Open"))
			}
			for _, c := range calls {
				if err := c.Send(&Text{"x"}); err != nil {
					t.Fatal(err)
				}
				must(c.Recv())(t, "Recv")
			}
			main := 0
			for _, s := range p.client.Stats().Conns {
				if s.Role == "main" {
					main++
				}
			}
			if main != conns {
				t.Errorf("there are %d connections, want %d", main, conns)
			}
			for _, c := range calls {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestAFullGateRefusesRequests(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		started, release := make(chan context.Context, 2), make(chan struct{})
		p := e.start(t, setup{
			server: framework.ServerConfig{Gates: framework.Gates{RPC: framework.GateLimits{Running: 1, Waiting: 1}}},
			serve:  func(r framework.Registrar) { Say.Handle(r, blocked(started, release)) },
		})
		results := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := Say.Call(t.Context(), p.client, &Text{})
				results <- err
			}()
		}
		<-started
		err := <-results // the only one that can end: one runs, one waits
		wantCode(t, "request at a full gate", err, framework.ResourceExhausted)
		wantUnprocessed(t, "request at a full gate", err)
		wantWords(t, "request at a full gate", err, "rpc", "Gates")
		must(framework.Health.Call(t.Context(), p.client, &framework.HealthRequest{}))(t, "class control at a full gate")
		close(release)
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAFloodOfBackgroundCallsDoesNotStopOthers(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		flood := framework.NewUnary[Text, Text]("integration.v1/Background", framework.WithClass(framework.ClassBulk))
		const calls = 200
		started, release := make(chan context.Context, calls), make(chan struct{})
		p := e.start(t, setup{serve: func(r framework.Registrar) {
			flood.Handle(r, blocked(started, release))
			Say.Handle(r, func(_ context.Context, q *Text) (*Text, error) { return q, nil })
		}})
		results := make(chan error, calls)
		for range calls {
			go func() {
				// The caller may ask for less than the method is worth, not for more: rpc here does not pass the gate of bulk.
				_, err := flood.Call(t.Context(), p.client, &Text{}, framework.WithClass(framework.ClassRPC))
				results <- err
			}()
		}
		<-started
		for _, class := range []framework.Class{framework.ClassControl, framework.ClassStream, framework.ClassRPC} {
			must(Say.Call(t.Context(), p.client, &Text{}, framework.WithClass(class)))(t, "beside the flood")
		}
		close(release)
		for range calls {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}
