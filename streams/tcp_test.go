package streams

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/quicvarint"

	"github.com/mycel-rpc/mycel/wire"
)

// overPipe returns two ends of a connection that has everything but TLS, over one in memory, for tests in bubbles.
func overPipe(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	near, far := net.Pipe()
	c, s = startTCP(t, near, client, true), startTCP(t, far, server, false)
	closeAtEnd(t, c, s)
	return c, s
}

func startTCP(t testing.TB, socket net.Conn, cfg Config, dialer bool) *Conn {
	t.Helper()
	conf, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	sock := newTCPSocket(socket)
	c := newConn(newTCPTransport(sock, sock, conf, dialer, nil), conf, dialer)
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// A tcpPeer is a peer of which only the bytes exist. What it is sent arrives on frames, parsed, as long as it reads.
type tcpPeer struct {
	net.Conn
	t      testing.TB
	frames chan tcpFrame // closed at the end of the connection
}

// rawTCPPeer returns a server and its peer, in a bubble.
func rawTCPPeer(t testing.TB, server Config) (*Conn, *tcpPeer) {
	t.Helper()
	near, far := net.Pipe()
	s := startTCP(t, near, server, false)
	closeAtEnd(t, s)
	p := &tcpPeer{Conn: far, t: t, frames: make(chan tcpFrame, 10_000)}
	t.Cleanup(func() { _ = far.Close() })
	return s, p
}

// read parses what arrives until the connection ends.
func (p *tcpPeer) read() {
	defer close(p.frames)
	var b []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := p.Read(buf)
		b = append(b, buf[:n]...)
		for {
			f, n, short := parseTCPFrame(b)
			if short != nil || n+f.len > len(b) {
				break
			}
			f.text = bytes.Clone(f.text)
			b = b[n+f.len:]
			p.frames <- f
		}
		if err != nil {
			return
		}
	}
}

func (p *tcpPeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		p.t.Error(err)
	}
}

// wantClose waits for the reason why the connection was closed.
func (p *tcpPeer) wantClose(code uint64, says string) {
	p.t.Helper()
	for f := range p.frames {
		if f.typ == tcpClose {
			if f.value != code || !strings.Contains(string(f.text), says) {
				p.t.Errorf("closed with code %d: %s; want code %d and a text with %q", f.value, f.text, code, says)
			}
			return
		}
	}
	p.t.Error("the connection was not closed with a reason")
}

func dataFrame(stream uint64, fin bool, content ...byte) []byte {
	f := tcpFrame{typ: tcpData, stream: stream, len: len(content)}
	if fin {
		f.typ = tcpDataFIN
	}
	return append(appendTCPFrame(nil, f), content...)
}

func tcpFrameOf(typ byte, stream, value uint64) []byte {
	return appendTCPFrame(nil, tcpFrame{typ: typ, stream: stream, value: value})
}

// TestTCPViolations: each breach of the framing ends the connection with a code and a text that the peer is told.
func TestTCPViolations(t *testing.T) {
	call := append([]byte{prefaceCall}, frameOf(wire.FrameHead{Type: wire.FrameRequest, Kind: wire.ClientStream},
		wire.AppendRequest(nil, &wire.Request{Name: []byte("m")})...)...)
	flood := dataFrame(0, false, call...)
	for range streamWindow/maxTCPData + 1 {
		flood = append(flood, dataFrame(0, false, make([]byte, maxTCPData)...)...)
	}
	for _, c := range []struct {
		name string
		code uint64
		says string
		send []byte
	}{
		{"unknown type", wire.CloseProtocol, "unknown type 0xa", []byte{0x0a}},
		{"too much data in a frame", wire.CloseLimit, "the limit is", appendTCPFrame(nil, tcpFrame{typ: tcpData, len: maxTCPData + 1})},
		{"data that is none", wire.CloseProtocol, "carries nothing", dataFrame(0, false)},
		{"data on a stream that was never opened", wire.CloseProtocol, "never opened", dataFrame(1, false, 1)},
		{"window for a stream that was never opened", wire.CloseProtocol, "never opened", tcpFrameOf(tcpMaxData, 1, 1)},
		{"data on a unidirectional stream of the other side", wire.CloseProtocol, "unidirectional", dataFrame(3, false, 1)},
		{"reset of a unidirectional stream of the other side", wire.CloseProtocol, "unidirectional", tcpFrameOf(tcpReset, 3, 1)},
		{"stop of the own unidirectional stream", wire.CloseProtocol, "unidirectional", tcpFrameOf(tcpStop, 2, 1)},
		{"window for the own unidirectional stream", wire.CloseProtocol, "unidirectional", tcpFrameOf(tcpMaxData, 2, 1)},
		{"more streams than granted", wire.CloseLimit, "may open", dataFrame(4*(100+longStreams), false, prefaceCall)},
		{"more unidirectional streams than granted", wire.CloseLimit, "may open", dataFrame(4*uniStreams+2, false, prefaceWide)},
		{"more data than the window allows", wire.CloseLimit, "which may carry", flood},
		{"data after the end", wire.CloseProtocol, "after its end", append(dataFrame(0, true, call...), dataFrame(0, false, 1)...)},
		{"reset after the end", wire.CloseProtocol, "after its end", append(dataFrame(0, true, call...), tcpFrameOf(tcpReset, 0, 1)...)},
		{"answer to no ping", wire.CloseProtocol, "never sent", tcpFrameOf(tcpPong, 0, 99)},
		{"reason that is too long", wire.CloseLimit, "text", quicvarint.Append([]byte{tcpClose, 0}, maxTCPText+1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, peer := rawTCPPeer(t, Config{Serve: hold(t), MaxStreams: 100})
				go peer.read() // ends with the connection
				peer.write(c.send)
				peer.wantClose(c.code, c.says)
				<-s.Done()
				if err := (*ConnError)(nil); !errors.As(s.Err(), &err) || err.Remote || err.Code != c.code {
					t.Errorf("ended with %v", s.Err())
				}
			})
		})
	}
}

