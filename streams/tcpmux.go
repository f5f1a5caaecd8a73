package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	// tcpBaseStreams is how many bidirectional streams each side may open before it has been granted more.
	tcpBaseStreams = longStreams + 1
	// tcpSpareWindow is what streams whose readers keep up may have in flight besides streamWindow, all those of a connection
	// together. Together with the limits of streams it bounds what a peer can make this side hold.
	tcpSpareWindow = 16 << 20
	// tcpReadBytes holds a record of TLS, behind the beginning of a frame that the last one left.
	tcpReadBytes = 16<<10 + maxTCPHead
	// pingEvery is how often the round trip is measured while something is sent.
	pingEvery = time.Second
	// tcpLinger is how long a peer has to take the reason why the connection is closed.
	tcpLinger = time.Second

	urgencies = 8
)

// Kinds of streams: the second bit of a stream's number. The first bit is the side that opened it, 0 for the dialer.
const (
	tcpBidi = 0
	tcpUni  = 1
)

var errIdle = errors.New("streams: nothing received for the idle timeout")

// A tcpTransport multiplexes streams over TLS over TCP. Frames are put together by whoever finds the connection idle, for all
// who come meanwhile, in order of urgency; what would block is left to a goroutine that may. Another one reads, and never
// waits for anything but the network, so that no stream stalls another.
type tcpTransport struct {
	secure      net.Conn // TLS over sock
	sock        *tcpSocket
	side        uint64 // 0 of the dialer, 1 of the acceptor
	limits      [2]uint64
	resumed     bool // the handshake continued an earlier session
	idleTimeout time.Duration

	accepts  [2]chan *tcpStream // opened by the peer; as many fit as may be open
	wake     chan struct{}      // capacity 1; sent to by whoever hands the writing over to writeLoop
	ended    chan struct{}      // closed when the connection has ended
	readDone chan struct{}      // closed when readLoop has returned
	released chan struct{}      // closed when writeLoop has returned, the last of the goroutines
	onLeave  func()             // called then, unless it is nil
	timer    *time.Timer        // runs watch

	minRTT, latestRTT, smoothedRTT, deviation atomic.Int64
	spare                                     atomic.Int64 // of tcpSpareWindow
	batch                                     []byte       // not encrypted; owned by whoever is busy

	// The frame of data that is being read; owned by readLoop.
	current *tcpStream // nil when nobody wants it
	left    int
	fin     bool

	mu struct {
		sync.Mutex
		err     *ConnError // why the connection ended; nil while it has not
		tell    bool       // the peer is to be told
		busy    bool       // somebody writes, and looks for more before it stops
		streams map[uint64]*tcpStream
		opening [2]tcpOpening
		opened  [2]tcpOpened
		dirty   []*tcpStream // that have more to say than data
		ready   [urgencies]tcpQueue
		waiting int  // streams in ready
		due     bool // a frame of the connection itself is due
		pingDue bool
		pinged  time.Time // when the last ping was sent
		nonce   uint64    // of that ping
		pinging bool      // it is unanswered
		ponging bool      // a ping of the peer is to be answered
		pong    uint64    // its nonce
	}
}

// tcpOpening are the streams of a kind that this side opens.
type tcpOpening struct {
	next, limit uint64
	waiters     []*tcpWaiter
}

type tcpWaiter struct {
	s    *tcpStream    // set before done is closed
	done chan struct{} // closed when there is a stream
}

// tcpOpened are the streams of a kind that the peer opens.
type tcpOpened struct {
	next    uint64 // the first one that it has not opened
	granted uint64 // how many it may open altogether, as it has been told
	ended   uint64 // how many have ended and their credit is released
}

