package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// TestOneStreamIsEnoughToConfigure: lanes and the control stream do not count against MaxStreams.
func TestOneStreamIsEnoughToConfigure(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		client, _ := k.pair(t, Config{}, Config{Serve: echo, MaxStreams: 1})
		for class := range wire.Class(wire.NumClasses) {
			for _, size := range []int{10, 1 << 20} {
				if _, st, err := call(t.Context(), client, class, make([]byte, size)); err != nil || st.Code != wire.OK {
					t.Fatalf("%v call of %d bytes: %v, %v", class, size, st, err)
				}
			}
		}
	})
}

// TestManyCallStreamsAtOnce (T1): quic-go's default of 100 streams is not ours.
func TestManyCallStreamsAtOnce(t *testing.T) {
	const n = 300
	const inAll = n + longStreams - 1 - 2 // the control stream and one lane each of classes rpc and stream are open
	onBoth(t, func(t *testing.T, k kind) {
		serve, started, _ := watched()
		client, _ := k.pair(t, Config{}, Config{Serve: serve, MaxStreams: n})
		calls := make([]*Call, inAll)
		var incoming []*Incoming
		for i := range calls {
			calls[i] = start(t, client, wire.ClassRPC, wire.Bidi)
			incoming = append(incoming, <-started)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waited := make(chan error)
		go func() {
			_, err := client.Start(ctx, wire.ClassRPC, wire.Bidi, false, request("m", nil))
			waited <- err
		}()
		cancel()
		if err := <-waited; err != context.Canceled {
			t.Errorf("a call above the limit: got error %v, want it to wait until it was canceled", err)
		}
		for _, in := range incoming {
			in.Refuse(wire.Aborted, "")
		}
		for _, call := range calls {
			if code := result(t, call); code != wire.Aborted {
				t.Fatalf("a call ended with %v, want %v", code, wire.Aborted)
			}
		}
	})
}

// TestStreamCreditComesBack (T2): a stream counts until both directions have ended, however they do.
func TestStreamCreditComesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		client, server := k.pair(t, Config{}, Config{MaxStreams: 4, Serve: async(func(in *Incoming) {
			in.Payload.Release()
			in.Refuse(wire.OK, "")
		})})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range 1600 / 8 {
					call, err := client.Start(t.Context(), wire.ClassRPC, wire.Bidi, i%2 == 0, request("m", nil))
					if err != nil {
						t.Error(err)
						return
					}
					if code := result(t, call); code != wire.OK {
						t.Errorf("call %d ended with %v", i, code)
					}
					canceled, err := client.Start(t.Context(), wire.ClassRPC, wire.Bidi, false, request("m", nil))
					if err != nil {
						t.Error(err)
						return
					}
					canceled.Close(wire.Cancel{Code: wire.Canceled})
				}
			})
		}
		wg.Wait()
		if err := client.Drain(t.Context(), "done"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, server.Done(), "the server")
	})
}

// TestResponseStreamCreditComesBack: the same for responses above the limit of a wide lane.
func TestResponseStreamCreditComesBack(t *testing.T) {
	client, _ := quicPair(t, Config{}, Config{Serve: async(func(in *Incoming) {
		in.Payload.Release()
		out := wire.NewBuffer(300 << 10)
		out.B = append(wire.AppendResponse(out.B, &wire.Response{}), make([]byte, 300<<10)...)
		in.Respond(out)
	})})
	for i := range uniStreams + 10 {
		if _, st, err := call(t.Context(), client, wire.ClassRPC, nil); err != nil || st.Code != wire.OK {
			t.Fatalf("call %d: %v, %v", i, st, err)
		}
	}
}

// start starts a call without a message and with more to come.
func start(t testing.TB, c *Conn, class wire.Class, kind wire.CallKind) *Call {
	t.Helper()
	call, err := c.Start(t.Context(), class, kind, false, request("m", nil))
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// result waits for the response of a call, closes it and returns the status code.
func result(t testing.TB, call *Call) wire.Code {
	t.Helper()
	defer call.Close(wire.Cancel{})
	for {
		typ, b, err := call.Recv()
		if err != nil {
			t.Error(err)
			return wire.Unknown
		}
		var r wire.Response
		if typ == wire.FrameResponse {
			_, err = wire.ParseResponse(b.B, &r)
		}
		b.Release()
		if err != nil {
			t.Error(err)
			return wire.Unknown
		}
		if typ == wire.FrameResponse {
			return r.Status.Code
		}
	}
}

// TestMessageLimits: a frame that is too large is refused with the limit and the knob, on its call only.
func TestMessageLimits(t *testing.T) {
	const limit = 1 << 20
	onBoth(t, func(t *testing.T, k kind) {
		server := Config{Serve: echo, MaxMessageBytes: limit}
		client, _ := k.pair(t, Config{}, server)
		fits := make([]byte, limit)
		if _, st, err := call(t.Context(), client, wire.ClassRPC, fits); err != nil || st.Code != wire.OK {
			t.Errorf("a message at the limit: %v, %v", st, err)
		}
		big := make([]byte, limit+wire.MaxHeaderBytes)
		_, st, err := call(t.Context(), client, wire.ClassRPC, big)
		if want := (&wire.LimitError{What: "frame payload", Limit: limit + wire.MaxHeaderBytes, Got: uint64(len(big)) + 8, Knob: "MaxMessageBytes"}).Error(); err != nil || st.Code != wire.ResourceExhausted || st.Message != want {
			t.Errorf("a request above it: %v, %v\nwant %s", st, err, want)
		}
		// The other way round: what the caller does not accept.
		client, _ = k.pair(t, Config{MaxMessageBytes: 1000}, Config{Serve: echo})
		_, _, err = call(t.Context(), client, wire.ClassRPC, big)
		exceeded := (*wire.LimitError)(nil)
		if !errors.As(err, &exceeded) || exceeded.Knob != "MaxMessageBytes" {
			t.Errorf("a response above the caller's limit: %v", err)
		}
		if _, st, err := call(t.Context(), client, wire.ClassRPC, []byte("x")); err != nil || st.Code != wire.OK {
			t.Errorf("a call after that: %v, %v", st, err)
		}
	})
}

// TestConfigRefusesWhatItCannotDo: the error names the field and the range.
func TestConfigRefusesWhatItCannotDo(t *testing.T) {
	for _, c := range []Config{
		{MaxMessageBytes: -1}, {MaxMessageBytes: maxMessageLimit + 1}, {MaxStreams: -1}, {MaxStreams: maxStreamsLimit + 1},
		{MaxPendingBytes: 1}, {HandshakeTimeout: -1}, {IdleTimeout: 1},
	} {
		if err := c.Validate(); err == nil {
			t.Errorf("accepted %s", fmt.Sprintf("%+v", c))
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	if _, err := Dial(t.Context(), "127.0.0.1:1", Config{}); err == nil {
		t.Error("dialed without TLS")
	}
	if _, _, err := Pipe(Config{MaxStreams: -1}, Config{}); err == nil {
		t.Error("a pipe took a bad configuration")
	}
}