// TestTCPPeerThatOnlySends: what is no violation but asks for answers is answered in bounded memory, though nobody reads it.
func TestTCPPeerThatOnlySends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := rawTCPPeer(t, Config{Serve: echo, MaxStreams: 10})
		for n := range uint64(20_000) {
			peer.write(tcpFrameOf(tcpPing, 0, n))
			if n < tcpBaseStreams {
				peer.write(dataFrame(4*n, true, append([]byte{prefaceCall}, requestFrame(0)...)...))
			}
		}
		synctest.Wait()
		tr := s.t.(*tcpTransport)
		tr.mu.Lock()
		if n := len(tr.mu.dirty); n > 2*(10+longStreams) {
			t.Errorf("%d streams have something to say", n)
		}
		tr.mu.Unlock()
		tr.sock.mu.Lock()
		if n := len(tr.sock.mu.buf); n > batchCap {
			t.Errorf("%d bytes are encrypted and not sent", n)
		}
		tr.sock.mu.Unlock()
		go peer.read() // ends with the connection
		f := tcpFrame{}
		for f.typ != tcpPong || f.value != 19_999 {
			f = <-peer.frames
		}
		if s.Err() != nil {
			t.Error(s.Err())
		}
	})
}

// FuzzTCPFrames feeds bytes to the parser, and to a connection that serves calls: nothing panics, everything ends, nothing is left.
func FuzzTCPFrames(f *testing.F) {
	hello := dataFrame(0, false, append([]byte{prefaceControl}, helloFrame()...)...)
	lane := append(hello, dataFrame(4, false, append([]byte{prefaceLane}, requestFrame(0)...)...)...)
	for _, seed := range [][]byte{
		hello, lane,
		append(bytes.Clone(lane), tcpFrameOf(tcpReset, 4, 3)...),
		append(dataFrame(8, true, append([]byte{prefaceCall}, requestFrame(0)...)...), tcpFrameOf(tcpStop, 8, 7)...),
		append(tcpFrameOf(tcpMaxStreams, 0, 1000), tcpFrameOf(tcpMaxData, 0, 1<<20)...),
		append(tcpFrameOf(tcpPing, 0, 7), tcpFrameOf(tcpPong, 0, 1)...),
		appendTCPFrame(nil, tcpFrame{typ: tcpClose, value: 4, text: []byte("bye")}),
		dataFrame(2, false, prefaceWide),
		tcpFrameOf(tcpMaxUni, 0, 1<<61),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, n, err := parseTCPFrame(b)
		switch {
		case err == nil:
			again, m, err := parseTCPFrame(appendTCPFrame(nil, frame))
			if err != nil || n > len(b) || m > n || again.typ != frame.typ || again.stream != frame.stream || again.value != frame.value || again.len != frame.len || !bytes.Equal(again.text, frame.text) {
				t.Errorf("%+v became %+v, %v", frame, again, err)
			}
		case err != wire.ErrTruncated && !errors.As(err, new(*ConnError)):
			t.Errorf("got error %v", err)
		case err == wire.ErrTruncated && len(b) >= maxTCPHead:
			t.Errorf("%d bytes are not enough", len(b))
		}
		buffers := wire.BuffersOut()
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			s := startTCP(t, near, Config{Serve: serveAnything, MaxMessageBytes: 32 << 10, MaxStreams: 8, HandshakeTimeout: time.Minute}, false)
			handlers.Go(func() { useCall(s, wire.Unary) })
			handlers.Go(func() { _, _ = io.Copy(io.Discard, far) })
			_, _ = far.Write(b) // fails when the connection has been closed
			synctest.Wait()
			if err := s.Err(); err != nil && !errors.As(err, new(*ConnError)) {
				t.Errorf("the connection ended with %v, which is not a ConnError", err)
			}
			s.Close()
			_ = far.Close()
			handlers.Wait()
		})
		if n := wire.BuffersOut() - buffers; n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
	})
}