// newTCPTransport starts a transport over a connection whose handshake is done, and takes ownership of it. onLeave, which may be
// nil, is called when the socket has been closed.
func newTCPTransport(secure net.Conn, sock *tcpSocket, cfg *Config, dialer bool, onLeave func()) *tcpTransport {
	t := &tcpTransport{
		secure: secure, sock: sock, side: 1, idleTimeout: cfg.IdleTimeout, onLeave: onLeave,
		limits: [2]uint64{uint64(cfg.MaxStreams + longStreams), uniStreams},
		wake:   make(chan struct{}, 1), ended: make(chan struct{}), readDone: make(chan struct{}), released: make(chan struct{}),
	}
	if dialer {
		t.side = 0
	}
	if c, ok := secure.(*tls.Conn); ok {
		t.resumed = c.ConnectionState().DidResume
	}
	t.spare.Store(tcpSpareWindow)
	t.mu.streams = map[uint64]*tcpStream{}
	for kind, base := range [2]uint64{tcpBaseStreams, uniStreams} {
		t.accepts[kind] = make(chan *tcpStream, t.limits[kind])
		t.mu.opening[kind].limit = base
		t.mu.opened[kind].granted = base
	}
	t.mu.due = true // more streams are granted than those of the beginning
	sock.collect()
	t.timer = time.AfterFunc(t.idleTimeout/keepAlives, t.watch) // ended by end
	go t.readLoop()                                             // ends with the connection; writeLoop waits
	go t.writeLoop()                                            // ends with the connection; wait waits
	return t
}

