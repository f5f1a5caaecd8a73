package streams

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/mycel-rpc/mycel/wire"
)

// packetSize is what the packets of a connection have at first, and what every path has to carry (RFC 9000, section 14). The
// 1280 bytes that quic-go begins with do not pass one whose MTU is 1280 with the headers of IP and UDP.
const packetSize = 1200

// keepAlives is how many keep-alives go out in one idle timeout.
const keepAlives = 3

func quicConfig(cfg *Config) *quic.Config {
	window := uint64(cfg.MaxStreams+longStreams+uniStreams) * streamWindow
	conf := &quic.Config{
		HandshakeIdleTimeout:           cfg.HandshakeTimeout,
		MaxIdleTimeout:                 cfg.IdleTimeout,
		KeepAlivePeriod:                cfg.IdleTimeout / keepAlives,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: window,
		MaxConnectionReceiveWindow:     window,
		MaxIncomingStreams:             int64(cfg.MaxStreams + longStreams),
		MaxIncomingUniStreams:          uniStreams,
		RequireStreamCreditRelease:     true,
		Allow0RTT:                      cfg.EarlyData,
		InitialPacketSize:              packetSize,
	}
	if cfg.Role == wire.RoleBulk {
		// Credit bounds what is in flight, so a single stream may have all of it.
		conf.InitialStreamReceiveWindow = bulkStreamWindow
		conf.MaxStreamReceiveWindow = maxBulkWindow
	}
	return conf
}

// acceptedStreamWindow is what the window of a stream towards an acceptor may grow to. It does not know the role of a connection
// when it sets its windows, and one bulk stream needs more than streamWindow. A window grows only while the stream is read as fast as
// it fills, and those of a connection together stay what they are.
const acceptedStreamWindow = 4 * streamWindow

// bulkStreamWindow is the first window of a stream on a bulk connection, towards its dialer. It must not be what bounds a
// stream that has just begun.
const bulkStreamWindow = 2 << 20

// tlsConfig returns a copy of the configuration with what this protocol needs.
func tlsConfig(c *tls.Config) (*tls.Config, error) {
	if c == nil {
		return nil, errors.New("streams: TLS is required (framework.DevTLS makes a pair for first steps)")
	}
	c = c.Clone()
	c.NextProtos = []string{wire.ALPN}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS13)
	return c, nil
}

// Dial connects to the UDP address, on a socket of its own, and returns when the TLS handshake is done, or with
// [Config.EarlyData] and a ticket at once; use [Conn.Ready] to wait for the peer's hello as well. The server name is taken
// from cfg.TLS, or else from address.
func Dial(ctx context.Context, address string, cfg Config) (*Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("streams: address %q: %w", address, err)
	}
	addr, err := resolveUDP(ctx, address)
	if err != nil {
		return nil, err
	}
	conf, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	socket, err := conf.ListenPacket(ctx)
	if err != nil {
		return nil, fmt.Errorf("streams: opening a UDP socket: %w", err)
	}
	cfg.verifyHost(host)
	return dialPacket(ctx, socket, addr, cfg, conf.ListenPacket)
}

// resolveUDP is [net.ResolveUDPAddr] with a context: of several addresses of a host it takes the first one of IPv4 if there is
// one.
func resolveUDP(ctx context.Context, address string) (*net.UDPAddr, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("streams: address %q: %w", address, err)
	}
	if _, notLiteral := netip.ParseAddr(host); host != "" && notLiteral != nil {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("streams: address %q: %w", address, err)
		}
		ip := found[0] // a lookup without a result has failed
		if i := slices.IndexFunc(found, func(a netip.Addr) bool { return a.Unmap().Is4() }); i >= 0 {
			ip = found[i].Unmap()
		}
		address = net.JoinHostPort(ip.String(), port)
	}
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, fmt.Errorf("streams: address %q: %w", address, err)
	}
	return addr, nil
}

