package framework

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// ServerConfig configures a [Server]. The zero value of every field but TLS is ready to use.
type ServerConfig struct {
	// TLS has the certificate of the server; it is required to serve a network. ALPN and TLS 1.3 are set by the
	// framework. [DevTLS] makes one for first steps.
	TLS *tls.Config

	// Logger receives events of connections and panics of handlers, never payloads. nil is silent; [SlogCore]
	// bridges to log/slog.
	Logger *zap.Logger

	// MaxMessageBytes is the largest message that is accepted. 0 means 4 MiB; at most 1 GiB.
	MaxMessageBytes int

	// Limits bound what one client can make the server hold.
	Limits ConnLimits

	// MaxConnectionAge is how long a connection lasts, give or take a tenth: then the client is asked to open another one, where its next calls go,
	// and the old one ends with the last call on it. It lets clients find new servers, and new addresses of this one. 0 means no limit; at
	// least 1 s.
	MaxConnectionAge time.Duration

	// EarlyData serves calls of methods that are declared [Idempotent] when they come in the first packets of a client that
	// was connected before, so that it has its first response after one round trip instead of two. Calls of other methods
	// wait until the handshake shows that the client is there. Off by default: who records those packets can send them again,
	// which runs the handler once more. The server takes each ticket once and only those that it gave itself (not another
	// server with the same keys, nor an earlier process), so a copy counts only if the original does not arrive before it.
	// TLS must then not set GetConfigForClient, WrapSession or UnwrapSession.
	EarlyData bool

	// Transport says what [Server.ListenAndServe] listens on. The default is QUIC, and on the same port TLS over TCP for
	// clients on networks that block UDP.
	Transport TransportPolicy

	// Gates bound how many handlers of unary methods run and wait at once, per class.
	Gates Gates

	// MaxConnections is how many connections of clients are open at once; more are refused, and their clients told so. A client has
	// 1 to 4 for calls and up to as many for bulk. 0 means 65 536; at most 1 048 576.
	MaxConnections int

	// MaxStreamingCalls bounds the streaming calls in progress, per class; more are refused. 0 means 65 536.
	MaxStreamingCalls int

	// Compression says whether messages to clients are compressed. The default is [CompressAdaptive].
	Compression Compression

	// Objects holds the large objects that are sent and received; nil means [largeobj.Default], which a process shares.
	Objects *largeobj.Store

	// Interceptors wrap every handler, the first one outermost.
	Interceptors []ServerInterceptor

	// PeerInterceptors wrap every call to a client ([PeerFrom]), the first one outermost.
	PeerInterceptors []ClientInterceptor
}

// ConnLimits bound one connection. The zero value of each field is a default that suits most.
type ConnLimits struct {
	// MaxStreams is how many streaming calls, and calls with messages above 16 KiB, the peer may have open at once on
	// a connection; more wait. 0 means 960; at most 16 384.
	MaxStreams int

	// MaxPendingBytes bounds the messages that are being received on a connection; what exceeds it is refused.
	// 0 means 64 MiB, or four times MaxMessageBytes if that is more.
	MaxPendingBytes int

	// MaxTableBytes bounds what this side remembers of the peer's messages on a connection, so that the peer can send what
	// repeats as references; twice as much while references to what was forgotten may still arrive. 0 means 4 MiB, negative
	// nothing; at most 1 GiB. All connections of the process together remember 256 MiB.
	MaxTableBytes int

	// BulkFloor is how many bytes per second of bulk calls, and of large objects, this side takes from a connection even while
	// others fill the path; above it bulk gives way to them. 0 means 256 KiB; at most 1 GiB.
	BulkFloor int

	// HandshakeTimeout bounds the time until a connection is set up. 0 means 5 s.
	HandshakeTimeout time.Duration

	// IdleTimeout ends a connection on which nothing arrives, although keep-alives are sent three times as often.
	// 0 means 30 s; at least 1 s.
	IdleTimeout time.Duration

	// SilenceTimeout ends a connection on which nothing arrives while calls wait for the peer, although it is asked to
	// answer ten times a second. 0 means 5 s; at least 1 s. A client does not wait for that: after 0.2 s, or six round trips, it gives
	// the peer no more calls as long as there are others, and makes idempotent ones elsewhere. The longer calls have done nothing
	// but wait the less often the peer is asked, down to twice in the timeout; another call has it asked at once.
	SilenceTimeout time.Duration
}

