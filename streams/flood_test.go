package streams

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// TestRequestFloodIsRefused: calls beyond the limit are answered at once, the others go on.
func TestRequestFloodIsRefused(t *testing.T) {
	release := make(chan struct{})
	server, peer := rawPipe(t, Config{Serve: func(in *Incoming) {
		in.Payload.Release()
		handlers.Go(func() {
			<-release
			in.Refuse(wire.Aborted, "")
		})
	}})
	openRawControl(t, peer)
	lane := openRaw(t, peer, []byte{prefaceLane})
	r := rawReader(t, lane)
	for i := range uint64(maxServing) {
		writeRaw(t, lane, requestFrame(i))
	}
	for i := range uint64(100) {
		writeRaw(t, lane, requestFrame(maxServing+i))
		response := wantResponse(t, r, wire.ResourceExhausted)
		if !response.Status.Unprocessed {
			t.Error("the refusal does not say that nothing was done")
		}
	}
	close(release)
	for range maxServing {
		wantResponse(t, r, wire.Aborted)
	}
	if server.Err() != nil {
		t.Error(server.Err())
	}
}

// TestFloodOfAPeerThatDoesNotRead: refusals that nobody takes must not pile up.
func TestFloodOfAPeerThatDoesNotRead(t *testing.T) {
	server, peer := rawPipe(t, Config{Serve: async(func(in *Incoming) {
		in.Payload.Release()
		in.Refuse(wire.Aborted, "")
	})})
	openRawControl(t, peer)
	lane := openRaw(t, peer, []byte{prefaceLane})
	most := 0
	for i := range uint64(100_000) {
		if _, err := lane.Write(requestFrame(i)); err != nil {
			break
		}
		most = max(most, server.Serving())
	}
	wantClosed(t, server, peer, wire.CloseLimit, "calls")
	if most > 2*maxServing+1 {
		t.Errorf("%d calls were held", most)
	}
}

// TestStreamFloodIsBounded: a peer cannot open more streams than it was granted, and hold no more than that.
func TestStreamFloodIsBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		server, peer := k.raw(t, Config{Serve: echo, MaxStreams: 50})
		openRawControl(t, peer)
		ctx, cancel := context.WithCancel(t.Context())
		var open sync.WaitGroup
		opened := make(chan stream, 1000)
		for range 200 {
			open.Go(func() {
				s, err := peer.openStream(ctx)
				if err != nil {
					return
				}
				if _, err := s.Write([]byte{prefaceCall, 1}); err != nil {
					t.Error(err)
				}
				opened <- s
			})
		}
		for range 50 + longStreams - 1 {
			<-opened
		}
		cancel()
		open.Wait()
		if n := len(opened); n != 0 {
			t.Errorf("%d streams more than granted were opened", n)
		}
		if server.Err() != nil {
			t.Error(server.Err())
		}
	})
}

// TestPendingBytesAreBounded: messages that are being received share a budget; what exceeds it is refused, and the budget
// comes back.
func TestPendingBytesAreBounded(t *testing.T) {
	const limit = 1 << 20
	onBoth(t, func(t *testing.T, k kind) {
		server, peer := k.raw(t, Config{Serve: echo, MaxMessageBytes: limit, MaxPendingBytes: 3 * limit})
		openRawControl(t, peer)
		partial := wire.AppendFrameHead([]byte{prefaceCall}, wire.FrameHead{Type: wire.FrameRequest, Len: limit})
		var streams []stream
		for range 3 {
			streams = append(streams, openRaw(t, peer, partial, []byte("begun")))
		}
		until(t, server, func() bool { return server.incoming.used.Load() == 3*limit })
		wantResponse(t, rawReader(t, openRaw(t, peer, partial)), wire.ResourceExhausted)
		for _, s := range streams {
			s.resetWrite(wire.ResetFor(wire.Canceled))
		}
		until(t, server, func() bool { return server.incoming.used.Load() == 0 })
		wantHealthy(t, peer)
	})
}

// TestHandshakeTimeout: a peer that connects and says nothing is sent away after exactly the timeout.
func TestHandshakeTimeout(t *testing.T) {
	for name, content := range map[string][]byte{
		"no stream": nil, "empty control stream": {}, "control stream without hello": {prefaceControl},
		"half a hello": append([]byte{prefaceControl}, helloFrame()[:5]...), "calls but no hello": append([]byte{prefaceCall}, requestFrame(0)...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, peer := rawPipe(t, Config{Serve: echo, HandshakeTimeout: 3 * time.Second})
				begun := time.Now()
				if content != nil {
					openRaw(t, peer, content)
				}
				err := server.Ready(t.Context())
				wantClosed(t, server, peer, wire.CloseHandshake, "no hello within 3s")
				if took := time.Since(begun); took != 3*time.Second || !errors.As(err, new(*ConnError)) {
					t.Errorf("Ready returned %v after %v", err, took)
				}
			})
		})
	}
}

// TestServerThatNeverSaysHello: it completes the handshake of TLS and then says nothing. Whoever waits for it is told why not.
func TestServerThatNeverSaysHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := startPipeEnd(t, Config{HandshakeTimeout: 3 * time.Second}, true)
		call, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer call.Close(wire.Cancel{})
		begun := time.Now()
		for what, wait := range map[string]func() error{
			"Ready": func() error { return client.Ready(t.Context()) },
			"Recv":  func() error { _, _, err := call.Recv(); return err },
		} {
			if err := wait(); !errors.As(err, new(*ConnError)) || !strings.Contains(err.Error(), "HandshakeTimeout") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("told after %v, want 3s", took)
		}
	})
}