// DialPacket is [Dial] over a packet connection, which it takes ownership of, also when it fails. cfg.TLS names the
// server. The connection cannot [Conn.Rebind].
func DialPacket(ctx context.Context, socket net.PacketConn, addr net.Addr, cfg Config) (*Conn, error) {
	return dialPacket(ctx, socket, addr, cfg, nil)
}

// dialPacket is DialPacket for a connection that can use other sockets, which listen opens.
func dialPacket(ctx context.Context, packets net.PacketConn, addr net.Addr, cfg Config, listen func(context.Context) (net.PacketConn, error)) (*Conn, error) {
	quietBuffers()
	socket, conn := newSocket(packets, listen)
	tr := &quic.Transport{Conn: conn}
	release := func() {
		_ = tr.Close() // a transport without connections has nothing to fail
		_ = socket.Close()
	}
	conf, err := cfg.withDefaults()
	if err != nil {
		release()
		return nil, err
	}
	tlsConf, err := tlsConfig(cfg.TLS)
	if err != nil {
		release()
		return nil, err
	}
	quicConf := quicConfig(conf)
	if conf.Tickets != nil {
		quicConf.TokenStore = tokenStore{conf.Tickets, addr.String()}
		if tlsConf.ClientSessionCache == nil {
			tlsConf.ClientSessionCache = sessionCache{conf.Tickets, addr.String()}
		}
	}
	dial := tr.Dial
	if conf.EarlyData {
		dial = tr.DialEarly
	}
	qc, err := dial(ctx, addr, tlsConf, quicConf)
	if err != nil {
		release()
		return nil, dialError(addr, ctxError(ctx, err))
	}
	warnOfBuffers(conf.Logger, packets)
	t := &quicTransport{conn: qc, release: release, socket: socket}
	if conf.EarlyData {
		t.early = newEarly(qc)
	}
	c := newConn(t, conf, true)
	if t.early != nil {
		c.wg.Go(func() { // ends with the handshake, or with the connection
			t.early.settle()
			socket.established.Store(true)
		})
	} else {
		socket.established.Store(true)
	}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// dialError says why a handshake failed. A connection that never was cannot be lost.
func dialError(addr net.Addr, err error) error {
	if lost, ok := errors.AsType[*ConnError](err); ok && lost.Err != nil {
		err = lost.Err
	}
	switch err.(type) {
	case *quic.HandshakeTimeoutError, *quic.IdleTimeoutError:
		return fmt.Errorf("streams: no handshake with %v: HandshakeTimeout has passed: %w", addr, err)
	}
	return fmt.Errorf("streams: no handshake with %v: %w", addr, err)
}

// A Listener accepts connections on one packet connection.
type Listener struct {
	cfg       *Config
	tr        *quic.Transport
	admission *admission
	ln        interface {
		Accept(context.Context) (*quic.Conn, error)
		Addr() net.Addr
		Close() error
	}
}

// Listen accepts connections that arrive on socket, which stays the caller's: close it after the listener.
func Listen(socket net.PacketConn, cfg Config) (*Listener, error) {
	conf, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	tlsConf, err := tlsConfig(cfg.TLS)
	if err != nil {
		return nil, err
	}
	// Both keys are derived from the server's private key. So a restarted server tells the clients of its predecessor at
	// once that their connections are gone (RFC 9000, section 10.3), and takes the tokens that it gave (section 8.1.3).
	resets, tokens := quic.StatelessResetKey(deriveKey(tlsConf, "mycel stateless reset")), quic.TokenGeneratorKey(deriveKey(tlsConf, "mycel tokens"))
	l := &Listener{cfg: conf, tr: &quic.Transport{Conn: socket, StatelessResetKey: &resets, TokenGeneratorKey: &tokens}}
	quietBuffers()
	quicConf := quicConfig(conf)
	quicConf.MaxStreamReceiveWindow = acceptedStreamWindow
	l.admission = &admission{max: int64(conf.MaxConnections), log: conf.Logger}
	l.admission.install(l.tr)
	if conf.EarlyData {
		if err := newStrikes().guard(tlsConf); err != nil {
			return nil, err
		}
		l.ln, err = l.tr.ListenEarly(tlsConf, quicConf)
	} else {
		l.ln, err = l.tr.Listen(tlsConf, quicConf)
	}
	if err != nil {
		return nil, fmt.Errorf("streams: listening on %v: %w", socket.LocalAddr(), err)
	}
	warnOfBuffers(conf.Logger, socket)
	return l, nil
}

// deriveKey returns a key for the purpose that is the same after a restart, or a random one when the private key is held
// elsewhere.
func deriveKey(c *tls.Config, purpose string) (key [32]byte) {
	if len(c.Certificates) > 0 {
		if der, err := x509.MarshalPKCS8PrivateKey(c.Certificates[0].PrivateKey); err == nil {
			mac := hmac.New(sha256.New, der)
			mac.Write([]byte(purpose))
			mac.Sum(key[:0])
			return key
		}
	}
	rand.Read(key[:])
	return key
}

// Accept returns the next connection whose TLS handshake is done, or which came with early data.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	qc, err := l.ln.Accept(ctx)
	if err != nil {
		return nil, quicError(err)
	}
	c := newConn(&quicTransport{conn: qc, release: func() {}}, l.cfg, false)
	if s, _ := qc.Context().Value(seatKey{}).(*seat); c.confirmed == nil {
		s.establish()
	} else {
		c.wg.Go(func() { // ends with the handshake, or with the connection
			if c.Confirmed(c.ctx) == nil {
				s.establish()
			}
		})
	}
	return c, c.start(ctx)
}

