package integration

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/framework"
)

// oneConnection keeps a client from opening more connections under load.
var oneConnection = framework.ClientConfig{MaxConnections: 1}

func TestThousandUnaryCallsRunAtOnceOnOneConnection(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		const calls = 1000
		var running sync.WaitGroup // until all of them run at the same time
		running.Add(calls)
		p := e.start(t, setup{client: oneConnection, serve: func(r framework.Registrar) {
			Say.Handle(r, func(_ context.Context, q *Text) (*Text, error) {
				running.Done()
				running.Wait()
				return q, nil
			})
		}})
		results := make(chan error, calls)
		for i := range calls {
			go func() {
				q := &Text{fmt.Sprint(i)}
				r, err := Say.Call(t.Context(), p.client, q)
				if err == nil && r.Text != q.Text {
					err = fmt.Errorf("got %q, want %q", r.Text, q.Text)
				}
				results <- err
			}()
		}
		for range calls {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestThousandStreamsAreOpenAtOnceWhileUnaryCallsGoOn(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		const calls = 1000
		p := e.start(t, setup{
			server: framework.ServerConfig{Limits: framework.ConnLimits{MaxStreams: calls}},
			client: oneConnection,
			serve:  serveAll,
		})
		open := make([]*framework.BidiCall[Text, Text], calls)
		echo := func(i int) error {
			line := fmt.Sprint(i)
			if err := open[i].Send(&Text{line}); err != nil {
				return err
			}
			r, err := open[i].Recv()
			if err == nil && r.Text != line {
				err = fmt.Errorf("got %q, want %q", r.Text, line)
			}
			return err
		}
		each := func(f func(i int) error) {
			t.Helper()
			errs := make([]error, calls)
			var wg sync.WaitGroup
			for i := range calls {
				wg.Go(func() { errs[i] = f(i) })
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
		}
		each(func(i int) (err error) {
			if open[i], err = Chat.Open(t.Context(), p.client); err == nil {
				err = echo(i)
			}
			return err
		})
		for range 100 { // all of them are open
			must(Say.Call(t.Context(), p.client, &Text{}))(t, "Say")
		}
		each(echo)
		each(func(i int) error { return errors.Join(open[i].CloseSend(), open[i].Close()) })
	})
}

// mixedCalls are calls of all kinds and ends, by their number.
var mixedCalls = []func(ctx context.Context, c framework.Caller, i int) error{
	func(ctx context.Context, c framework.Caller, _ int) error {
		_, err := Say.Call(ctx, c, &Text{"small"})
		return err
	},
	func(ctx context.Context, c framework.Caller, i int) error {
		q := &Text{strings.Repeat("large", i%5000)} // up to beyond what a lane takes
		r, err := Say.Call(ctx, c, q)
		if err == nil && r.Text != q.Text {
			err = fmt.Errorf("got %d bytes, want %d", len(r.Text), len(q.Text))
		}
		return err
	},
	func(ctx context.Context, c framework.Caller, i int) error {
		n := 0
		for _, err := range Count.Call(ctx, c, &Number{i % 20}) {
			if err != nil {
				return err
			}
			n++
		}
		if n != i%20 {
			return fmt.Errorf("got %d messages, want %d", n, i%20)
		}
		return nil
	},
	func(ctx context.Context, c framework.Caller, _ int) error {
		for _, err := range Count.Call(ctx, c, &Number{100}) {
			return err // leaves the loop early
		}
		return errors.New("no message")
	},
	func(ctx context.Context, c framework.Caller, i int) error {
		up, err := Sum.Open(ctx, c)
		if err != nil {
			return err
		}
		defer up.Close()
		for range i % 10 {
			if err := up.Send(&Number{1}); err != nil {
				return err
			}
		}
		if i%3 == 0 {
			return nil // gives up
		}
		n, err := up.CloseAndRecv()
		if err == nil && n.N != i%10 {
			err = fmt.Errorf("sum is %d, want %d", n.N, i%10)
		}
		return err
	},
	func(ctx context.Context, c framework.Caller, i int) error {
		chat, err := Chat.Open(ctx, c)
		if err != nil {
			return err
		}
		defer chat.Close()
		for range i % 4 {
			if err := chat.Send(&Text{"line"}); err != nil {
				return err
			}
			if _, err := chat.Recv(); err != nil {
				return err
			}
		}
		return nil
	},
	func(ctx context.Context, c framework.Caller, i int) error {
		d, err := Through.Open(ctx, c)
		if err != nil {
			return err
		}
		defer d.Close()
		for chunk := (&Blob{make([]byte, 1000)}); err == nil && i%20 > 0; i-- {
			err = d.Send(chunk) // fails when the end of the call is known here
		}
		if _, err = d.Recv(); framework.CodeOf(err) != framework.NotFound {
			return fmt.Errorf("got %w, want %v", err, framework.NotFound)
		}
		return nil
	},
	func(ctx context.Context, c framework.Caller, i int) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if i%2 == 0 {
			cancel()
		} else {
			go cancel() // at any time
		}
		if _, err := Say.Call(ctx, c, &Text{strings.Repeat("x", i)}); err != nil && framework.CodeOf(err) != framework.Canceled {
			return err
		}
		return nil
	},
}

func TestNothingIsLeftAfterTenThousandMixedCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, e environment) {
		// Few streams: calls that kept theirs would soon stop all others.
		p := e.start(t, setup{
			server: framework.ServerConfig{Limits: framework.ConnLimits{MaxStreams: 16}},
			client: oneConnection,
			serve: func(r framework.Registrar) {
				serveAll(r)
				Through.Handle(r, func(context.Context, iter.Seq2[*Blob, error], framework.Sender[Blob]) error {
					return framework.Errorf(framework.NotFound, "nothing here")
				})
			},
		})
		const calls, workers = 2_500, 32 // in each of the four environments
		errs := make([]error, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := w; i < calls && errs[w] == nil; i += workers {
					kind := i / workers % len(mixedCalls)
					if err := mixedCalls[kind](t.Context(), p.client, i); err != nil {
						errs[w] = fmt.Errorf("call %d of kind %d: %w", i, kind, err)
					}
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	})
}
