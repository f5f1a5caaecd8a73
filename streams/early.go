package streams

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	// maxEarlyBytes is how much a first flight holds, so that it can be sent again when the server refuses it. It is what
	// the first congestion window of quic-go carries (32 packets); more waits for the handshake.
	maxEarlyBytes = 32 << 10
	// maxEarlyStreams is how many streams a first flight opens: the control stream, lanes and a few calls.
	maxEarlyStreams = 16
)

// early is the first flight of a dialed connection: the streams that were opened before the handshake was complete, with
// what was written on them. When the server refuses early data (RFC 9001, section 4.6.2), quic-go has forgotten these
// streams and the server has never seen them; settle then opens the same streams again, in the same order and so with the
// same numbers, and writes the same bytes. Nothing can have been received by then, so whoever uses the streams notices
// nothing.
type early struct {
	conn    *quic.Conn
	settled chan struct{} // closed when the handshake is complete and a refused flight has been sent again, or the connection has ended
	bytes   atomic.Int64  // held by streams

	mu struct { // locked before that of a stream
		sync.Mutex
		over    bool // streams are native from here on
		streams []*earlyStream
	}
}

// newEarly returns nil when the handshake is complete already.
func newEarly(conn *quic.Conn) *early {
	select {
	case <-conn.HandshakeComplete():
		return nil
	default:
		return &early{conn: conn, settled: make(chan struct{})}
	}
}

// settle waits for the handshake and sends the flight again if it was refused. It returns soon after the connection has
// ended.
func (e *early) settle() {
	defer close(e.settled)
	select {
	case <-e.conn.HandshakeComplete():
	case <-e.conn.Context().Done():
		return
	}
	refused := !e.conn.ConnectionState().Used0RTT
	e.mu.Lock()
	defer e.mu.Unlock()
	if refused {
		if _, err := e.conn.NextConnection(e.conn.Context()); err != nil { // it is the same connection
			return
		}
	}
	for _, s := range e.mu.streams {
		if err := s.settle(refused); err != nil {
			return // the connection has ended, which everybody learns
		}
	}
	e.mu.over, e.mu.streams = true, nil
}

