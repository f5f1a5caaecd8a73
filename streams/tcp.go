package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	// maxTCPHandshakes bounds the connections of a listener whose TLS handshake is not done; more wait in the kernel.
	maxTCPHandshakes = 256
	// maxTCPUnaccepted is how many connections may wait for Accept, as with quic-go.
	maxTCPUnaccepted = 32
	// acceptPause is how long a listener waits when the system lets it accept nothing, as without file descriptors.
	acceptPause = 50 * time.Millisecond
)

// errNoALPN is of a peer that speaks TLS and does not say that it speaks our protocol.
var errNoALPN = errors.New("streams: the peer does not offer the protocol " + wire.ALPN)

// DialTCP is [Dial] with TLS over TCP, for networks that block UDP.
func DialTCP(ctx context.Context, address string, cfg Config) (*Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("streams: address %q: %w", address, err)
	}
	conf, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, conf.HandshakeTimeout, handshakeTimeout(conf))
	defer cancel()
	socket, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", address) // pings keep it alive
	if err != nil {
		return nil, fmt.Errorf("streams: no connection over TCP: %w", tcpError(ctx, err))
	}
	cfg.verifyHost(host)
	return DialConn(ctx, socket, cfg)
}

// DialConn is [DialTCP] over a connection, which it takes ownership of, also when it fails. cfg.TLS names the server.
func DialConn(ctx context.Context, socket net.Conn, cfg Config) (*Conn, error) {
	conf, err := cfg.withDefaults()
	if err != nil {
		_ = socket.Close() // the error that matters is err
		return nil, err
	}
	tlsConf, err := tcpTLSConfig(cfg.TLS)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, conf.HandshakeTimeout, handshakeTimeout(conf))
	defer cancel()
	if conf.Tickets != nil && tlsConf.ClientSessionCache == nil {
		tlsConf.ClientSessionCache = sessionCache{conf.Tickets, "tcp " + socket.RemoteAddr().String()} // those of QUIC are others
	}
	sock := newTCPSocket(socket)
	secure := tls.Client(sock, tlsConf)
	if err := shakeHands(ctx, secure); err != nil {
		_ = socket.Close()
		return nil, dialError(socket.RemoteAddr(), tcpError(ctx, err))
	}
	c := newConn(newTCPTransport(secure, sock, conf, true, nil), conf, true)
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

func handshakeTimeout(c *Config) error {
	return fmt.Errorf("streams: no TLS handshake within %v (HandshakeTimeout)", c.HandshakeTimeout)
}

// tcpError prefers the cause of a context that has ended.
func tcpError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// tcpTLSConfig returns a copy of the configuration with what this protocol needs over TCP.
func tcpTLSConfig(c *tls.Config) (*tls.Config, error) {
	c, err := tlsConfig(c)
	if err != nil {
		return nil, err
	}
	// Records of the size of a packet are for pages that are shown while they arrive; our frames are small enough.
	c.DynamicRecordSizingDisabled = true
	return c, nil
}

// shakeHands completes the handshake. QUIC cannot do without ALPN (RFC 9001, section 8.1); TLS can, and we do not let it.
func shakeHands(ctx context.Context, c *tls.Conn) error {
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	if c.ConnectionState().NegotiatedProtocol != wire.ALPN {
		return errNoALPN
	}
	return nil
}

// A TCPListener accepts connections over TLS over TCP. All methods are safe for concurrent use.
type TCPListener struct {
	cfg      *Config
	tls      *tls.Config
	ln       net.Listener
	accepted chan *tcpTransport // capacity maxTCPUnaccepted
	slots    chan struct{}      // one for each handshake in progress, until somebody accepts the connection
	wg       sync.WaitGroup     // the goroutine that accepts, and handshakes

	admission *admission

	life    context.Context // ends with Close
	cancel  context.CancelFunc
	shaking context.Context // of handshakes; ends soon after life
	giveUp  context.CancelFunc
}

