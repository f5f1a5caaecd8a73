package streams

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/mycel-rpc/mycel/wire"
)

// creditFrame returns a credit frame for a stream.
func creditFrame(s sendStream, limit uint64) []byte {
	return frameOf(wire.FrameHead{Type: wire.FrameCredit}, wire.AppendCredit(nil, wire.Credit{Stream: s.id(), Limit: limit})...)
}

// TestSenderKeepsToItsCredit: the bytes on a bulk stream, counted from its preface by a peer that reads everything, never
// exceed what the peer has granted, however the messages are sized.
func TestSenderKeepsToItsCredit(t *testing.T) {
	for _, size := range []int{100, 10 << 10, 1 << 20} {
		synctest.Test(t, func(t *testing.T) {
			p, client := startPipeEnd(t, Config{}, true)
			control := acceptRaw(t, p.ends[1])
			writeRaw(t, control, helloFrame())
			ctx, cancel := context.WithCancel(t.Context())
			call, err := client.Start(ctx, wire.ClassBulk, wire.ClientStream, false, request("m", nil))
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() {
				var err error
				for err == nil {
					err = call.Send(make([]byte, size))
				}
				ended <- err
			}()
			s := acceptCall(t, p.ends[1])
			received := 1 // the preface
			go func() {
				b := make([]byte, 1<<20)
				for {
					n, err := s.Read(b)
					if received += n; err != nil {
						return
					}
				}
			}()
			for _, limit := range []int{wire.InitialCreditBytes, 256<<10 + 1, 300 << 10, 1 << 20, 1 << 19 /* lower: ignored */, 3 << 20} {
				if limit != wire.InitialCreditBytes {
					writeRaw(t, control, creditFrame(s, uint64(limit)))
				}
				synctest.Wait()
				if want := max(limit, received); received != want || limit == 1<<19 && received != 1<<20 {
					t.Errorf("messages of %d bytes, credit %d: %d bytes are on the stream, want all of the credit", size, limit, received)
				}
			}
			writeRaw(t, control, frameOf(wire.FrameHead{Type: wire.FrameCredit}, wire.AppendCredit(nil, wire.Credit{Stream: 1 << 40, Limit: 1})...))
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the blocked sender got %v, want the cause of the context", err)
			}
			call.Close(wire.Cancel{})
			synctest.Wait()
			client.credits.mu.Lock()
			n := len(client.credits.mu.gates)
			client.credits.mu.Unlock()
			client.credits.route.mu.Lock()
			n += len(client.credits.route.mu.meters)
			client.credits.route.mu.Unlock()
			if n != 0 {
				t.Errorf("credit of %d streams is kept after their end", n)
			}
		})
	}
}

// TestSenderWithoutCreditUnblocks when the peer stops reading, and when the connection ends.
func TestSenderWithoutCreditUnblocks(t *testing.T) {
	for name, end := range map[string]func(*Conn, stream){
		"stop sending":          func(_ *Conn, s stream) { s.stopRead(wire.ResetFor(wire.Aborted)) },
		"end of the connection": func(c *Conn, _ stream) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, client := startPipeEnd(t, Config{}, true)
				writeRaw(t, acceptRaw(t, p.ends[1]), helloFrame())
				call := start(t, client, wire.ClassBulk, wire.ClientStream)
				s := acceptCall(t, p.ends[1])
				go io.Copy(io.Discard, s) // ends with the stream
				ended := make(chan error)
				go func() { ended <- call.Send(make([]byte, 1<<20)) }()
				synctest.Wait()
				end(client, s)
				err := <-ended
				if !errors.Is(err, ErrEnded) && !errors.As(err, new(*ConnError)) {
					t.Errorf("Send returned %v", err)
				}
				call.Close(wire.Cancel{})
			})
		})
	}
}

