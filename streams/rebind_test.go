package streams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// connectMovable is connect for a client that has other sockets to move to. It returns how many there are left.
func (p *path) connectMovable(t testing.TB, client, server Config) (c, s *Conn, others chan net.PacketConn) {
	t.Helper()
	others = make(chan net.PacketConn, 30)
	for i := range cap(others) {
		others <- p.socket(simAddr(clientAddr.Port + 100 + i))
	}
	c, s = p.connect(t, client, server)
	c.t.(*quicTransport).socket.open = func(context.Context) (net.PacketConn, error) {
		select {
		case socket := <-others:
			return socket, nil
		default:
			return nil, errors.New("no more sockets")
		}
	}
	return c, s, others
}

// TestCallsSurviveAChangeOfAddress: unary calls, a stream in both directions and bulk each lose nothing when the client's address
// changes in the middle of them, because it is translated anew, because the client moves to another socket, or because nothing
// gets through from the old one any more.
func TestCallsSurviveAChangeOfAddress(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, p *path, c *Conn){
		"translated anew": func(_ *testing.T, p *path, _ *Conn) {
			p.set(func() { p.external = max(p.external, firstExternal) + 1 })
		},
		"moved": func(t *testing.T, _ *path, c *Conn) {
			if err := c.Rebind(t.Context()); err != nil {
				t.Error(err)
			}
		},
		"blocked": func(_ *testing.T, p *path, c *Conn) {
			port := c.LocalAddr().(*net.UDPAddr).Port
			p.set(func() { p.blocked = map[int]bool{port: true} })
		},
	} {
		for _, class := range []wire.Class{wire.ClassRPC, wire.ClassStream, wire.ClassBulk} {
			t.Run(fmt.Sprintf("%s/%v", name, class), func(t *testing.T) {
				survive(t, class, name != "translated anew", change)
			})
		}
	}
}

// survive runs an exchange and calls beside it in a bubble, and the change twice.
func survive(t *testing.T, class wire.Class, moves bool, change func(t *testing.T, p *path, c *Conn)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		p.set(func() { p.rate, p.queue, p.external = 1e6, 50*time.Millisecond, firstExternal })
		c, s, _ := p.connectMovable(t, Config{}, Config{Serve: async(echoStream)})
		done := make(chan error, 2)
		go func() { done <- exchange(t.Context(), c, class, 2<<20) }()
		go func() { done <- smallCalls(t.Context(), c, 20) }()
		for range 2 {
			time.Sleep(400 * time.Millisecond)
			change(t, p, c)
		}
		if len(done) != 0 {
			t.Error("the exchange was over before the change")
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := c.Stats().Rebinds; moves == (n == 0) {
			t.Errorf("the client has moved %d times", n)
		}
		if s.Stats().Rebinds != 0 || s.RemoteAddr().String() == simAddr(firstExternal).String() {
			t.Errorf("the server sees %v", s.RemoteAddr())
		}
	})
}

