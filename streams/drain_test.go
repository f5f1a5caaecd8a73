package streams

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// TestDrainLosesNothing: quic-go drops what is unsent and unread when a connection closes, so the side that leaves waits
// until the other has said that it has everything. Many calls are in flight in both directions when it does.
func TestDrainLosesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		for round := range 2 {
			client, server := k.pair(t, Config{Serve: echo}, Config{Serve: echo})
			var wg sync.WaitGroup
			var begun sync.WaitGroup
			begun.Add(2)
			for _, conn := range []*Conn{client, server} {
				var once sync.Once
				for i := range 24 {
					wg.Go(func() {
						for {
							body := make([]byte, 1+i*i*500)
							got, st, err := call(t.Context(), conn, wire.Class(i%3), body)
							if errors.Is(err, ErrDraining) || conn == server && errors.Is(err, ErrClosed) && server.Leaving() {
								return
							}
							if remote := (*ConnError)(nil); errors.As(err, &remote) && remote.Remote && remote.Code == wire.CloseDrained {
								return // it had not started: the connection was closed by then
							}
							if err != nil || st.Code != wire.OK || len(got) != len(body) {
								t.Errorf("a call of %d bytes was lost: %d came back, %v, %v", len(body), len(got), st, err)
								return
							}
							once.Do(begun.Done)
							if conn == server && server.Leaving() {
								return // who leaves starts no more calls
							}
						}
					})
				}
			}
			begun.Wait()
			leaver, other := server, client
			if round%2 == 1 {
				wg.Go(func() { client.Drain(t.Context(), "both leave") })
			}
			if err := leaver.Drain(t.Context(), "maintenance"); err != nil {
				t.Errorf("Drain: %v", err)
			}
			waitFor(t, other.Done(), "the other side")
			wg.Wait()
			if round%2 == 1 {
				continue // either may have closed
			}
			if err := (*ConnError)(nil); !errors.As(other.Err(), &err) || err.Code != wire.CloseDrained || !err.Remote || err.Text != "maintenance" {
				t.Errorf("the other side was told %v", other.Err())
			}
			if _, err := other.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil)); err == nil {
				t.Error("a call started on a closed connection")
			}
		}
	})
}

// TestDrainWaitsForCalls, for both the calls it serves and those it has made, until its context ends.
func TestDrainWaitsForCalls(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		serve, started, _ := watched()
		client, server := k.pair(t, Config{}, Config{Serve: serve})
		one := start(t, client, wire.ClassRPC, wire.Bidi)
		in := <-started
		drained := make(chan error, 1)
		go func() { drained <- server.Drain(t.Context(), "leaving") }()
		for !client.Draining() {
			runtime.Gosched()
		}
		if _, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil)); !errors.Is(err, ErrDraining) {
			t.Errorf("a call after goaway: got error %v, want ErrDraining", err)
		}
		in.Refuse(wire.Aborted, "at last")
		if code := result(t, one); code != wire.Aborted {
			t.Errorf("the call ended with %v", code)
		}
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
	})
}

// TestDrainGivesUpWithItsContext and tells the cause.
func TestDrainGivesUpWithItsContext(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		serve, started, reasons := watched()
		client, server := k.pair(t, Config{}, Config{Serve: serve})
		call := start(t, client, wire.ClassRPC, wire.Bidi)
		in := <-started
		tooLong := errors.New("too long")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(tooLong)
		if err := server.Drain(ctx, "leaving"); !errors.Is(err, tooLong) {
			t.Errorf("Drain returned %v, want the cause", err)
		}
		<-reasons
		in.Refuse(wire.Unavailable, "")
		if _, _, err := call.Recv(); !errors.As(err, new(*ConnError)) {
			t.Errorf("Recv returned %v, want a ConnError", err)
		}
		call.Close(wire.Cancel{})
		if err := server.Drain(t.Context(), "again"); err != nil {
			t.Errorf("Drain of a closed connection: %v", err)
		}
	})
}