// A Server serves methods. Methods may be registered before and while it serves. All methods are safe for concurrent
// use.
//
//	new --Serve--> serving --Shutdown--> draining --done, or ctx ends--> closed
//	  \______________\__________Close_______\____________________________/
type Server struct {
	*dispatcher
	cfg      ServerConfig
	sessions sessions
	health   health

	signal struct {
		draining chan struct{} // closed when no new calls are served
		closed   chan struct{} // closed when nothing more is served
	}

	mu struct {
		sync.Mutex
		listeners map[listener]io.Closer // with what is to be closed after it
		conns     map[*streams.Conn]struct{}
		announced []func(context.Context) error // take back what was announced
		host      *largeobj.Host                // offers shared memory to clients on this host; nil until one has come
		leaving   bool                          // no new connections are taken; set before draining
		draining  bool
		closed    bool
	}
	wg        sync.WaitGroup // one for each connection
	accepting sync.WaitGroup // one for each listener, until it accepts nothing more
}

// NewServer returns a server that is not serving yet. It fails if the configuration is out of range.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.MaxConnectionAge < 0 || cfg.MaxConnectionAge > 0 && cfg.MaxConnectionAge < time.Second {
		return nil, fmt.Errorf("framework: server: MaxConnectionAge is %v, want at least 1s, or 0 for no limit", cfg.MaxConnectionAge)
	}
	s := &Server{cfg: cfg}
	s.signal.draining, s.signal.closed = make(chan struct{}), make(chan struct{})
	s.mu.listeners, s.mu.conns = map[listener]io.Closer{}, map[*streams.Conn]struct{}{}
	s.sessions.byName = map[[16]byte]*session{}
	d, err := newDispatcher(dispatcherConfig{
		interceptors: cfg.Interceptors, gates: cfg.Gates, streamingCalls: cfg.MaxStreamingCalls, maxMessage: cfg.MaxMessageBytes,
		limits: cfg.Limits, objects: cfg.Objects, compression: cfg.Compression, log: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	d.draining = s.signal.draining
	s.dispatcher = d
	if err := s.connConfig().Validate(); err != nil {
		return nil, fmt.Errorf("framework: server: %w", err)
	}
	if !cfg.Transport.Valid() {
		return nil, fmt.Errorf("framework: server: Transport is %d, must be TransportAuto, TransportQUIC or TransportTCP", cfg.Transport)
	}
	s.registerBuiltins()
	return s, nil
}

func (s *Server) connConfig() streams.Config {
	conf := s.dispatcher.connConfig(s.cfg.TLS, s.cfg.PeerInterceptors)
	conf.EarlyData, conf.MaxConnections = s.cfg.EarlyData, s.cfg.MaxConnections
	newOwner := conf.NewOwner
	conf.NewOwner = func(c *streams.Conn) any {
		peer := newOwner(c).(*Peer)
		peer.refused = s.enlist(c)
		return peer
	}
	return conf
}

// SetCompression changes at run time whether the messages that the server sends are made smaller, on all connections.
func (s *Server) SetCompression(c Compression) {
	s.uncompressed.Store(c == CompressOff)
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.mu.conns {
		peerOf(conn).SetCompression(c)
	}
}

// enlist takes note of a new connection before it carries anything, so that Shutdown knows of every connection with
// calls. It returns why one that comes too late, or is one too many, is refused: no call is served on it.
func (s *Server) enlist(conn *streams.Conn) (refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.closed || s.mu.leaving:
		return shutdownText
	case len(s.mu.conns) >= cmp.Or(s.cfg.MaxConnections, streams.DefaultMaxConnections):
		return fmt.Sprintf("the server has %d connections, its limit (ServerConfig.MaxConnections)", len(s.mu.conns))
	}
	s.mu.conns[conn] = struct{}{}
	return ""
}

// hostOffer returns what offers shared memory to clients on this host.
func (s *Server) hostOffer() *largeobj.Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.host == nil && !s.mu.closed {
		s.mu.host = s.objects.Listen()
	}
	return s.mu.host
}