// ListenTCP accepts connections that arrive on ln, which it takes ownership of, also when it fails. At most 256 handshakes are
// in progress at a time, for at most cfg.HandshakeTimeout each; connections above cfg.MaxConnections are closed before it.
func ListenTCP(ln net.Listener, cfg Config) (*TCPListener, error) {
	conf, err := cfg.withDefaults()
	if err != nil {
		_ = ln.Close() // the error that matters is err
		return nil, err
	}
	tlsConf, err := tcpTLSConfig(cfg.TLS)
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	l := &TCPListener{
		cfg: conf, tls: tlsConf, ln: ln,
		accepted: make(chan *tcpTransport, maxTCPUnaccepted), slots: make(chan struct{}, maxTCPHandshakes),
		admission: &admission{max: int64(conf.MaxConnections), log: conf.Logger},
	}
	l.life, l.cancel = context.WithCancel(context.Background()) // a listener is a root: Close ends both
	l.shaking, l.giveUp = context.WithCancel(context.Background())
	l.wg.Go(l.run) // ends when ln is closed; Close waits
	return l, nil
}

// run accepts until the listener is closed.
func (l *TCPListener) run() {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.life.Done():
			return
		}
		socket, err := l.ln.Accept()
		if err == nil {
			l.wg.Go(func() { l.shake(socket) }) // bounded by the handshake timeout; Close ends it and waits
			continue
		}
		<-l.slots
		if l.life.Err() != nil {
			return
		}
		l.cfg.Logger.Warn("accepting a TCP connection", zap.Error(err))
		if errors.Is(err, net.ErrClosed) {
			l.cancel()
			return
		}
		select {
		case <-time.After(acceptPause):
		case <-l.life.Done():
			return
		}
	}
}

// shake completes the handshake of one connection and has it accepted.
func (l *TCPListener) shake(socket net.Conn) {
	defer func() { <-l.slots }()
	seat, err := l.admission.take(socket.RemoteAddr())
	if err != nil {
		_ = socket.Close()
		return
	}
	ctx, cancel := context.WithTimeoutCause(l.shaking, l.cfg.HandshakeTimeout, handshakeTimeout(l.cfg))
	defer cancel()
	if tcp, ok := socket.(*net.TCPConn); ok {
		_ = tcp.SetKeepAlive(false) // pings keep it alive
	}
	sock := newTCPSocket(socket)
	secure := tls.Server(sock, l.tls)
	if err := shakeHands(ctx, secure); err != nil {
		_ = socket.Close()
		seat.leave()
		l.cfg.Logger.Debug("no handshake over TCP", zap.Stringer("peer", socket.RemoteAddr()), zap.Error(tcpError(ctx, err)))
		return
	}
	seat.establish()
	t := newTCPTransport(secure, sock, l.cfg, false, seat.leave)
	select {
	case <-l.life.Done():
		refuse(t)
		return
	default:
	}
	select {
	case l.accepted <- t:
	case <-l.life.Done():
		refuse(t)
	}
}

// refuse ends a connection that nobody accepts any more.
func refuse(t *tcpTransport) {
	t.close(wire.CloseRefused, "the server takes no more connections")
	t.wait()
}

// Accept returns the next connection whose TLS handshake is done.
func (l *TCPListener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case t := <-l.accepted:
		c := newConn(t, l.cfg, false)
		return c, c.start(ctx)
	case <-l.life.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Addr returns the address that the listener is reached at.
func (l *TCPListener) Addr() net.Addr { return l.ln.Addr() }

// Close stops accepting, and closes the listener that it was given. Connections that were accepted stay open. Those whose
// handshake is in progress, which may be complete for the other side, are told that they are refused, for at most a second. It is
// idempotent.
func (l *TCPListener) Close() error {
	l.cancel()
	err := l.ln.Close()
	timer := time.AfterFunc(tcpLinger, l.giveUp)
	l.wg.Wait()
	timer.Stop()
	l.giveUp()
	for {
		select {
		case t := <-l.accepted:
			refuse(t)
			continue
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			err = nil
		}
		return err
	}
}

// Release does nothing: connections over TCP have sockets of their own.
func (l *TCPListener) Release() error { return nil }