// Addr returns the address that the listener is reached at.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Close stops accepting. Connections that were accepted stay open; close them before [Listener.Release].
func (l *Listener) Close() error { return l.ln.Close() }

// Release frees the transport under the connections that were accepted. Whatever is still open ends without telling
// the peer.
func (l *Listener) Release() error { return l.tr.Close() }

// quicTransport is a transport over one QUIC connection.
type quicTransport struct {
	conn    *quic.Conn
	release func()  // frees the socket of a dialed connection
	socket  *socket // of a dialed connection; nil otherwise
	early   *early  // of a dialed connection that began before its handshake was complete; nil otherwise
}

// confirmed is closed when the peer is known to be alive, and a dialed connection's first flight has arrived.
func (t *quicTransport) confirmed() <-chan struct{} {
	if t.early != nil {
		return t.early.settled
	}
	return t.conn.HandshakeComplete()
}

// ready waits until streams that are not part of the first flight can be used.
func (t *quicTransport) ready(ctx context.Context) error {
	if t.early == nil {
		return nil
	}
	return t.early.wait(ctx)
}

func (t *quicTransport) openStream(ctx context.Context) (stream, error) {
	if s, err := t.openEarly(ctx); s != nil || err != nil {
		return s, err
	}
	s, err := t.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, ctxError(ctx, err)
	}
	return (*quicStream)(s), nil
}

// openEarly opens a stream in the first flight. It returns nil when there is none, or it is over.
func (t *quicTransport) openEarly(ctx context.Context) (stream, error) {
	if t.early == nil {
		return nil, nil
	}
	return t.early.open(ctx)
}

func (t *quicTransport) tryOpenStream(ctx context.Context) (stream, error) {
	if s, err := t.openEarly(ctx); s != nil || err != nil {
		return s, err
	}
	s, err := t.conn.OpenStream()
	if errors.As(err, new(*quic.StreamLimitReachedError)) {
		return nil, nil
	}
	if err != nil {
		return nil, ctxError(ctx, err)
	}
	return (*quicStream)(s), nil
}

func (t *quicTransport) openUniStream(ctx context.Context) (sendStream, error) {
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	s, err := t.conn.OpenUniStreamSync(ctx)
	if err != nil {
		return nil, ctxError(ctx, err)
	}
	return (*quicSendStream)(s), nil
}