// TestTCPOrder: what waits is sent in order of urgency, whatever came first; streams of one urgency take turns, with frames of
// bounded size.
func TestTCPOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := rawTCPPeer(t, Config{})
		tr := s.t.(*tcpTransport)
		open := func(class wire.Class) *tcpStream {
			st, err := tr.open(t.Context(), tcpBidi)
			if err != nil {
				t.Fatal(err)
			}
			st.setClass(class.Urgency())
			return st
		}
		urgent, rpc := open(wire.ClassControl), open(wire.ClassRPC)
		bulk := []*tcpStream{open(wire.ClassBulk), open(wire.ClassBulk)}
		var writes sync.WaitGroup
		write := func(st *tcpStream, n int) {
			writes.Go(func() {
				if _, err := st.Write(make([]byte, n)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		write(bulk[0], 100) // is on its way, and blocks
		for _, st := range bulk {
			write(st, 100<<10)
		}
		write(rpc, 20<<10)
		write(urgent, 1000)
		go peer.read() // ends with the connection
		writes.Wait()
		synctest.Wait()
		var order []uint64
		for len(peer.frames) > 0 {
			if f := <-peer.frames; f.typ == tcpData {
				if f.len > maxTCPData {
					t.Errorf("a frame of %d bytes", f.len)
				}
				order = append(order, f.stream)
			}
		}
		a, b := bulk[0].num, bulk[1].num
		want := []uint64{a, urgent.num, rpc.num, rpc.num, a, b, a, b, a, b, a, b, a, b, a, b, a, b}
		if fmt.Sprint(order) != fmt.Sprint(want) {
			t.Errorf("the streams were sent in the order %v, want %v", order, want)
		}
	})
}

// TestTCPBlockedWriterReturns when its stream is given up by either side, or the connection ends.
func TestTCPBlockedWriterReturns(t *testing.T) {
	for name, unblock := range map[string]func(st *tcpStream, peer *tcpPeer){
		"reset":                  func(st *tcpStream, _ *tcpPeer) { st.resetWrite(7) },
		"stopped":                func(st *tcpStream, peer *tcpPeer) { peer.write(tcpFrameOf(tcpStop, st.num, 7)) },
		"closed":                 func(st *tcpStream, _ *tcpPeer) { st.t.close(7, "closed") },
		"closed by the peer":     func(_ *tcpStream, peer *tcpPeer) { peer.write(tcpFrameOf(tcpClose, 0, 7)[:2]); peer.write([]byte{0}) },
		"ended without a reason": func(_ *tcpStream, peer *tcpPeer) { _ = peer.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, peer := rawTCPPeer(t, Config{})
				st, err := s.t.(*tcpTransport).open(t.Context(), tcpBidi)
				if err != nil {
					t.Fatal(err)
				}
				failed, done := make(chan error, 1), make(chan error, 1)
				st.onSendDone(func(err error) { done <- err })
				go func() {
					_, err := st.Write(make([]byte, 1<<20))
					failed <- err
				}()
				synctest.Wait()
				unblock(st, peer)
				for _, ch := range []chan error{failed, done} {
					if err := <-ch; !errors.As(err, new(*ResetError)) && !errors.As(err, new(*ConnError)) {
						t.Errorf("got error %v", err)
					}
				}
				go peer.read() // ends with the connection
			})
		})
	}
}

