package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lxzan/gws"
	"github.com/tinylib/msgp/msgp"
)

const readBufferBytes = 64 << 10

// wsServer is the endpoint of the WebSocket transports.
type wsServer struct {
	site      site
	mode      writeMode
	listener  net.Listener
	addr      string
	root      []byte // certificate of the server
	readBytes int    // that each end reads at most at once
	upgrader  *gws.Upgrader
	clientTLS *tls.Config            // nil without TLS
	sessions  tls.ClientSessionCache // of the clients that may resume
	wire      atomic.Uint64
	running   sync.WaitGroup // the accept loop, connections and calls
	last      atomic.Pointer[serverConn]
	// more are handlers besides those that every server has; set before clients connect.
	more map[string]func(*serverConn, frame) error
}

func startWebSocket(secure bool, mode writeMode) func() (endpoint, error) {
	return func() (endpoint, error) { return newWebSocket(loopback, secure, mode) }
}

// newWebSocket starts a server. It is adjusted as the caller wants.
func newWebSocket(at site, secure bool, mode writeMode, adjust ...func(*wsServer)) (*wsServer, error) {
	ln, err := at.listenTCP()
	if err != nil {
		return nil, fmt.Errorf("bench: listen: %w", err)
	}
	s := &wsServer{site: at, mode: mode, listener: ln, addr: ln.Addr().String(), readBytes: readBufferBytes, sessions: tls.NewLRUClientSessionCache(0)}
	if secure {
		server, client, err := newTLSConfigs(at.address)
		if err != nil {
			return nil, errors.Join(err, ln.Close())
		}
		s.root, s.clientTLS, s.listener = server.Certificates[0].Certificate[0], client, tls.NewListener(ln, server)
	}
	for _, f := range adjust {
		f(s)
	}
	s.upgrader = gws.NewUpgrader(&serverEvents{}, &gws.ServerOption{
		ReadMaxPayloadSize:  maxMessageBytes,
		WriteMaxPayloadSize: maxMessageBytes,
		NewSession:          func() gws.SessionStorage { return newServerConn(s) },
		PermessageDeflate:   deflateOptions(mode),
	})
	s.running.Go(s.accept) // ends when close closes the listener
	return s, nil
}

// deflateOptions are the best that permessage-deflate (RFC 7692) has for messages which resemble each other: both sides keep a
// window of 32 KiB of what they sent before, the largest that there is.
func deflateOptions(mode writeMode) gws.PermessageDeflate {
	return gws.PermessageDeflate{
		Enabled: mode == deflated, Level: deflateLevel, PoolSize: 1, // for the only connection
		ServerContextTakeover: true, ClientContextTakeover: true, ServerMaxWindowBits: 15, ClientMaxWindowBits: 15,
	}
}

// deflateLevel is the default of the library. Measured on the messages of the scenario "content", level 6 makes them 3 to 20 %
// shorter and takes 2 to 3 times as long: for each message the library indexes the whole window again.
const deflateLevel = 1

func (s *wsServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() { s.serve(conn) }) // ends when the client closes the connection
	}
}

func (s *wsServer) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // for the handshake; fails only on a closed connection
	br := bufio.NewReaderSize(conn, s.readBytes)
	request, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	ws, err := s.upgrader.UpgradeFromConn(conn, br, request)
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	ws.ReadLoop()
}

func (s *wsServer) wireBytes() uint64 { return s.wire.Load() }

func (s *wsServer) close() error {
	err := s.listener.Close()
	s.running.Wait()
	dropBuffers()
	return err
}

// serverConn is the server's end of a connection. It travels as the library's session storage, which is otherwise
// unused, so that finding it costs nothing per message.
type serverConn struct {
	gws.SessionStorage
	*link
	server *wsServer
}

func newServerConn(s *wsServer) *serverConn {
	c := &serverConn{server: s}
	c.link = newLink(s.mode, c.onCall)
	s.last.Store(c)
	return c
}

// serverEvents hands the library's events to the connection they are about.
type serverEvents struct{ gws.BuiltinEventHandler }

func (serverEvents) OnOpen(ws *gws.Conn) { ws.Session().(*serverConn).conn = ws }

func (serverEvents) OnMessage(ws *gws.Conn, m *gws.Message) {
	if err := ws.Session().(*serverConn).onMessage(m); err != nil {
		_ = ws.NetConn().Close() // ends the read loop
	}
}

// onCall runs a handler in a goroutine of its own. It takes ownership of a reference to in.
func (c *serverConn) onCall(f frame, in *inbound) {
	c.server.running.Go(func() { // ends when the handler has answered; close waits
		defer in.release()
		h := handlers[string(f.method)]
		if h == nil {
			h = c.server.more[string(f.method)]
		}
		if h == nil {
			c.fail(f, fmt.Errorf("unknown method %q", f.method))
			return
		}
		if err := h(c, f); err != nil {
			c.fail(f, err)
		}
	})
}

// answer sends a message to the session of the call f.
func (c *serverConn) answer(f frame, suffix string, v value) error {
	return c.send(f.session, v, func(dst []byte, v value) ([]byte, error) { return appendAnswer(dst, f.session, suffix, v) })
}

func (c *serverConn) fail(f frame, err error) {
	_ = c.answer(f, reject, failure(err.Error())) // if this fails, the caller learns it from the connection
}

// payload is a pointer to T that the generated code can encode and decode.
type payload[T any] interface {
	*T
	value
	msgp.Unmarshaler
}

var handlers = map[string]func(*serverConn, frame) error{
	servicePrefix + "small":  echo[Small],
	servicePrefix + "medium": echo[Medium],
	servicePrefix + "bytes":  echo[Bytes],
	servicePrefix + "hand": func(c *serverConn, f frame) error {
		var q borrowedBytes
		if _, err := q.UnmarshalMsg(f.arg); err != nil {
			return err
		}
		d := inspect(q.data)
		d.ID = q.id
		return c.answer(f, resolve, &d)
	},
	servicePrefix + "ticks": func(c *serverConn, f frame) error {
		return produce(c, f, sendTicks)
	},
	servicePrefix + "blobs": func(c *serverConn, f frame) error {
		return produce(c, f, sendBlobs)
	},
}

func echo[T any, P payload[T]](c *serverConn, f frame) error {
	v := P(new(T))
	if _, err := v.UnmarshalMsg(f.arg); err != nil {
		return err
	}
	return c.answer(f, resolve, v)
}

// produce answers with a stream: messages pushed to the session, then its end. The generators of hypha-rpc are slower:
// they take a call per message.
func produce[T any, P payload[T]](c *serverConn, f frame, source func(StreamRequest, func(*T) error) error) error {
	var q StreamRequest
	if _, err := q.UnmarshalMsg(f.arg); err != nil {
		return err
	}
	if err := source(q, func(v *T) error { return c.answer(f, next, P(v)) }); err != nil {
		return err
	}
	return c.answer(f, resolve, none{})
}

// countingConn adds what passes through a connection to total.
type countingConn struct {
	net.Conn
	total *atomic.Uint64
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.total.Add(uint64(n))
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.total.Add(uint64(n))
	return n, err
}

// countingDialer is what the WebSocket library dials with.
type countingDialer struct {
	ctx   context.Context // of the one dial it is made for
	site  site
	total *atomic.Uint64
}

func (d countingDialer) Dial(_, addr string) (net.Conn, error) {
	conn, err := d.site.dialTCP(d.ctx, addr)
	if err != nil {
		return nil, err
	}
	return countingConn{conn, d.total}, nil
}
