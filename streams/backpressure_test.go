package streams

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// TestUnreadCallsStallNobody (T3): 200 calls whose responses nobody reads, each with more to say than a window holds.
func TestUnreadCallsStallNobody(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		chunk := message(make([]byte, 100<<10)...)
		client, _ := k.pair(t, Config{}, Config{Serve: async(func(in *Incoming) {
			if in.Kind == wire.Unary {
				echoNow(in)
				return
			}
			in.Payload.Release()
			var err error
			for err == nil {
				err = in.Send(in.Conn().ctx, wire.FrameMessage, chunk)
			}
			in.Refuse(wire.Canceled, "")
		})})
		var unread []*Call
		for range 200 {
			unread = append(unread, start(t, client, wire.ClassRPC, wire.ServerStream))
		}
		for _, size := range []int{10, 10, 10, 300 << 10, 10} {
			for _, class := range []wire.Class{wire.ClassRPC, wire.ClassControl, wire.ClassStream} {
				if _, st, err := call(t.Context(), client, class, make([]byte, size)); err != nil || st.Code != wire.OK {
					t.Fatalf("%v call of %d bytes: %v, %v", class, size, st, err)
				}
			}
		}
		for _, call := range unread {
			call.Close(wire.Cancel{Code: wire.Canceled})
		}
	})
}

// TestFullLaneBlocksItsSenders: a peer stops reading a lane. Senders wait in the queue's bounds, until their contexts end;
// other lanes and streams go on.
func TestFullLaneBlocksItsSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, client := startPipeEnd(t, Config{Serve: echo}, true)
		control := acceptRaw(t, p.ends[1])
		writeRaw(t, control, helloFrame())
		var calls []*Call
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun, sent := time.Now(), 0
		for {
			call, err := client.Start(ctx, wire.ClassRPC, wire.Unary, true, request("m", make([]byte, 10<<10)))
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Second {
					t.Errorf("got error %v after %v, want the deadline, when it passes", err, time.Since(begun))
				}
				break
			}
			calls = append(calls, call)
			sent += 10 << 10
		}
		if most := streamWindow + 2*(writerQueueBytes+16<<10); sent > most {
			t.Errorf("%d bytes wait for a peer that does not read, want at most %d", sent, most)
		}
		if n := client.Outstanding(); n != len(calls) {
			t.Errorf("%d calls are outstanding, want %d", n, len(calls))
		}
		for _, class := range []wire.Class{wire.ClassStream, wire.ClassControl} {
			other, err := client.Start(t.Context(), class, wire.Unary, true, request("m", nil))
			if err != nil {
				t.Fatalf("a call of class %v: %v", class, err)
			}
			calls = append(calls, other)
		}
		for _, call := range calls {
			call.Close(wire.Cancel{Code: wire.Canceled})
		}
	})
}

// TestFullStreamBlocksItsSender until the peer reads, or the call is canceled.
func TestFullStreamBlocksItsSender(t *testing.T) {
	for _, size := range []int{1000, 100 << 10} {
		for _, class := range []wire.Class{wire.ClassStream, wire.ClassBulk} {
			t.Run(fmt.Sprintf("%v/%d", class, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, client := startPipeEnd(t, Config{}, true)
					control := acceptRaw(t, p.ends[1])
					writeRaw(t, control, helloFrame())
					enough := errors.New("enough")
					ctx, cancel := context.WithCancelCause(t.Context())
					call, err := client.Start(ctx, class, wire.ClientStream, false, request("m", nil))
					if err != nil {
						t.Fatal(err)
					}
					sent := 0
					failed := make(chan error)
					go func() {
						for {
							if err := call.Send(make([]byte, size)); err != nil {
								failed <- err
								return
							}
							sent += size
						}
					}()
					synctest.Wait()
					if most := streamWindow + 2*writerQueueBytes + 2*size; sent > most {
						t.Errorf("%d bytes wait for a peer that does not read, want at most %d", sent, most)
					}
					before := sent
					s := acceptCall(t, p.ends[1])
					writeRaw(t, control, creditFrame(s, 1<<20))
					for range 600 { // more than the window and the queue hold
						if _, err := s.Read(make([]byte, 1000)); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
					if sent == before {
						t.Error("the sender did not go on when the peer read")
					}
					cancel(enough)
					if err := <-failed; !errors.Is(err, enough) {
						t.Errorf("Send returned %v, want the cause", err)
					}
					call.Close(wire.Cancel{})
				})
			})
		}
	}
}