// TestTCPSilence: a connection stays as long as pings are answered, and ends after the idle timeout when they are not.
func TestTCPSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := overPipe(t, Config{IdleTimeout: 9 * time.Second}, Config{Serve: echo, IdleTimeout: time.Minute})
		time.Sleep(time.Hour)
		if c.Err() != nil || s.Err() != nil {
			t.Fatalf("an idle connection ended: %v, %v", c.Err(), s.Err())
		}
		if rtt := c.Stats().MinRTT; rtt == 0 {
			t.Error("the round trip was not measured")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s, peer := rawTCPPeer(t, Config{IdleTimeout: 9 * time.Second})
		peer.write(dataFrame(0, false, append([]byte{prefaceControl}, helloFrame()...)...))
		begun := time.Now()
		<-s.Done()
		if took := time.Since(begun); took != 9*time.Second || !errors.Is(s.Err(), errIdle) {
			t.Errorf("ended after %v with %v", took, s.Err())
		}
	})
}

// TestTCPCloseIsBounded: a peer that takes nothing is not waited for for long, by calls not at all.
func TestTCPCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := rawTCPPeer(t, Config{Serve: echo})
		peer.write(dataFrame(0, false, append([]byte{prefaceControl}, helloFrame()...)...))
		call, err := s.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		failed := make(chan time.Duration, 1)
		go func() {
			if _, _, err := call.Recv(); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
			call.Close(wire.Cancel{})
			failed <- time.Since(begun)
		}()
		s.Close()
		if took := time.Since(begun); took > tcpLinger {
			t.Errorf("closing took %v, want at most %v", took, tcpLinger)
		}
		if took := <-failed; took != 0 {
			t.Errorf("the call failed after %v", took)
		}
	})
}

// TestTCPHalfOpenIsNoticed: a peer that is gone without a word is noticed within the silence timeout while a call waits.
func TestTCPHalfOpenIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := rawTCPPeer(t, Config{IdleTimeout: time.Hour})
		peer.write(dataFrame(0, false, append([]byte{prefaceControl}, helloFrame()...)...))
		call, err := s.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, _, err = call.Recv()
		call.Close(wire.Cancel{})
		if lost := (*ConnError)(nil); !errors.As(err, &lost) || lost.Code != wire.CloseTimeout {
			t.Errorf("got %v, want a timeout", err)
		}
		if took := time.Since(begun); took > DefaultSilenceTimeout+2*tick {
			t.Errorf("noticed after %v", took)
		}
	})
}

// TestTCPWindowGrows where the reader keeps up with a long path, and no further than the connection allows.
func TestTCPWindowGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := rawTCPPeer(t, Config{})
		tr := s.t.(*tcpTransport)
		tr.smoothedRTT.Store(int64(100 * time.Millisecond))
		total := uint64(0)
		for id := range uint64(4) {
			st := newTCPStream(tr, id<<2)
			st.in.Lock()
			for range 20 {
				st.widen()
				time.Sleep(time.Millisecond)
			}
			total += st.in.window - streamWindow
			st.in.Unlock()
		}
		if total > tcpSpareWindow || total < tcpSpareWindow/2 {
			t.Errorf("windows grew by %d bytes, of %d", total, tcpSpareWindow)
		}
	})
}

// TestTCPStrangersAreRefused in the handshake, or right after it; the listener goes on.
func TestTCPStrangersAreRefused(t *testing.T) {
	ln := listenTCP(t, Config{Serve: echo})
	address := ln.Addr().String()
	_, otherCA := testTLS()
	for name, conf := range map[string]*tls.Config{
		"a server that nobody vouches for": {RootCAs: otherCA.RootCAs, ServerName: "localhost"},
		"a server of another name":         {RootCAs: clientTLS.RootCAs, ServerName: "example.org"},
		"no name and no authority":         {},
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := DialTCP(t.Context(), address, Config{TLS: conf}); err == nil {
				c.Close()
				t.Error("connected")
			}
		})
	}
	for name, protocols := range map[string][]string{"another protocol": {"h2"}, "no protocol": nil} {
		t.Run(name, func(t *testing.T) {
			conf := clientTLS.Clone()
			conf.NextProtos = protocols
			c, err := tls.Dial("tcp", address, conf)
			if err == nil {
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if err == nil {
				t.Error("the server has something to say to it")
			}
		})
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		conf := clientTLS.Clone()
		conf.MaxVersion, conf.NextProtos = tls.VersionTLS12, []string{wire.ALPN}
		if c, err := tls.Dial("tcp", address, conf); err == nil {
			_ = c.Close()
			t.Error("connected")
		}
	})
	accepted := acceptOne(t, ln)
	c, err := DialTCP(t.Context(), address, Config{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c, <-accepted)
	if _, st, err := call(t.Context(), c, wire.ClassRPC, nil); err != nil || st.Code != wire.OK {
		t.Errorf("a friend after the strangers: %v, %v", st, err)
	}
}

