package streams

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Pipe returns the two ends of a connection in memory: everything but the network is the real thing. The
// configurations need no TLS.
func Pipe(dialer, acceptor Config) (d, a *Conn, err error) {
	dialerConf, err := dialer.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	acceptorConf, err := acceptor.withDefaults()
	if err != nil {
		return nil, nil, err
	}
	p := newPipe(dialerConf, acceptorConf)
	d, a = newConn(p.ends[0], dialerConf, true), newConn(p.ends[1], acceptorConf, false)
	if err := a.start(context.Background()); err != nil {
		return nil, nil, err
	}
	if err := d.start(context.Background()); err != nil {
		return nil, nil, err
	}
	return d, a, nil
}

// A pipe is a pair of transports. Its streams have the windows and limits of a QUIC connection of ours.
type pipe struct {
	ends    [2]*pipeEnd
	nextID  atomic.Uint64
	packets [2]atomic.Uint64 // writes by each side, which count as packets
	ended   chan struct{}    // closed when either side has closed
	mu      struct {
		sync.Mutex
		closer int   // the side that closed
		err    error // nil while open
		live   map[*pipeHalf]struct{}
	}
}

// newPipe returns a pipe whose ends accept as many streams as their configurations say.
func newPipe(configs ...*Config) *pipe {
	p := &pipe{ended: make(chan struct{})}
	for i := range p.ends {
		limit := configs[i].MaxStreams + longStreams
		p.ends[i] = &pipeEnd{
			pipe: p, side: i,
			streams: make(chan *pipeStream, limit), uni: make(chan *pipeStream, uniStreams),
			slots: make(chan struct{}, limit), uniSlots: make(chan struct{}, uniStreams),
		}
	}
	return p
}

type pipeEnd struct {
	pipe         *pipe
	side         int
	streams, uni chan *pipeStream // opened by the other side, to be accepted; as many fit as may be open
	slots        chan struct{}    // one for each stream that the other side has open
	uniSlots     chan struct{}
}

func (e *pipeEnd) peer() *pipeEnd { return e.pipe.ends[1-e.side] }

func (e *pipeEnd) open(ctx context.Context, slots chan struct{}, accept chan *pipeStream, bidi bool) (*pipeStream, error) {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-e.pipe.ended:
		return nil, e.cause()
	}
	id := e.pipe.nextID.Add(1)
	there, back := newPipeHalf(e.pipe, e.side), (*pipeHalf)(nil)
	if bidi {
		back = newPipeHalf(e.pipe, 1-e.side)
	}
	ours := &pipeStream{num: id, out: there, in: back}
	theirs := &pipeStream{num: id, out: back, in: there, slots: slots}
	accept <- theirs // has room for as many as there are slots
	return ours, nil
}