func (t *tcpTransport) openStream(ctx context.Context) (stream, error) {
	s, err := t.open(ctx, tcpBidi)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (t *tcpTransport) tryOpenStream(context.Context) (stream, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.tryOpenLocked(tcpBidi)
	if s == nil { // a nil of that type is a stream
		return nil, err
	}
	return s, nil
}

// tryOpenLocked returns nil when the peer grants no further stream for now.
func (t *tcpTransport) tryOpenLocked(kind int) (*tcpStream, error) {
	o := &t.mu.opening[kind]
	switch {
	case t.mu.err != nil:
		return nil, t.mu.err
	case len(o.waiters) > 0 || o.next >= o.limit:
		return nil, nil
	}
	return t.openLocked(kind), nil
}

func (t *tcpTransport) openUniStream(ctx context.Context) (sendStream, error) {
	s, err := t.open(ctx, tcpUni)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (t *tcpTransport) open(ctx context.Context, kind int) (*tcpStream, error) {
	t.mu.Lock()
	if s, err := t.tryOpenLocked(kind); s != nil || err != nil {
		t.mu.Unlock()
		return s, err
	}
	o := &t.mu.opening[kind]
	w := &tcpWaiter{done: make(chan struct{})}
	o.waiters = append(o.waiters, w)
	t.mu.Unlock()
	select {
	case <-w.done:
		return w.s, nil
	case <-t.ended:
		return nil, t.cause()
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range o.waiters {
		if other == w {
			o.waiters = append(o.waiters[:i], o.waiters[i+1:]...)
			return nil, context.Cause(ctx)
		}
	}
	if w.s == nil {
		return nil, t.mu.err
	}
	return w.s, nil // a result that is ready comes first
}

func (t *tcpTransport) openLocked(kind int) *tcpStream {
	o := &t.mu.opening[kind]
	s := newTCPStream(t, o.next<<2|uint64(kind)<<1|t.side)
	o.next++
	t.mu.streams[s.num] = s
	return s
}

// mayOpenLocked acts on a grant of streams.
func (t *tcpTransport) mayOpenLocked(kind int, limit uint64) {
	o := &t.mu.opening[kind]
	o.limit = max(o.limit, limit)
	for len(o.waiters) > 0 && o.next < o.limit {
		w := o.waiters[0]
		o.waiters = o.waiters[1:]
		w.s = t.openLocked(kind)
		close(w.done)
	}
}

func (t *tcpTransport) acceptStream(ctx context.Context) (stream, error) {
	s, err := t.accept(ctx, tcpBidi)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (t *tcpTransport) acceptUniStream(ctx context.Context) (recvStream, error) {
	s, err := t.accept(ctx, tcpUni)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (t *tcpTransport) accept(ctx context.Context, kind int) (*tcpStream, error) {
	select {
	case s := <-t.accepts[kind]:
		return s, nil
	case <-t.ended:
		return nil, t.cause()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// streamLocked returns the stream that a frame of the peer is about, nil when that is over.
func (t *tcpTransport) streamLocked(id uint64) (*tcpStream, error) {
	if s := t.mu.streams[id]; s != nil {
		return s, nil
	}
	kind, n := int(id>>1&1), id>>2
	if id&1 == t.side {
		if n >= t.mu.opening[kind].next {
			return nil, violation(wire.CloseProtocol, "frame for stream %d, which was never opened", id)
		}
		return nil, nil
	}
	o := &t.mu.opened[kind]
	switch {
	case n < o.next:
		return nil, nil
	case n >= o.granted:
		return nil, violation(wire.CloseLimit, "stream %d of the peer, which may open %d of this kind", n, o.granted)
	case t.mu.err != nil:
		return nil, nil
	}
	var s *tcpStream
	for ; o.next <= n; o.next++ { // those before it, of which nothing has come yet, are open as well
		s = newTCPStream(t, o.next<<2|uint64(kind)<<1|1-t.side)
		t.mu.streams[s.num] = s
		t.accepts[kind] <- s // has room for as many as are granted and not released
	}
	return s, nil
}

// endedLocked counts a stream of the peer that has ended. The peer is told before it has few left.
func (t *tcpTransport) endedLocked(kind int) {
	o := &t.mu.opened[kind]
	o.ended++
	if o.granted-o.next <= t.limits[kind]/2 {
		t.mu.due = true
	}
}

func (t *tcpTransport) close(code uint64, text string) {
	t.end(&ConnError{Code: code, Text: wire.CutText(text, maxTCPText)}, true)
}

// end ends the connection; the first call decides. Everything that waits for it fails at once; the peer is told, if it is
// to be, in the background.
func (t *tcpTransport) end(err *ConnError, tell bool) {
	t.mu.Lock()
	if t.mu.err != nil {
		t.mu.Unlock()
		return
	}
	t.mu.err, t.mu.tell = err, tell
	streams := t.mu.streams
	t.mu.streams = map[uint64]*tcpStream{}
	for kind := range t.mu.opening {
		t.mu.opening[kind].waiters = nil
	}
	for _, s := range streams {
		s.dropLocked()
		s.out.space.Broadcast()
	}
	handOver := !t.mu.busy
	t.mu.busy = true
	t.mu.Unlock()
	close(t.ended)
	t.timer.Stop()
	until := time.Now()
	if tell {
		until = until.Add(tcpLinger)
	}
	_ = t.sock.Conn.SetDeadline(until) // fails only when the socket has been closed
	for _, s := range streams {
		s.failed(err)
	}
	if handOver {
		t.wake <- struct{}{}
	}
}

func (t *tcpTransport) done() <-chan struct{} { return t.ended }

func (t *tcpTransport) cause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.err == nil {
		return nil
	}
	return t.mu.err
}

func (t *tcpTransport) wait() { <-t.released }

func (t *tcpTransport) exportKey(label string, context []byte, length int) ([]byte, error) {
	c, ok := t.secure.(*tls.Conn)
	if !ok {
		return nil, errors.New("streams: a connection without TLS has no key material")
	}
	state := c.ConnectionState()
	return state.ExportKeyingMaterial(label, context, length)
}

func (t *tcpTransport) stats() Stats {
	s := Stats{
		Transport: "tcp",
		MinRTT:    time.Duration(t.minRTT.Load()), LatestRTT: time.Duration(t.latestRTT.Load()),
		SmoothedRTT: time.Duration(t.smoothedRTT.Load()), RTTDeviation: time.Duration(t.deviation.Load()),
		BytesSent: t.sock.bytesSent.Load(), BytesReceived: t.sock.bytesReceived.Load(),
		PacketsSent: t.sock.sends.Load(), PacketsReceived: t.sock.receives.Load(),
	}
	addKernelStats(t.sock.Conn, &s)
	return s
}

func (t *tcpTransport) describe(s *Stats) { s.Resumed = t.resumed }

func (t *tcpTransport) remoteAddr() net.Addr { return t.sock.RemoteAddr() }
func (t *tcpTransport) localAddr() net.Addr  { return t.sock.LocalAddr() }

// watch keeps the connection alive, and ends one on which nothing arrives all the same.
func (t *tcpTransport) watch() {
	silence, period := t.sock.silence(), t.idleTimeout/keepAlives
	if silence >= t.idleTimeout {
		t.end(&ConnError{Err: errIdle}, false)
		return
	}
	next := period - silence
	t.mu.Lock()
	if t.mu.err != nil {
		t.mu.Unlock()
		return
	}
	if next <= 0 {
		next = min(period, t.idleTimeout-silence)
		t.mu.pingDue, t.mu.due = true, true
	}
	t.timer.Reset(next)
	t.kickLocked(nil)
}

// pongLocked takes the answer to a ping.
func (t *tcpTransport) pongLocked(nonce uint64) error {
	if nonce > t.mu.nonce {
		return violation(wire.CloseProtocol, "answer to a ping that was never sent")
	}
	if nonce != t.mu.nonce || !t.mu.pinging {
		return nil // an older one
	}
	t.mu.pinging = false
	rtt := max(int64(time.Since(t.mu.pinged)), 1)
	if least := t.minRTT.Load(); least == 0 || rtt < least {
		t.minRTT.Store(rtt)
	}
	t.latestRTT.Store(rtt)
	smoothed, deviation := t.smoothedRTT.Load(), t.deviation.Load() // as in RFC 6298, section 2
	if smoothed == 0 {
		smoothed, deviation = rtt, rtt/2
	} else {
		deviation += (max(rtt-smoothed, smoothed-rtt) - deviation) / 4
		smoothed += (rtt - smoothed) / 8
	}
	t.smoothedRTT.Store(smoothed)
	t.deviation.Store(deviation)
	return nil
}

// readLoop takes the frames of the peer. It waits for nothing but the network.
func (t *tcpTransport) readLoop() {
	defer close(t.readDone)
	buf := make([]byte, 0, tcpReadBytes)
	for {
		n, err := t.secure.Read(buf[len(buf):cap(buf)])
		if t.cause() == nil {
			buf = buf[:len(buf)+n]
			used, bad := t.consume(buf)
			buf = buf[:copy(buf, buf[used:])]
			if bad != nil {
				broken := violationOf(bad)
				t.end(broken, !broken.Remote)
			}
			t.wakeWriter()
		} else {
			buf = buf[:0] // what still comes is read so that the peer can read why the connection has ended
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF // it has not said why
			}
			t.end(&ConnError{Err: err}, false)
			return
		}
	}
}

// consume acts on the frames in b and returns how many of the bytes are of no more use. Its error ends the connection.
func (t *tcpTransport) consume(b []byte) (used int, err error) {
	for {
		if t.left > 0 {
			n := min(t.left, len(b)-used)
			if t.current != nil && n > 0 {
				if err := t.current.deliver(b[used : used+n]); err != nil {
					return used, err
				}
			}
			used += n
			if t.left -= n; t.left > 0 {
				return used, nil
			}
		}
		if t.fin {
			if t.current != nil {
				t.current.finished()
			}
			t.fin = false
		}
		f, n, err := parseTCPFrame(b[used:])
		if err == wire.ErrTruncated {
			return used, nil
		}
		if err == nil {
			err = t.handle(f)
		}
		if err != nil {
			return used, err
		}
		used += n
	}
}

// handle acts on a frame, of data on its head.
func (t *tcpTransport) handle(f tcpFrame) error {
	switch f.typ {
	case tcpMaxStreams, tcpMaxUni:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.mayOpenLocked(int(f.typ-tcpMaxStreams), f.value)
		return nil
	case tcpPing:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.mu.pong, t.mu.ponging, t.mu.due = f.value, true, true // of several that wait, only the last one is answered
		return nil
	case tcpPong:
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.pongLocked(f.value)
	case tcpClose:
		return &ConnError{Code: f.value, Text: string(f.text), Remote: true}
	}
	sends := f.typ == tcpStop || f.typ == tcpMaxData // this side does, on the stream that the frame is about
	if uni, ours := f.stream>>1&1 == 1, f.stream&1 == t.side; uni && ours != sends {
		return violation(wire.CloseProtocol, "frame of type %d for the unidirectional stream %d", f.typ, f.stream)
	}
	t.mu.Lock()
	s, err := t.streamLocked(f.stream)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if f.typ == tcpData || f.typ == tcpDataFIN {
		t.current, t.left, t.fin = s, f.len, f.typ == tcpDataFIN
	}
	if s == nil {
		return nil
	}
	switch f.typ {
	case tcpStop:
		s.stopped(f.value)
	case tcpMaxData:
		s.raised(f.value)
	case tcpReset:
		return s.reset(f.value)
	default:
		return s.expects(f.len)
	}
	return nil
}

// A tcpQueue is a queue of streams that have something to send.
type tcpQueue struct{ first, last *tcpStream }

func (q *tcpQueue) push(s *tcpStream) {
	if q.first == nil {
		q.first = s
	} else {
		q.last.behind = s
	}
	q.last = s
}

func (q *tcpQueue) pop() *tcpStream {
	s := q.first
	if s != nil {
		q.first, s.behind = s.behind, nil
	}
	return s
}

var _ transport = (*tcpTransport)(nil)