func (t *quicTransport) acceptStream(ctx context.Context) (stream, error) {
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	s, err := t.conn.AcceptStream(ctx)
	if err != nil {
		return nil, ctxError(ctx, err)
	}
	return (*quicStream)(s), nil
}

func (t *quicTransport) acceptUniStream(ctx context.Context) (recvStream, error) {
	if err := t.ready(ctx); err != nil {
		return nil, err
	}
	s, err := t.conn.AcceptUniStream(ctx)
	if err != nil {
		return nil, ctxError(ctx, err)
	}
	return (*quicRecvStream)(s), nil
}

func (t *quicTransport) close(code uint64, text string) {
	_ = t.conn.CloseWithError(quic.ApplicationErrorCode(code), wire.CutText(text, 512)) // always nil
	t.release()
}

func (t *quicTransport) rebind(ctx context.Context) error {
	if t.socket == nil {
		return errors.ErrUnsupported
	}
	return t.socket.rebind(ctx)
}

func (t *quicTransport) done() <-chan struct{} { return t.conn.Context().Done() }
func (t *quicTransport) wait()                 {} // its goroutines are those of the socket
func (t *quicTransport) cause() error          { return quicError(context.Cause(t.conn.Context())) }
func (t *quicTransport) remoteAddr() net.Addr  { return t.conn.RemoteAddr() }

func (t *quicTransport) localAddr() net.Addr {
	if t.socket != nil {
		return t.socket.LocalAddr()
	}
	return t.conn.LocalAddr()
}

func (t *quicTransport) exportKey(label string, context []byte, length int) ([]byte, error) {
	state := t.conn.ConnectionState().TLS
	if t.early != nil && !state.HandshakeComplete {
		return nil, errors.New("streams: no key material before the handshake is complete")
	}
	return state.ExportKeyingMaterial(label, context, length)
}

// lastRTT is what stats has, for those who want it often.
func (t *quicTransport) lastRTT() time.Duration { return t.conn.ConnectionStats().LatestRTT }

func (t *quicTransport) stats() Stats {
	s := t.conn.ConnectionStats()
	return Stats{
		Transport: "quic",
		MinRTT:    s.MinRTT, LatestRTT: s.LatestRTT, SmoothedRTT: s.SmoothedRTT, RTTDeviation: s.MeanDeviation,
		BytesSent: s.BytesSent, BytesReceived: s.BytesReceived,
		PacketsSent: s.PacketsSent, PacketsReceived: s.PacketsReceived,
		BytesLost: s.BytesLost, PacketsLost: s.PacketsLost,
		CongestionWindow: s.CongestionWindow,
	}
}

func (t *quicTransport) describe(s *Stats) {
	state := t.conn.ConnectionState()
	s.GSO, s.Resumed, s.EarlyData = state.GSO, state.TLS.DidResume, state.Used0RTT
	if t.socket != nil {
		s.Rebinds = t.socket.rebinds.Load()
	}
}

// ctxError prefers the cause of a context that has ended.
func ctxError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return quicError(err)
}

