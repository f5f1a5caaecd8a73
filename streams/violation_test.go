package streams

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// hold serves calls by keeping them until the test ends.
func hold(t testing.TB) func(*Incoming) {
	return async(func(in *Incoming) {
		<-in.Conn().Done()
		in.Payload.Release()
		in.Refuse(wire.Unavailable, "held until the end")
	})
}

// TestViolationsCloseTheConnection: each breach of the protocol ends the connection with a code and a text that both
// sides see.
func TestViolationsCloseTheConnection(t *testing.T) {
	type peer struct {
		testing.TB
		transport
		control stream
		server  *Conn
	}
	head := func(typ wire.FrameType) wire.FrameHead { return wire.FrameHead{Type: typ} }
	lane := func(p peer, content ...[]byte) stream {
		return openRaw(p, p, append([][]byte{{prefaceLane}}, content...)...)
	}
	send := func(p peer, content ...[]byte) { writeRaw(p, p.control, content...) }
	for _, c := range []struct {
		name string
		code uint64
		says string
		do   func(p peer)
	}{
		{"second control stream", wire.CloseProtocol, "second control stream", func(p peer) { openRawControl(p, p) }},
		{"second hello", wire.CloseProtocol, "second hello", func(p peer) { send(p, helloFrame()) }},
		{"malformed hello", wire.CloseProtocol, "hello", func(p peer) { send(p, frameOf(head(wire.FrameHello), 0x80)) }},
		{"hello above its limit", wire.CloseLimit, "exceeds", func(p peer) {
			send(p, wire.AppendFrameHead(nil, wire.FrameHead{Type: wire.FrameHello, Len: wire.MaxHelloBytes + 1}))
		}},
		{"malformed ping", wire.CloseProtocol, "ping", func(p peer) { send(p, frameOf(head(wire.FramePing), 0)) }},
		{"malformed goaway", wire.CloseProtocol, "goaway", func(p peer) { send(p, frameOf(head(wire.FrameGoAway), 0)) }},
		{"malformed credit", wire.CloseProtocol, "credit", func(p peer) { send(p, frameOf(head(wire.FrameCredit), 0)) }},
		{"malformed cancel", wire.CloseProtocol, "cancel", func(p peer) { send(p, frameOf(head(wire.FrameCancel), 0)) }},
		{"malformed schema answer", wire.CloseProtocol, "schema", func(p peer) { send(p, frameOf(head(wire.FrameSchema), 0)) }},
		{"answer to a schema that was never sent", wire.CloseProtocol, "schema 1", func(p peer) {
			send(p, frameOf(head(wire.FrameSchema), wire.AppendSchemaAnswer(nil, wire.SchemaAnswer{Num: 1})...))
		}},
		{"second drained", wire.CloseProtocol, "second drained", func(p peer) {
			send(p, frameOf(head(wire.FrameDrained), wire.AppendDrained(nil)...), frameOf(head(wire.FrameDrained), wire.AppendDrained(nil)...))
		}},
		{"message frame on the control stream", wire.CloseProtocol, "type 4", func(p peer) { send(p, frameOf(head(wire.FrameMessage), 0)) }},
		{"unknown frame type", wire.CloseProtocol, "unknown type", func(p peer) { lane(p, []byte{0x07, 0, 0}) }},
		{"notices on a lane", wire.CloseProtocol, "type 15 on a lane", func(p peer) { lane(p, []byte{0x0f, 0, 0}) }},
		{"notices for a side that remembers nothing", wire.CloseProtocol, "remembers nothing", func(p peer) { send(p, frameOf(head(wire.FrameNotices), 5, 0)) }},
		{"unknown flag", wire.CloseProtocol, "unknown flags", func(p peer) { lane(p, []byte{0x85, 0, 0}) }},
		{"handle without shared memory", wire.CloseProtocol, "none is shared", func(p peer) { lane(p, []byte{0x91, 0, 1, 0}) }},
		{"flags on a response", wire.CloseProtocol, "unknown flags", func(p peer) { lane(p, []byte{0x12, 0, 0}) }},
		{"control frame on a lane", wire.CloseProtocol, "type 11 on a lane", func(p peer) {
			lane(p, frameOf(head(wire.FramePing), wire.AppendPing(nil, wire.Ping{})...))
		}},
		{"streaming call on a lane", wire.CloseProtocol, "bidi", func(p peer) {
			lane(p, frameOf(wire.FrameHead{Type: wire.FrameRequest, Kind: wire.Bidi, Call: 1}, 0x83, 1, 0, 0))
		}},
		{"unary request without its end on a lane", wire.CloseProtocol, "unary", func(p peer) {
			lane(p, frameOf(wire.FrameHead{Type: wire.FrameRequest, Call: 1}, 0x83, 1, 0, 0))
		}},
		{"number of a call in progress", wire.CloseProtocol, "number 5", func(p peer) { lane(p, requestFrame(5), requestFrame(5)) }},
		{"response to a call that was never made, on a lane", wire.CloseProtocol, "call 9", func(p peer) {
			lane(p, frameOf(wire.FrameHead{Type: wire.FrameResponse, Call: 9}, 0x82, 0, 0))
		}},
		{"response to a call that was never made, on a response stream", wire.CloseProtocol, "call 9", func(p peer) {
			openRawUni(p, p, []byte{prefaceResponse}, frameOf(wire.FrameHead{Type: wire.FrameResponse, Call: 9}, 0x82, 0, 0))
		}},
		{"response stream that ends before its response", wire.CloseProtocol, "response stream", func(p peer) {
			if err := openRawUni(p, p, []byte{prefaceResponse, 2}).closeWrite(); err != nil {
				p.Error(err)
			}
		}},
		{"request on a response stream", wire.CloseProtocol, "type 1", func(p peer) {
			openRawUni(p, p, []byte{prefaceResponse}, requestFrame(1))
		}},
		{"frame above the limit of a lane", wire.CloseLimit, "exceeds", func(p peer) {
			lane(p, requestFrame(1, make([]byte, wire.MaxLaneFrameBytes)...))
		}},
		{"frame above the limit of a lane on the control stream", wire.CloseLimit, "frame on a lane", func(p peer) {
			send(p, requestFrame(1, make([]byte, wire.MaxLaneFrameBytes)...))
		}},
		{"frame above the limit of a wide lane", wire.CloseLimit, "exceeds", func(p peer) {
			openRawUni(p, p, []byte{prefaceWide}, wire.AppendFrameHead(nil, wire.FrameHead{Type: wire.FrameRequest, End: true, Len: wire.MaxWideFrameBytes + 1}))
		}},
		{"lane that is reset", wire.CloseProtocol, "lane of class rpc ended", func(p peer) {
			s := lane(p, requestFrame(1))
			for p.server.Serving() == 0 { // a reset overtakes what has not been read
				runtime.Gosched()
			}
			s.resetWrite(wire.ResetNone)
		}},
		{"lane that ends", wire.CloseProtocol, "lane of class rpc ended", func(p peer) {
			if err := lane(p, requestFrame(1)).closeWrite(); err != nil {
				p.Error(err)
			}
		}},
		{"lane that ends within a frame", wire.CloseProtocol, "lane of class rpc ended", func(p peer) {
			if err := lane(p, []byte{1, 0}).closeWrite(); err != nil {
				p.Error(err)
			}
		}},
		{"control stream that ends", wire.CloseProtocol, "ended", func(p peer) { p.control.resetWrite(wire.ResetNone) }},
		{"one lane too many", wire.CloseLimit, fmt.Sprintf("more than %d lanes", maxPeerLanes), func(p peer) {
			for range maxPeerLanes + 1 {
				lane(p)
			}
		}},
		{"unknown preface", wire.CloseProtocol, "preface 0x50", func(p peer) { openRaw(p, p, []byte{0x50}) }},
		{"unknown class", wire.CloseProtocol, "preface 0x24", func(p peer) { openRaw(p, p, []byte{prefaceCall | 4}) }},
		{"unknown preface of a unidirectional stream", wire.CloseProtocol, "preface 0x20", func(p peer) { openRawUni(p, p, []byte{prefaceCall}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, k kind) {
				s, raw := k.raw(t, Config{Serve: hold(t)})
				p := peer{t, raw, openRawControl(t, raw), s}
				if err := s.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				c.do(p)
				wantClosed(t, s, raw, c.code, c.says)
			})
		})
	}
}

