package streams

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// message returns the payload of a message frame: the reference of generic CBOR and a body.
func message(body ...byte) []byte {
	return append(wire.AppendSchemaRef(nil, &wire.SchemaRef{}), body...)
}

// TestStreamingCallBothWays: messages of all sizes arrive in order in both directions, then the status.
func TestStreamingCallBothWays(t *testing.T) {
	sizes := []int{0, 1, 5000, directBytes - 1, directBytes, 300 << 10, 2 << 20}
	onBoth(t, func(t *testing.T, k kind) {
		for _, class := range []wire.Class{wire.ClassStream, wire.ClassBulk} {
			client, _ := k.pair(t, Config{}, Config{Serve: async(func(in *Incoming) {
				in.Payload.Release()
				ctx := in.Conn().ctx
				if err := in.Send(ctx, wire.FrameHeaders, wire.AppendMetadata(nil, nil)); err != nil {
					t.Error(err)
				}
				for {
					b, err := in.Recv()
					if err == io.EOF {
						break
					}
					if err == nil {
						err = in.Send(ctx, wire.FrameMessage, b.B)
					}
					b.Release()
					if err != nil {
						t.Error(err)
						break
					}
				}
				in.Refuse(wire.AlreadyExists, "seen it all")
			})})
			call := start(t, client, class, wire.Bidi)
			sent := make(chan error, 1)
			go func() {
				for i, size := range sizes {
					if err := call.Send(message(bytes.Repeat([]byte{byte(i)}, size)...)); err != nil {
						sent <- err
						return
					}
				}
				call.CloseSend()
				sent <- nil
			}()
			typ, b, err := call.Recv()
			if err != nil || typ != wire.FrameHeaders {
				t.Fatalf("got a frame of type %d first, %v, want headers", typ, err)
			}
			b.Release()
			for i, size := range sizes {
				typ, b, err := call.Recv()
				if err != nil || typ != wire.FrameMessage || !bytes.Equal(b.B[1:], bytes.Repeat([]byte{byte(i)}, size)) {
					t.Fatalf("message %d of %d bytes came back as a frame of type %d, %v", i, size, typ, err)
				}
				b.Release()
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			if err := call.Send(message()); !errors.Is(err, ErrEnded) {
				t.Errorf("Send after CloseSend: got %v, want ErrEnded", err)
			}
			typ, b, err = call.Recv()
			if err != nil || typ != wire.FrameResponse {
				t.Fatalf("got a frame of type %d, %v, want the response", typ, err)
			}
			b.Release()
			if _, _, err := call.Recv(); !errors.Is(err, ErrEnded) {
				t.Errorf("Recv after the response: got %v, want ErrEnded", err)
			}
			call.Close(wire.Cancel{})
		}
	})
}

// TestEarlyResponseReachesABlockedSender (T5): a callee that has seen enough stops reading, and never resets what holds the
// status.
func TestEarlyResponseReachesABlockedSender(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		for _, class := range []wire.Class{wire.ClassRPC, wire.ClassBulk} {
			for _, size := range []int{100, 1 << 20} { // through the queue, and directly
				client, _ := k.pair(t, Config{}, Config{Serve: async(func(in *Incoming) {
					in.Payload.Release()
					b, err := in.Recv()
					if err != nil {
						t.Error(err)
					}
					b.Release()
					in.Refuse(wire.ResourceExhausted, "one is enough")
				})})
				call := start(t, client, class, wire.ClientStream)
				var err error
				for err == nil {
					err = call.Send(message(make([]byte, size)...))
				}
				if !errors.Is(err, ErrEnded) {
					t.Errorf("Send returned %v, want ErrEnded", err)
				}
				if code := result(t, call); code != wire.ResourceExhausted {
					t.Errorf("the response has the code %v, want %v", code, wire.ResourceExhausted)
				}
			}
		}
	})
}

// TestLaneCallIsUsedUp: a unary call has one result.
func TestLaneCallIsUsedUp(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		client, _ := k.pair(t, Config{}, Config{Serve: echo})
		call, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("echo", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, b, err := call.Recv()
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
		if _, _, err := call.Recv(); !errors.Is(err, ErrEnded) {
			t.Errorf("second Recv returned %v, want ErrEnded", err)
		}
		call.Close(wire.Cancel{})
	})
}

// TestAnsweredTwicePanics: a bug of ours, not of the peer, must not go on.
func TestAnsweredTwicePanics(t *testing.T) {
	twice := make(chan any, 1)
	client, _ := pipePair(t, Config{}, Config{Serve: func(in *Incoming) {
		defer func() { twice <- recover() }()
		in.Payload.Release()
		in.Refuse(wire.Aborted, "once")
		in.Conn().serving.Add(1)
		defer in.Conn().serving.Add(-1)
		in.finish(wire.ResetNone)
	}})
	call := start(t, client, wire.ClassRPC, wire.Bidi)
	if code := result(t, call); code != wire.Aborted {
		t.Errorf("ended with %v", code)
	}
	if <-twice == nil {
		t.Error("the second answer went unnoticed")
	}
}

// TestBothSidesCall: an acceptor calls its dialer over the same connection, also while it serves a call.
func TestBothSidesCall(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		var client, server *Conn
		back := async(func(in *Incoming) {
			body, st, err := call(in.Conn().ctx, in.Conn(), wire.ClassRPC, in.Payload.B)
			if err != nil || st.Code != wire.OK || len(body) == 0 {
				t.Errorf("calling back: %v, %v", st, err)
			}
			echoNow(in)
		})
		client, server = k.pair(t, Config{Serve: echo}, Config{Serve: back})
		for _, size := range []int{10, 100 << 10, 1 << 20} {
			if _, st, err := call(t.Context(), client, wire.ClassStream, make([]byte, size)); err != nil || st.Code != wire.OK {
				t.Errorf("%d bytes: %v, %v", size, st, err)
			}
		}
		if client.Draining() || server.Draining() {
			t.Error("a connection drains that nobody asked to")
		}
	})
}