func (e *pipeEnd) openStream(ctx context.Context) (stream, error) {
	s, err := e.open(ctx, e.peer().slots, e.peer().streams, true)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (e *pipeEnd) tryOpenStream(ctx context.Context) (stream, error) {
	if len(e.peer().slots) == cap(e.peer().slots) {
		return nil, nil
	}
	return e.openStream(ctx)
}

func (e *pipeEnd) openUniStream(ctx context.Context) (sendStream, error) {
	s, err := e.open(ctx, e.peer().uniSlots, e.peer().uni, false)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (e *pipeEnd) accept(ctx context.Context, from chan *pipeStream) (*pipeStream, error) {
	select {
	case s := <-from:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-e.pipe.ended:
		return nil, e.cause()
	}
}

func (e *pipeEnd) acceptStream(ctx context.Context) (stream, error) {
	s, err := e.accept(ctx, e.streams)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (e *pipeEnd) acceptUniStream(ctx context.Context) (recvStream, error) {
	s, err := e.accept(ctx, e.uni)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (e *pipeEnd) close(code uint64, text string) {
	p := e.pipe
	p.mu.Lock()
	if p.mu.err != nil {
		p.mu.Unlock()
		return
	}
	p.mu.err, p.mu.closer = &ConnError{Code: code, Text: text}, e.side
	live := p.mu.live
	p.mu.live = nil
	p.mu.Unlock()
	close(p.ended)
	for h := range live {
		h.end(func() {})
	}
}

func (e *pipeEnd) done() <-chan struct{} { return e.pipe.ended }
func (e *pipeEnd) wait()                 {} // there are no goroutines

func (e *pipeEnd) cause() error {
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err == nil {
		return nil
	}
	err := *p.mu.err.(*ConnError)
	err.Remote = p.mu.closer != e.side
	return &err
}

func (e *pipeEnd) exportKey(string, []byte, int) ([]byte, error) {
	return nil, errors.New("streams: a connection in memory has no key material")
}

func (e *pipeEnd) stats() Stats {
	sent, received := e.pipe.packets[e.side].Load(), e.pipe.packets[1-e.side].Load()
	return Stats{Transport: "pipe", PacketsSent: sent, PacketsReceived: received}
}

func (e *pipeEnd) describe(*Stats) {}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "in-process" }

func (e *pipeEnd) remoteAddr() net.Addr { return pipeAddr{} }
func (e *pipeEnd) localAddr() net.Addr  { return pipeAddr{} }

// pipeStream is one side's view of a stream: in or out is nil on a unidirectional one.
type pipeStream struct {
	num      uint64
	in, out  *pipeHalf
	slots    chan struct{} // holds a slot for this stream; nil at the opener
	released atomic.Bool
}

func (s *pipeStream) id() uint64 { return s.num }

func (s *pipeStream) Read(p []byte) (int, error)           { return s.in.read(p) }
func (s *pipeStream) Write(p []byte) (int, error)          { return s.out.write(p, true) }
func (s *pipeStream) closeWrite() error                    { return s.out.fin() }
func (s *pipeStream) resetWrite(code uint64)               { s.out.reset(code) }
func (s *pipeStream) stopRead(code uint64)                 { s.in.stop(code) }
func (s *pipeStream) setClass(int8)                        {} // memory is never congested
func (s *pipeStream) setReadDeadline(t time.Time)          { s.in.setDeadline(t) }
func (s *pipeStream) onSendDone(f func(error)) func() bool { return s.out.onDone(f) }

func (s *pipeStream) tryWrite(p []byte) (bool, error) {
	n, err := s.out.write(p, false)
	return n == len(p) && err == nil, err
}

func (s *pipeStream) releaseCredit() {
	if s.slots != nil && s.released.CompareAndSwap(false, true) {
		<-s.slots
	}
}

// A pipeHalf is one direction of a stream: a bounded buffer between a writer and a reader.
type pipeHalf struct {
	pipe *pipe
	side int // that writes

	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte
	off      int // read part of buf
	finished bool
	reset_   *ResetError // by the writer, as it sees it
	stopped  *ResetError // by the reader, as it sees it
	closed   bool        // the connection has ended
	deadline time.Time
	timer    *time.Timer
	done     context.Context // of the writer: FIN, reset, stop or end of the connection
	cancel   context.CancelCauseFunc
}

func newPipeHalf(p *pipe, side int) *pipeHalf {
	h := &pipeHalf{pipe: p, side: side}
	h.changed.L = &h.mu
	h.done, h.cancel = context.WithCancelCause(context.Background())
	p.mu.Lock()
	if p.mu.live == nil {
		p.mu.live = map[*pipeHalf]struct{}{}
	}
	p.mu.live[h] = struct{}{}
	ended := p.mu.err != nil
	p.mu.Unlock()
	if ended {
		h.end(func() {})
	}
	return h
}

// change makes one change to the state under the lock and wakes whoever waits for it.
func (h *pipeHalf) change(f func()) {
	h.mu.Lock()
	f()
	h.changed.Broadcast()
	h.mu.Unlock()
}

// end is the last change: nothing can be read or written any more.
func (h *pipeHalf) end(f func()) {
	h.change(func() {
		f()
		h.closed = true
	})
	h.cancel(h.pipe.ends[h.side].cause())
}

// forget drops a half that needs no word of the end of the connection.
func (h *pipeHalf) forget() {
	h.pipe.mu.Lock()
	delete(h.pipe.mu.live, h)
	h.pipe.mu.Unlock()
}

func (h *pipeHalf) write(p []byte, block bool) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return n, h.pipe.ends[h.side].cause()
		case h.stopped != nil:
			return n, &ResetError{Code: h.stopped.Code, Remote: true}
		case h.reset_ != nil:
			return n, h.reset_
		case h.finished:
			return n, ErrEnded
		}
		free := streamWindow - (len(h.buf) - h.off)
		if !block && free < len(p) {
			return 0, nil
		}
		if free > 0 {
			if h.off > 0 && h.off == len(h.buf) {
				h.buf, h.off = h.buf[:0], 0
			}
			m := min(free, len(p)-n)
			h.buf = append(h.buf, p[n:n+m]...)
			n += m
			h.pipe.packets[h.side].Add(1)
			h.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		h.changed.Wait()
	}
}

func (h *pipeHalf) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return 0, h.pipe.ends[1-h.side].cause()
		case h.stopped != nil:
			return 0, h.stopped
		case h.reset_ != nil:
			return 0, &ResetError{Code: h.reset_.Code, Remote: true}
		case h.off < len(h.buf):
			n := copy(p, h.buf[h.off:])
			if h.off += n; h.off >= streamWindow { // do not let the buffer creep upwards
				h.buf = h.buf[:copy(h.buf, h.buf[h.off:])]
				h.off = 0
			}
			h.changed.Broadcast()
			return n, nil
		case h.finished:
			return 0, io.EOF
		case !h.deadline.IsZero() && !time.Now().Before(h.deadline):
			return 0, ErrStalled
		}
		h.changed.Wait()
	}
}

func (h *pipeHalf) fin() error {
	h.change(func() { h.finished = true })
	h.cancel(ErrEnded)
	h.forget()
	return nil
}

func (h *pipeHalf) reset(code uint64) {
	err := &ResetError{Code: code}
	h.change(func() {
		if h.reset_ == nil && !h.finished {
			h.reset_ = err
		}
	})
	h.cancel(err)
	h.forget()
}

func (h *pipeHalf) stop(code uint64) {
	h.change(func() {
		if h.stopped == nil {
			h.stopped = &ResetError{Code: code}
		}
		code = h.stopped.Code // the first one counts
		h.setTimerLocked(time.Time{})
	})
	h.cancel(&ResetError{Code: code, Remote: true})
	h.forget()
}

func (h *pipeHalf) onDone(f func(error)) func() bool {
	return context.AfterFunc(h.done, func() { f(context.Cause(h.done)) })
}

func (h *pipeHalf) setDeadline(t time.Time) {
	h.change(func() { h.setTimerLocked(t) })
}

func (h *pipeHalf) setTimerLocked(t time.Time) {
	h.deadline = t
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	if !t.IsZero() {
		h.timer = time.AfterFunc(time.Until(t), func() { h.change(func() {}) })
	}
}

var _ transport = (*pipeEnd)(nil)