// TestHelloComesFirst: nothing else may begin the control stream.
func TestHelloComesFirst(t *testing.T) {
	ping := frameOf(wire.FrameHead{Type: wire.FramePing}, wire.AppendPing(nil, wire.Ping{})...)
	for name, first := range map[string][]byte{"ping": ping, "request": requestFrame(0), "garbage": bytes.Repeat([]byte{0xff}, 20)} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, k kind) {
				s, peer := k.raw(t, Config{Serve: echo})
				openRaw(t, peer, []byte{prefaceControl}, first, helloFrame())
				wantClosed(t, s, peer, wire.CloseProtocol, "")
			})
		})
	}
}

// TestControlStreamsAtOnce: two control streams whose prefaces arrive together are read by two goroutines.
func TestControlStreamsAtOnce(t *testing.T) {
	for range 200 {
		s, peer := rawPipe(t, Config{})
		streams := [4]stream{}
		for i := range streams {
			streams[i] = openRaw(t, peer)
		}
		for _, st := range streams {
			go st.Write([]byte{prefaceControl}) // fails when the connection has been closed
		}
		wantClosed(t, s, peer, wire.CloseProtocol, "second control stream")
	}
}

// TestOneBadPeerHarmsNoOther: connections of one listener share a socket and nothing else.
func TestOneBadPeerHarmsNoOther(t *testing.T) {
	ln := listenLoopback(t, Config{Serve: echo})
	accepted := acceptOne(t, ln)
	good, err := Dial(t.Context(), ln.Addr().String(), Config{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, good, <-accepted)
	for range 5 {
		accepted := acceptOne(t, ln)
		bad := dialRaw(t, ln.Addr(), wire.ALPN)
		s := <-accepted
		closeAtEnd(t, s)
		openRaw(t, bad, []byte{0xff})
		wantClosed(t, s, bad, wire.CloseProtocol, "preface 0xff")
		if _, st, err := call(t.Context(), good, wire.ClassRPC, []byte("x")); err != nil || st.Code != wire.OK {
			t.Fatalf("a healthy connection was harmed: %v, %v", st, err)
		}
	}
}
