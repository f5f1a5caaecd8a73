package streams

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// FuzzPeer runs the input as the program of a peer, against a connection that serves and makes calls. Whatever the peer
// does, nothing panics, everything ends in bounded (simulated) time, and nothing is left behind.
func FuzzPeer(f *testing.F) {
	hello := []byte{opControl, opHello}
	for _, program := range [][]byte{
		hello,
		append(hello, opLane, opRequest, 0, opRequest, 1, opCancel, 1, opResponse, 0, opPause),
		append(hello, opCall, opRequest, 0x73, opMessage, 5, opFIN, opPause, opCall, opRequest, 1, opReset),
		append(hello, opWide, opRequest, 0, opResponse, 0, opUni, opResponse, 1, opFIN),
		append(hello, opPing, opCredit, 4, opGoAway, opDrained, opPause, opDrained),
		append(hello, opSchema, 1, opPause, opHello),
		{opCall, opBytes, 3, 1, 0, 0xff, opPause, opStop, opControl, opControl, opPause},
		{opLane, opBytes, 5, 1, 2, 3, 4, 5, opClose},
	} {
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 300 {
			return
		}
		buffers := wire.BuffersOut()
		synctest.Test(t, func(t *testing.T) {
			server, peer := rawPipe(t, Config{Serve: serveAnything, MaxMessageBytes: 32 << 10, MaxStreams: 8, HandshakeTimeout: time.Minute})
			for _, kind := range []wire.CallKind{wire.Unary, wire.Bidi} {
				handlers.Go(func() { useCall(server, kind) })
			}
			m := machine{peer: peer.(*pipeEnd), program: program}
			for m.step() {
			}
			synctest.Wait()
			if err := server.Err(); err != nil && !errors.As(err, new(*ConnError)) {
				t.Errorf("the connection ended with %v, which is not a ConnError", err)
			}
			server.Close()
		})
		if n := wire.BuffersOut() - buffers; n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
	})
}

// serveAnything reads what there is to read and sends some of it back.
var serveAnything = async(func(in *Incoming) {
	for {
		b, err := in.Recv()
		if err != nil {
			break
		}
		if in.Send(in.Conn().ctx, wire.FrameMessage, b.B) != nil {
			b.Release()
			break
		}
		b.Release()
	}
	echoNow(in)
})

// useCall makes one call and takes what comes.
func useCall(c *Conn, kind wire.CallKind) {
	call, err := c.Start(c.ctx, wire.ClassRPC, kind, kind == wire.Unary, request("m", nil))
	if err != nil {
		return
	}
	defer call.Close(wire.Cancel{Code: wire.Canceled})
	for {
		_, b, err := call.Recv()
		if err != nil {
			return
		}
		b.Release()
	}
}

// The instructions of a machine. Those that open a stream make it the current one.
const (
	opControl = iota
	opLane
	opCall
	opBulk
	opWide
	opUni
	opHello
	opRequest  // flags and call number
	opResponse // call number
	opMessage  // size in KiB
	opCancel   // call number
	opSchema   // number
	opCredit   // stream
	opPing
	opGoAway
	opDrained
	opBytes // length, then bytes
	opFIN
	opReset
	opStop
	opNext  // another of the open streams becomes the current one
	opPause // until everybody waits
	opClose
	opCount
)

// A machine is a peer that follows a program.
type machine struct {
	peer    *pipeEnd
	program []byte
	streams []sendStream
	current int
}

// next returns the next byte of the program, 0 at its end.
func (m *machine) next() byte {
	if len(m.program) == 0 {
		return 0
	}
	b := m.program[0]
	m.program = m.program[1:]
	return b
}