// smallCalls makes n calls, with pauses. It runs in a bubble.
func smallCalls(ctx context.Context, c *Conn, n int) error {
	for range n {
		if _, st, err := call(ctx, c, wire.ClassRPC, []byte("small")); err != nil || st.Code != wire.OK {
			return fmt.Errorf("a small call: %v, %w", st, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// echoStream returns every message of a stream as it comes.
func echoStream(in *Incoming) {
	if in.Kind == wire.Unary {
		echoNow(in)
		return
	}
	in.Payload.Release()
	for {
		b, err := in.Recv()
		if err != nil {
			break
		}
		err = in.Send(context.Background(), wire.FrameMessage, b.B)
		b.Release()
		if err != nil {
			break
		}
	}
	out := wire.NewBuffer(16)
	out.B = wire.AppendResponse(out.B, &wire.Response{})
	in.Respond(out)
}

// exchange sends size bytes through echoStream and compares what comes back.
func exchange(ctx context.Context, c *Conn, class wire.Class, size int) error {
	call, err := c.Start(ctx, class, wire.Bidi, false, request("echo", nil))
	if err != nil {
		return err
	}
	defer call.Close(wire.Cancel{})
	const piece = 16 << 10
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < size/piece && err == nil; i++ {
			err = call.Send(bytes.Repeat([]byte{byte(i)}, piece))
		}
		call.CloseSend()
		sent <- err
	}()
	for i := 0; ; i++ {
		kind, b, err := call.Recv()
		if err != nil {
			return errors.Join(err, <-sent)
		}
		if kind == wire.FrameResponse {
			b.Release()
			if i != size/piece {
				err = io.ErrUnexpectedEOF
			}
			return errors.Join(err, <-sent)
		}
		if !bytes.Equal(b.B, bytes.Repeat([]byte{byte(i)}, piece)) {
			err = fmt.Errorf("message %d is not what was sent", i)
		}
		b.Release()
		if err != nil {
			return err
		}
	}
}

// TestManyRebinds: one socket is left of any number of them.
func TestManyRebinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		c, _, others := p.connectMovable(t, Config{}, Config{Serve: echo})
		for i := range cap(others) {
			before := c.LocalAddr().String()
			begun := time.Now()
			if err := c.Rebind(t.Context()); err != nil {
				t.Fatalf("the %d. time: %v", i, err)
			}
			if took, want := time.Since(begun), 2*p.rtt; took != want { // one for the question of the server, one for the answer to ours
				t.Errorf("the %d. time took %v, want %v", i, took, want)
			}
			if _, st, err := call(t.Context(), c, wire.ClassRPC, nil); err != nil || st.Code != wire.OK {
				t.Fatalf("after the %d. time: %v, %v", i, st, err)
			}
			if now := c.LocalAddr().String(); now == before {
				t.Errorf("the %d. time it stays at %s", i, now)
			}
		}
		if n := c.Stats().Rebinds; int(n) != cap(others) {
			t.Errorf("counted %d, want %d", n, cap(others))
		}
		if err := c.Rebind(t.Context()); err == nil || c.Err() != nil {
			t.Errorf("without another socket: %v, and the connection %v", err, c.Err())
		}
	})
}

// TestRebindThatIsNotAnswered ends with its context, and the connection when nothing else comes either.
func TestRebindThatIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		c, s, _ := p.connectMovable(t, Config{}, Config{Serve: echo})
		p.set(func() { p.loss = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Rebind(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("heard on a socket that nothing gets through: %v", err)
		}
		p.set(func() { p.loss = 0 })
		if _, st, err := call(t.Context(), c, wire.ClassRPC, nil); err != nil || st.Code != wire.OK {
			t.Errorf("a call afterwards: %v, %v", st, err)
		}
		if err := s.Rebind(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a server moves: %v", err)
		}
		c.Close()
		if err := c.Rebind(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed connection moves: %v", err)
		}
	})
	c, _ := pipePair(t, Config{}, Config{})
	if err := c.Rebind(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a connection in memory moves: %v", err)
	}
}

// TestRebindOverSockets: the real thing, which keeps what quic-go has set on the socket.
func TestRebindOverSockets(t *testing.T) {
	c, _ := quicPair(t, Config{}, Config{Serve: echo})
	before := c.LocalAddr().String()
	if err := c.Rebind(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, st, err := call(t.Context(), c, wire.ClassRPC, []byte("hello")); err != nil || st.Code != wire.OK || string(got) != "hello" {
		t.Errorf("a call afterwards: %q, %v, %v", got, st, err)
	}
	if c.LocalAddr().String() == before {
		t.Errorf("still at %s", before)
	}
}

// TestSendErrorsAreLostPackets: a network that is gone for a while does not end an established connection; who connects is told.
func TestSendErrorsAreLostPackets(t *testing.T) {
	s := new(socket)
	gone := &net.OpError{Op: "write", Err: syscall.ENETUNREACH}
	if s.lost(gone) {
		t.Error("the error is kept from who connects")
	}
	s.established.Store(true)
	if !s.lost(gone) || s.lost(net.ErrClosed) || s.lost(syscall.EMSGSIZE) || s.lost(syscall.EIO) {
		t.Error("the wrong errors are taken for lost packets")
	}
}