// TestReceiverGrantsWhatItReads: a sender that uses all of its credit never stands still while the receiver reads, and has
// no credit beyond the window while it does not.
func TestReceiverGrantsWhatItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := make(chan struct{})
		_, peer := rawPipe(t, Config{Serve: async(func(in *Incoming) {
			in.Payload.Release()
			if in.Kind == wire.Bidi {
				<-in.Conn().Done()
			}
			for in.Kind == wire.ClientStream {
				if _, more := <-read; !more {
					break
				}
				b, err := in.Recv()
				if err != nil {
					t.Error(err)
				}
				b.Release()
			}
			in.Refuse(wire.OK, "")
		})})
		control := openRawControl(t, peer)
		granted := make(map[uint64]uint64)
		handlers.Go(func() { // ends with the connection
			r := newFrameReader(control, laneReadBytes, wire.MaxHelloBytes, "")
			defer r.release()
			for {
				f, err := r.next()
				if err != nil {
					return
				}
				if f.Type == wire.FrameCredit {
					c, err := wire.ParseCredit(f.payload)
					if err != nil || c.Limit <= granted[c.Stream] {
						t.Errorf("credit went from %d to %d, %v", granted[c.Stream], c.Limit, err)
					}
					granted[c.Stream] = c.Limit
				}
			}
		})
		payload := make([]byte, 50<<10)
		s := openRaw(t, peer, []byte{prefaceCall | byte(wire.ClassBulk)}, frameOf(wire.FrameHead{Type: wire.FrameRequest, Kind: wire.ClientStream}, 0x83, 1, 0, 0))
		unread := openRaw(t, peer, []byte{prefaceCall | byte(wire.ClassBulk)}, frameOf(wire.FrameHead{Type: wire.FrameRequest, Kind: wire.Bidi}, 0x83, 1, 0, 0))
		sent := 8
		message := frameOf(wire.FrameHead{Type: wire.FrameMessage}, payload...)
		for range 100 {
			read <- struct{}{}
			writeRaw(t, s, message)
			sent += len(message)
			synctest.Wait()
			limit := max(granted[s.id()], wire.InitialCreditBytes)
			if uint64(sent) > limit {
				t.Fatalf("the sender would stand still: %d bytes sent and read, %d granted", sent, limit)
			}
			if limit > uint64(sent+wire.InitialCreditBytes) {
				t.Fatalf("%d bytes are granted beyond what was read", limit-uint64(sent))
			}
		}
		if granted[unread.id()] != 0 {
			t.Error("credit was granted for a stream that nobody reads")
		}
		close(read)
	})
}

// TestUnreadBulkStallsNoOther: one reader that does not read holds its own credit only.
func TestUnreadBulkStallsNoOther(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		client, _ := k.pair(t, Config{}, Config{Serve: async(func(in *Incoming) {
			if in.Kind == wire.Unary {
				echoNow(in)
				return
			}
			in.Payload.Release()
			<-in.Conn().Done() // never reads
			in.Refuse(wire.Unavailable, "")
		})})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 5)
		for range 5 {
			call, err := client.Start(ctx, wire.ClassBulk, wire.ClientStream, false, request("m", nil))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				err := error(nil)
				for err == nil {
					err = call.Send(make([]byte, 1<<20))
				}
				call.Close(wire.Cancel{Code: wire.Canceled})
				done <- err
			}()
		}
		for range 2 {
			if _, st, err := call(t.Context(), client, wire.ClassBulk, make([]byte, 1<<20)); err != nil || st.Code != wire.OK {
				t.Fatalf("a transfer beside unread ones: %v, %v", st, err)
			}
		}
		cancel()
		for range 5 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Send returned %v", err)
			}
		}
	})
}

// TestResponseWaitsForCredit: a call that has used up its credit ends all the same, when there is more.
func TestResponseWaitsForCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, server := startPipeEnd(t, Config{Serve: func(in *Incoming) {
			handlers.Go(func() {
				in.Payload.Release()
				head := len(wire.AppendFrameHead(nil, wire.FrameHead{Type: wire.FrameMessage, Len: wire.InitialCreditBytes / 2}))
				for range 2 { // to the last byte of the credit
					if err := in.Send(t.Context(), wire.FrameMessage, make([]byte, wire.InitialCreditBytes/2-head)); err != nil {
						t.Error(err)
					}
				}
				in.Refuse(wire.Aborted, "that was all")
			})
		}}, false)
		defer server.Close()
		control := openRawControl(t, p.ends[0])
		s := openRaw(t, p.ends[0], []byte{prefaceCall | byte(wire.ClassBulk)},
			frameOf(wire.FrameHead{Type: wire.FrameRequest, Kind: wire.ServerStream, End: true}, wire.AppendRequest(nil, &wire.Request{Name: []byte("m")})...))
		received := 0
		ended := make(chan error, 1)
		go func() {
			b := make([]byte, 1<<20)
			for {
				n, err := s.Read(b)
				if received += n; err != nil {
					ended <- err
					return
				}
			}
		}()
		synctest.Wait()
		if received != wire.InitialCreditBytes {
			t.Fatalf("%d bytes were sent on a credit of %d", received, wire.InitialCreditBytes)
		}
		writeRaw(t, control, creditFrame(s, wire.InitialCreditBytes+1000))
		synctest.Wait()
		select {
		case err := <-ended:
			if err != io.EOF || received <= wire.InitialCreditBytes {
				t.Errorf("%d bytes, then %v", received, err)
			}
		default:
			t.Errorf("the response did not follow: %d bytes", received)
		}
		handlers.Wait()
	})
}