// adopt takes a new connection. Close waits for its end.
func (s *Server) adopt(conn *streams.Conn) {
	if reason := conn.Owner().(*Peer).refused; reason != "" {
		conn.CloseWith(wire.CloseRefused, reason) // promises that nothing was done on it
		return
	}
	s.mu.Lock()
	_, open := s.mu.conns[conn]
	if open {
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if !open { // Close was faster
		conn.Close()
		return
	}
	stop := s.cfg.whenOld(func() {
		_ = conn.Drain(context.Background(), ageText) // ends with the connection at the latest
	})
	conn.AtEnd(func() {
		s.mu.Lock()
		delete(s.mu.conns, conn)
		s.mu.Unlock()
		go func() { // ends soon after; Close waits on wg
			conn.Close()
			stop()
			s.wg.Done()
		}()
	})
	conn.Go(func() { // ends with the connection at the latest
		// Both end with the connection, which has a handshake timeout. Early data may be a copy, which must not get calls of
		// ours.
		if conn.Ready(context.Background()) == nil && conn.Confirmed(context.Background()) == nil {
			in := s.sessions.join(conn)
			conn.Owner().(*Peer).join(in)
			conn.AtEnd(func() { s.sessions.leave(in, conn) })
		}
	})
}

// Shutdown stops serving politely: no new connections, no new calls (clients make them elsewhere), then it waits for
// the calls in progress and for their results to arrive, and closes. Handlers see it through [Draining]. When ctx
// ends first, what is left is canceled and the error says how much that was.
func (s *Server) Shutdown(ctx context.Context) error {
	s.withdraw(ctx)
	s.mu.Lock()
	s.mu.leaving = true // before clients are told, as they connect again at once
	s.mu.Unlock()
	for _, c := range s.connections() {
		c.GoAway(shutdownText) // before the first call is refused, so that it is not made here again
	}
	s.mu.Lock()
	if !s.mu.draining {
		s.mu.draining = true
		close(s.signal.draining)
	}
	s.mu.Unlock()
	conns := s.connections() // no others join them
	var wg sync.WaitGroup
	errs := make([]error, len(conns))
	for i, c := range conns {
		wg.Go(func() { errs[i] = c.Drain(ctx, shutdownText) })
	}
	wg.Wait()
	cut := 0
	for _, err := range errs {
		if err != nil {
			cut++
		}
	}
	err := s.Close()
	if cut > 0 {
		return errors.Join(fmt.Errorf("framework: shutdown: %d of %d connections still had calls in progress: %w", cut, len(conns), context.Cause(ctx)), err)
	}
	return err
}

const shutdownText = "server is shutting down"

func (s *Server) connections() []*streams.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.mu.conns))
}

// closeGrace is how long Close waits for handlers that it has canceled.
const closeGrace = 5 * time.Second

// Close stops serving at once: connections are closed and handlers canceled. It returns when they have returned, or
// with an error when some have not after five seconds. It is idempotent.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	s.closeNow()
	s.withdraw(ctx)
	<-s.signal.closed
	s.wg.Wait()
	return s.waitHandlers(closeGrace)
}

// closeNow does what Close does, without waiting.
func (s *Server) closeNow() {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return
	}
	s.mu.closed, s.mu.leaving = true, true
	if !s.mu.draining {
		s.mu.draining = true
		close(s.signal.draining)
	}
	conns, listeners, host := s.mu.conns, s.mu.listeners, s.mu.host
	s.mu.conns, s.mu.listeners = map[*streams.Conn]struct{}{}, nil // what is served is seen in wg from here on
	s.mu.Unlock()
	s.stop()
	for ln := range listeners {
		_ = ln.Close() // always nil
	}
	s.accepting.Wait() // who has come until now is told that nothing is served
	var wg sync.WaitGroup
	for c := range conns {
		wg.Go(c.Close)
	}
	wg.Wait()
	host.Close()
	for ln, socket := range listeners {
		if err := errors.Join(ln.Release(), socket.Close()); err != nil {
			s.log.Warn("closing a listener", zap.Error(err))
		}
	}
	close(s.signal.closed)
}

// Draining returns a channel that is closed when the server that runs a handler has begun to shut down: long-lived
// handlers should come to an end. It is nil, and so blocks, outside of handlers.
func Draining(ctx context.Context) <-chan struct{} {
	if c, _ := ctx.Value(serverCallKey{}).(*serverCall); c != nil {
		return c.d.draining
	}
	return nil
}
