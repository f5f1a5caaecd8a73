package streams

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// TestBadRequestsHarmTheirCallOnly: what is wrong on a stream of its own is answered there.
func TestBadRequestsHarmTheirCallOnly(t *testing.T) {
	const limit = 64 << 10
	onBoth(t, func(t *testing.T, k kind) {
		_, peer := k.raw(t, Config{Serve: echo, MaxMessageBytes: limit, MaxPendingBytes: limit})
		openRawControl(t, peer)
		for _, c := range []struct {
			name    string
			content []byte
			want    wire.Code
		}{
			{"garbage", bytes.Repeat([]byte{0xff}, 100), wire.InvalidArgument},
			{"a response", frameOf(wire.FrameHead{Type: wire.FrameResponse}, 0x82, 0, 0), wire.InvalidArgument},
			{"a message", frameOf(wire.FrameHead{Type: wire.FrameMessage}, 0), wire.InvalidArgument},
			{"a hello", helloFrame(), wire.InvalidArgument},
			{"a malformed header", frameOf(wire.FrameHead{Type: wire.FrameRequest}, 0x80), wire.InvalidArgument},
			{"an empty request", frameOf(wire.FrameHead{Type: wire.FrameRequest}), wire.InvalidArgument},
			{"a frame above the limit", wire.AppendFrameHead(nil, wire.FrameHead{Type: wire.FrameRequest, Len: limit + wire.MaxHeaderBytes + 1}), wire.ResourceExhausted},
			{"a frame that announces the largest number", []byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, wire.ResourceExhausted},
			{"a frame above MaxPendingBytes", wire.AppendFrameHead(nil, wire.FrameHead{Type: wire.FrameRequest, Len: limit + 1}), wire.ResourceExhausted},
		} {
			s := openRaw(t, peer, []byte{prefaceCall}, c.content)
			if response := wantResponse(t, rawReader(t, s), c.want); !response.Status.Unprocessed && c.name != "a malformed header" && c.name != "an empty request" {
				t.Errorf("%s: the response does not say that nothing was done", c.name)
			}
			s.resetWrite(0)
			wantHealthy(t, peer)
		}
	})
}

// TestRequestsCutAtEveryByte: by FIN, which is answered, and by a reset, which is not.
func TestRequestsCutAtEveryByte(t *testing.T) {
	whole := append([]byte{prefaceCall}, requestFrame(0, make([]byte, 5000)...)...)
	onBoth(t, func(t *testing.T, k kind) {
		server, peer := k.raw(t, Config{Serve: echo})
		openRawControl(t, peer)
		for _, n := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 100, 4096, 5000, len(whole) - 1} {
			s := openRaw(t, peer, whole[:n])
			_ = s.closeWrite() // fails when the server was faster
			if n > 0 {
				wantResponse(t, rawReader(t, s), wire.InvalidArgument)
			}
			s = openRaw(t, peer, whole[:n])
			s.resetWrite(wire.ResetFor(wire.Canceled))
			wantHealthy(t, peer)
		}
		if server.Err() != nil {
			t.Error(server.Err())
		}
	})
}

// TestResponsesCutAtEveryByte: the call fails with an error that says what was cut.
func TestResponsesCutAtEveryByte(t *testing.T) {
	whole := frameOf(wire.FrameHead{Type: wire.FrameResponse}, append([]byte{0x82, 0, 0}, make([]byte, 5000)...)...)
	p, client := startPipeEnd(t, Config{}, true)
	acceptRaw(t, p.ends[1])
	for n := range whole {
		if n > 20 && n < len(whole)-2 && n%500 != 0 {
			continue
		}
		call := start(t, client, wire.ClassRPC, wire.Bidi)
		s := acceptCall(t, p.ends[1])
		writeRaw(t, s, whole[:n])
		if n%2 == 0 {
			s.resetWrite(wire.ResetFor(wire.DataLoss))
		} else if err := s.closeWrite(); err != nil {
			t.Fatal(err)
		}
		_, _, err := call.Recv()
		reset := (*ResetError)(nil)
		switch {
		case n%2 == 0 && (!errors.As(err, &reset) || !reset.Remote || reset.Code != wire.ResetFor(wire.DataLoss)):
			t.Errorf("reset after %d bytes: got %v", n, err)
		case n%2 != 0 && err == nil:
			t.Errorf("FIN after %d bytes: no error", n)
		}
		call.Close(wire.Cancel{})
		s.releaseCredit()
	}
	if client.Err() != nil || client.Outstanding() != 0 {
		t.Errorf("connection: %v, %d calls outstanding", client.Err(), client.Outstanding())
	}
}

// TestStalledRequestEnds: a peer that stops within its first frame is answered after 30 seconds, to the nanosecond; one
// that has begun its call may take its time.
func TestStalledRequestEnds(t *testing.T) {
	request := append([]byte{prefaceCall}, requestFrame(0)...)
	for n := range request {
		synctest.Test(t, func(t *testing.T) {
			_, peer := rawPipe(t, Config{Serve: echo})
			openRawControl(t, peer)
			begun := time.Now()
			s := openRaw(t, peer, request[:n])
			if n == 0 { // nothing was asked
				_, err := s.Read(make([]byte, 1))
				if reset := (*ResetError)(nil); !errors.As(err, &reset) || reset.Code != wire.ResetNone {
					t.Errorf("got %v, want a reset", err)
				}
			} else {
				wantResponse(t, rawReader(t, s), wire.DeadlineExceeded)
			}
			if took := time.Since(begun); took != stallTimeout {
				t.Errorf("%d bytes of a request were given up after %v, want %v", n, took, stallTimeout)
			}
			wantHealthy(t, peer)
		})
	}
}

// TestTricklingRequestIsServed: the timeout is for a pause, not for the whole.
func TestTricklingRequestIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, peer := rawPipe(t, Config{Serve: echo})
		openRawControl(t, peer)
		s := openRaw(t, peer)
		for _, b := range append([]byte{prefaceCall}, requestFrame(0)...) {
			time.Sleep(stallTimeout - 1)
			writeRaw(t, s, []byte{b})
		}
		wantResponse(t, rawReader(t, s), wire.OK)
	})
}

// TestStalledResponseEndsItsCall: the callee stops within a response stream.
func TestStalledResponseEndsItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client := startPipeEnd(t, Config{SilenceTimeout: time.Minute}, true) // it answers no pings
		writeRaw(t, acceptRaw(t, p.ends[1]), helloFrame())
		call, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer call.Close(wire.Cancel{})
		lane := acceptRaw(t, p.ends[1])
		begun := time.Now()
		openRawUni(t, p.ends[1], []byte{prefaceResponse}, wire.AppendFrameHead(nil, wire.FrameHead{Type: wire.FrameResponse, Len: 1 << 20}))
		var alive sync.WaitGroup
		t.Cleanup(alive.Wait)
		alive.Go(func() { // the peer is there, only its response is not
			for t.Context().Err() == nil {
				writeRaw(t, lane, frameOf(wire.FrameHead{Type: wire.FrameCancel}, wire.AppendCancel(nil, wire.Cancel{})...))
				time.Sleep(time.Second)
			}
		})
		_, _, err = call.Recv()
		if took := time.Since(begun); err == nil || errors.As(err, new(*ConnError)) || took != stallTimeout {
			t.Errorf("got error %v after %v, want one about the stream after %v", err, took, stallTimeout)
		}
	})
}