func (m *machine) step() bool {
	if len(m.program) == 0 {
		return false
	}
	head := wire.FrameHead{}
	switch op := m.next() % opCount; op {
	case opControl:
		m.open(prefaceControl, true)
	case opLane:
		m.open(prefaceLane, true)
	case opCall:
		m.open(prefaceCall, true)
	case opBulk:
		m.open(prefaceCall|byte(wire.ClassBulk), true)
	case opWide:
		m.open(prefaceWide, false)
	case opUni:
		m.open(prefaceResponse, false)
	case opHello:
		m.write(helloFrame())
	case opRequest:
		b := m.next()
		head = wire.FrameHead{Type: wire.FrameRequest, Kind: wire.CallKind(b >> 5 & 3), End: b&0x10 == 0, Call: uint64(b & 15)}
		m.frame(head, wire.AppendRequest(nil, &wire.Request{MethodNum: 1}))
	case opResponse:
		head = wire.FrameHead{Type: wire.FrameResponse, Call: uint64(m.next())}
		m.frame(head, wire.AppendResponse(nil, &wire.Response{}))
	case opMessage:
		m.frame(wire.FrameHead{Type: wire.FrameMessage}, make([]byte, int(m.next())<<10))
	case opCancel:
		head = wire.FrameHead{Type: wire.FrameCancel, Call: uint64(m.next())}
		m.frame(head, wire.AppendCancel(nil, wire.Cancel{Code: wire.Aborted}))
	case opSchema:
		m.frame(wire.FrameHead{Type: wire.FrameSchema}, wire.AppendSchemaAnswer(nil, wire.SchemaAnswer{Num: uint64(m.next())}))
	case opCredit:
		m.frame(wire.FrameHead{Type: wire.FrameCredit}, wire.AppendCredit(nil, wire.Credit{Stream: uint64(m.next()), Limit: 1 << 20}))
	case opPing:
		m.frame(wire.FrameHead{Type: wire.FramePing}, wire.AppendPing(nil, wire.Ping{Nonce: 1}))
	case opGoAway:
		m.frame(wire.FrameHead{Type: wire.FrameGoAway}, wire.AppendGoAway(nil, wire.GoAway{}))
	case opDrained:
		m.frame(wire.FrameHead{Type: wire.FrameDrained}, wire.AppendDrained(nil))
	case opBytes:
		n := min(int(m.next()), len(m.program))
		m.write(m.program[:n])
		m.program = m.program[n:]
	case opNext:
		m.current += 1 + int(m.next())
	case opPause:
		synctest.Wait()
	case opClose:
		m.peer.close(wire.CloseNone, "closed by the program")
	default:
		m.end(op)
	}
	return true
}

// end ends a direction of the current stream.
func (m *machine) end(op byte) {
	if len(m.streams) == 0 {
		return
	}
	s := m.streams[m.current%len(m.streams)]
	switch op {
	case opFIN:
		_ = s.closeWrite() // fails when the stream has been reset
	case opReset:
		s.resetWrite(uint64(m.next()))
	case opStop:
		if s, both := s.(stream); both && s.(*pipeStream).in != nil {
			s.stopRead(uint64(m.next()))
		}
	}
}

func (m *machine) open(preface byte, both bool) {
	var s sendStream
	var err error
	switch other := m.peer.peer(); {
	case both && len(other.slots) < cap(other.slots):
		s, err = m.peer.openStream(context.Background())
	case !both && len(other.uniSlots) < cap(other.uniSlots):
		s, err = m.peer.openUniStream(context.Background())
	default:
		return // it would wait
	}
	if err != nil {
		return // the connection has ended
	}
	m.streams = append(m.streams, s)
	m.current = len(m.streams) - 1
	m.write([]byte{preface})
}

func (m *machine) frame(h wire.FrameHead, payload []byte) {
	m.write(frameOf(h, payload...))
}

// write writes what fits: a peer need not wait.
func (m *machine) write(b []byte) {
	if len(m.streams) > 0 {
		_, _ = m.streams[m.current%len(m.streams)].tryWrite(b) // fails when the stream or the connection has ended
	}
}