// wait returns when the streams of the connection are what they seem.
func (e *early) wait(ctx context.Context) error {
	select {
	case <-e.settled:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// open opens a stream in the first flight. It returns nil when the caller has to do so itself, now that the handshake is over.
func (e *early) open(ctx context.Context) (stream, error) {
	select {
	case <-e.settled:
		return nil, nil
	default:
	}
	e.mu.Lock()
	if !e.mu.over && len(e.mu.streams) < maxEarlyStreams {
		if s, err := e.conn.OpenStream(); err == nil {
			es := &earlyStream{early: e}
			es.s.Store(s)
			e.mu.streams = append(e.mu.streams, es)
			e.mu.Unlock()
			return es, nil
		}
	}
	e.mu.Unlock()
	return nil, e.wait(ctx)
}

// hold reserves room for n bytes.
func (e *early) hold(n int) bool {
	if e.bytes.Add(int64(n)) <= maxEarlyBytes {
		return true
	}
	e.bytes.Add(int64(-n))
	return false
}

// An earlyStream is a stream of the first flight.
type earlyStream struct {
	early *early
	s     atomic.Pointer[quic.Stream] // replaced once, under mu, when the flight was refused

	mu struct {
		sync.Mutex
		native   bool // s is what it is, and nothing is recorded
		sent     []byte
		fin      bool
		reset    *uint64
		stop     *uint64
		urgency  int8
		deadline time.Time
		watches  []*sendWatch
	}
}

// settle ends the recording. When the flight was refused it opens the stream again and repeats what happened on it.
func (es *earlyStream) settle(refused bool) error {
	es.mu.Lock()
	defer es.mu.Unlock()
	if refused {
		if err := es.repeatLocked(); err != nil {
			return err
		}
	}
	es.mu.native, es.mu.sent, es.mu.watches = true, nil, nil
	return nil
}

func (es *earlyStream) repeatLocked() error {
	s, err := es.early.conn.OpenStreamSync(es.early.conn.Context())
	if err != nil {
		return err
	}
	es.s.Store(s)
	native := (*quicStream)(s)
	native.setClass(es.mu.urgency)
	native.setReadDeadline(es.mu.deadline)
	for _, w := range es.mu.watches {
		w.arm(native)
	}
	if es.mu.stop != nil {
		native.stopRead(*es.mu.stop)
	}
	if es.mu.reset != nil {
		native.resetWrite(*es.mu.reset)
		return nil
	}
	if _, err := s.Write(es.mu.sent); err != nil && es.early.conn.Context().Err() != nil {
		return err // what else it may be, a peer that wants no more, its writer learns
	}
	if es.mu.fin {
		_ = native.closeWrite() // fails only when the stream was reset, which the reader learns
	}
	return nil
}

// record runs f under the lock while the stream is being recorded. It reports false, without running it, when it no longer
// is.
func (es *earlyStream) record(f func()) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	if es.mu.native {
		return false
	}
	f()
	return true
}

func (es *earlyStream) native() *quicStream { return (*quicStream)(es.s.Load()) }

// again waits after an error for the end of the handshake if that is what the error is about. It reports whether it was.
func (es *earlyStream) again(err error) bool {
	if !errors.Is(err, quic.Err0RTTRejected) {
		return false
	}
	<-es.early.settled // soon: the handshake is about to be complete, or the connection about to end
	return true
}

func (es *earlyStream) Read(p []byte) (int, error) {
	for {
		s := es.s.Load()
		n, err := s.Read(p)
		if !es.again(err) || es.s.Load() == s {
			return n, quicError(err)
		}
	}
}

func (es *earlyStream) Write(p []byte) (int, error) {
	var s *quic.Stream
	if es.record(func() {
		if es.early.hold(len(p)) {
			s = es.s.Load()
			es.mu.sent = append(es.mu.sent, p...)
		}
	}) && s == nil { // the flight is full
		<-es.early.settled // soon, or the connection ends
	}
	if s == nil {
		return es.native().Write(p)
	}
	n, err := s.Write(p)
	if es.again(err) && es.s.Load() != s {
		return len(p), nil // it has been sent again
	}
	return n, quicError(err)
}

func (es *earlyStream) tryWrite(p []byte) (bool, error) {
	if !es.mu.TryLock() { // the flight is being sent again
		return false, nil
	}
	defer es.mu.Unlock()
	if es.mu.native {
		return es.native().tryWrite(p)
	}
	if !es.early.hold(len(p)) {
		return false, nil
	}
	switch err := es.s.Load().TryWriteAll(p); {
	case err == nil || errors.Is(err, quic.Err0RTTRejected):
		es.mu.sent = append(es.mu.sent, p...)
		return true, nil
	case err == quic.ErrWouldBlock:
		es.early.bytes.Add(int64(-len(p)))
		return false, nil
	default:
		return false, quicError(err)
	}
}

func (es *earlyStream) closeWrite() error {
	if es.record(func() { es.mu.fin = true; _ = es.native().closeWrite() }) { // fails as below, or because it is refused
		return nil
	}
	return es.native().closeWrite()
}

func (es *earlyStream) resetWrite(code uint64) {
	if !es.record(func() {
		if es.mu.reset == nil && !es.mu.fin {
			es.mu.reset = &code
		}
		es.native().resetWrite(code)
	}) {
		es.native().resetWrite(code)
	}
}

func (es *earlyStream) stopRead(code uint64) {
	if !es.record(func() {
		if es.mu.stop == nil {
			es.mu.stop = &code
		}
		es.native().stopRead(code)
	}) {
		es.native().stopRead(code)
	}
}

func (es *earlyStream) setClass(urgency int8) {
	if !es.record(func() { es.mu.urgency = urgency; es.native().setClass(urgency) }) {
		es.native().setClass(urgency)
	}
}

func (es *earlyStream) setReadDeadline(t time.Time) {
	if !es.record(func() { es.mu.deadline = t; es.native().setReadDeadline(t) }) {
		es.native().setReadDeadline(t)
	}
}

// A sendWatch is a function that waits for the end of sending on an earlyStream.
type sendWatch struct {
	f    func(error)
	stop func() bool // replaced under the lock of the stream
}

// arm makes w wait for the end of s. That a stream is refused is not its end.
func (w *sendWatch) arm(s *quicStream) {
	w.stop = s.onSendDone(func(err error) {
		if !errors.Is(err, quic.Err0RTTRejected) {
			w.f(err)
		}
	})
}

func (es *earlyStream) onSendDone(f func(error)) func() bool {
	w := &sendWatch{f: f}
	if !es.record(func() { w.arm(es.native()); es.mu.watches = append(es.mu.watches, w) }) {
		return es.native().onSendDone(f)
	}
	return func() bool {
		es.mu.Lock()
		defer es.mu.Unlock()
		es.mu.watches = slices.DeleteFunc(es.mu.watches, func(x *sendWatch) bool { return x == w })
		return w.stop()
	}
}

func (es *earlyStream) id() uint64     { return es.native().id() }
func (es *earlyStream) releaseCredit() { es.native().releaseCredit() }