// quicError is the one place where errors of quic-go become ours.
func quicError(err error) error {
	if err == nil || err == io.EOF || err == ErrStalled {
		return err
	}
	if s := (*quic.StreamError)(nil); errors.As(err, &s) {
		return &ResetError{Code: uint64(s.ErrorCode), Remote: s.Remote}
	}
	if a := (*quic.ApplicationError)(nil); errors.As(err, &a) {
		return &ConnError{Code: uint64(a.ErrorCode), Text: a.ErrorMessage, Remote: a.Remote}
	}
	if t := (*quic.TransportError)(nil); errors.As(err, &t) && t.Remote && t.ErrorCode == quic.ConnectionRefused {
		return &ConnError{Code: wire.CloseRefused, Text: "the server takes no more connections (MaxConnections), has too many handshakes in progress, or is shutting down", Remote: true}
	}
	if errors.As(err, new(*ConnError)) || errors.As(err, new(*ResetError)) {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // of a stream; the connection is well
		return ErrStalled
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &ConnError{Err: err}
}

// The three kinds of QUIC streams behind our interfaces. Their methods that come in pairs differ only in type.
type (
	quicStream     quic.Stream
	quicSendStream quic.SendStream
	quicRecvStream quic.ReceiveStream
)

func (s *quicStream) q() *quic.Stream            { return (*quic.Stream)(s) }
func (s *quicSendStream) q() *quic.SendStream    { return (*quic.SendStream)(s) }
func (s *quicRecvStream) q() *quic.ReceiveStream { return (*quic.ReceiveStream)(s) }

func (s *quicStream) Read(p []byte) (int, error)      { return readQUIC(s.q(), p) }
func (s *quicRecvStream) Read(p []byte) (int, error)  { return readQUIC(s.q(), p) }
func (s *quicStream) Write(p []byte) (int, error)     { return writeQUIC(s.q(), p) }
func (s *quicSendStream) Write(p []byte) (int, error) { return writeQUIC(s.q(), p) }

func (s *quicStream) tryWrite(p []byte) (bool, error)     { return tryWriteQUIC(s.q(), p) }
func (s *quicSendStream) tryWrite(p []byte) (bool, error) { return tryWriteQUIC(s.q(), p) }

func (s *quicStream) closeWrite() error     { return s.q().Close() }
func (s *quicSendStream) closeWrite() error { return s.q().Close() }

func (s *quicStream) resetWrite(code uint64)     { s.q().CancelWrite(quic.StreamErrorCode(code)) }
func (s *quicSendStream) resetWrite(code uint64) { s.q().CancelWrite(quic.StreamErrorCode(code)) }
func (s *quicStream) stopRead(code uint64)       { s.q().CancelRead(quic.StreamErrorCode(code)) }
func (s *quicRecvStream) stopRead(code uint64)   { s.q().CancelRead(quic.StreamErrorCode(code)) }

// Streams are always incremental: one that is not and has no credit blocks others of its urgency.
func (s *quicStream) setClass(urgency int8)     { s.q().SetPriority(urgency, true) }
func (s *quicSendStream) setClass(urgency int8) { s.q().SetPriority(urgency, true) }

func (s *quicStream) onSendDone(f func(error)) func() bool {
	return afterSendDone(s.q().Context(), f)
}

func (s *quicSendStream) onSendDone(f func(error)) func() bool {
	return afterSendDone(s.q().Context(), f)
}

func afterSendDone(ctx context.Context, f func(error)) func() bool {
	return context.AfterFunc(ctx, func() { f(quicError(context.Cause(ctx))) })
}

func (s *quicStream) id() uint64     { return uint64(s.q().StreamID()) }
func (s *quicSendStream) id() uint64 { return uint64(s.q().StreamID()) }
func (s *quicRecvStream) id() uint64 { return uint64(s.q().StreamID()) }

// Setting a deadline never fails.
func (s *quicStream) setReadDeadline(t time.Time)     { _ = s.q().SetReadDeadline(t) }
func (s *quicRecvStream) setReadDeadline(t time.Time) { _ = s.q().SetReadDeadline(t) }

func (s *quicStream) releaseCredit()     { s.q().ReleaseStreamCredit() }
func (s *quicRecvStream) releaseCredit() { s.q().ReleaseStreamCredit() }

func readQUIC(r io.Reader, p []byte) (int, error) {
	n, err := r.Read(p)
	return n, quicError(err)
}

func writeQUIC(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	return n, quicError(err)
}

func tryWriteQUIC(w interface{ TryWriteAll([]byte) error }, p []byte) (bool, error) {
	err := w.TryWriteAll(p)
	if err == quic.ErrWouldBlock {
		return false, nil
	}
	return err == nil, quicError(err)
}