// TestTCPHandshakeTimeout: who connects and says nothing is sent away.
func TestTCPHandshakeTimeout(t *testing.T) {
	ln := listenTCP(t, Config{HandshakeTimeout: 50 * time.Millisecond})
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the server has something to say")
	}
}

// TestTCPDialEndsWithItsContext while nobody answers.
func TestTCPDialEndsWithItsContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // connects, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, enough)
	defer cancel()
	if _, err := DialTCP(ctx, ln.Addr().String(), Config{TLS: clientTLS}); !errors.Is(err, enough) {
		t.Errorf("got %v, want the cause of the context", err)
	}
	if _, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS, HandshakeTimeout: 20 * time.Millisecond}); err == nil || !strings.Contains(err.Error(), "HandshakeTimeout") {
		t.Errorf("got %v, want it to name HandshakeTimeout", err)
	}
}

// TestTCPListenerClosed: who is connected stays so, and others are refused.
func TestTCPListenerClosed(t *testing.T) {
	ln := listenTCP(t, Config{Serve: echo})
	accepted := acceptOne(t, ln)
	c, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, c, <-accepted)
	waiting, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, waiting)
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ln.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept returned %v", err)
	}
	waitFor(t, waiting.Done(), "the connection that nobody accepts")
	if err := (*ConnError)(nil); !errors.As(waiting.Err(), &err) || err.Code != wire.CloseRefused {
		t.Errorf("it ended with %v, want code %d", waiting.Err(), wire.CloseRefused)
	}
	if _, st, err := call(t.Context(), c, wire.ClassRPC, nil); err != nil || st.Code != wire.OK {
		t.Errorf("a call on a connection that was accepted: %v, %v", st, err)
	}
	if _, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS}); err == nil {
		t.Error("connected to a listener that is closed")
	}
}

// TestTCPConnectionsAreCounted: those above the limit are closed, and the count comes back.
func TestTCPConnectionsAreCounted(t *testing.T) {
	ln := listenTCP(t, Config{Serve: echo, MaxConnections: 1})
	accepted := acceptOne(t, ln)
	c, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	s := <-accepted
	closeAtEnd(t, c, s)
	if second, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS}); err == nil {
		second.Close()
		t.Error("a second connection was accepted")
	}
	s.Close()
	accepted = acceptOne(t, ln)
	third, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, third, <-accepted)
}

// TestTCPKeepsNoMemory: an idle connection gives back what batches have taken.
func TestTCPKeepsNoMemory(t *testing.T) {
	c, s := tcpPair(t, Config{}, Config{Serve: echo})
	if _, _, err := call(t.Context(), c, wire.ClassRPC, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []*Conn{c, s} {
		tr := conn.t.(*tcpTransport)
		until(t, conn, func() bool {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			return !tr.mu.busy
		})
		tr.mu.Lock()
		tr.sock.mu.Lock()
		if n := cap(tr.batch) + cap(tr.sock.sending) + cap(tr.sock.mu.buf); n > 4*keptBytes {
			t.Errorf("it keeps %d bytes", n)
		}
		tr.sock.mu.Unlock()
		tr.mu.Unlock()
	}
}

// TestTCPSessionsAreResumed with the tickets of an earlier connection.
func TestTCPSessionsAreResumed(t *testing.T) {
	ln := listenTCP(t, Config{Serve: echo})
	tickets := NewTickets()
	for i := range 2 {
		accepted := acceptOne(t, ln)
		c, err := DialTCP(t.Context(), ln.Addr().String(), Config{TLS: clientTLS, Tickets: tickets})
		if err != nil {
			t.Fatal(err)
		}
		closeAtEnd(t, c, <-accepted)
		if _, _, err := call(t.Context(), c, wire.ClassRPC, nil); err != nil { // the ticket has arrived then
			t.Fatal(err)
		}
		if s := c.Stats(); s.Resumed != (i == 1) || s.Transport != "tcp" || (s.CongestionWindow > 0) != (runtime.GOOS == "linux") {
			t.Errorf("connection %d: %+v", i, s)
		}
	}
}

// TestTCPKeysAreExported: both ends derive the same ones.
func TestTCPKeysAreExported(t *testing.T) {
	c, s := tcpPair(t, Config{}, Config{})
	a, err := c.ExportKeyingMaterial("label", []byte("context"), 32)
	b, err2 := s.ExportKeyingMaterial("label", []byte("context"), 32)
	if err != nil || err2 != nil || len(a) != 32 || !bytes.Equal(a, b) {
		t.Errorf("got %x, %v and %x, %v", a, err, b, err2)
	}
}
