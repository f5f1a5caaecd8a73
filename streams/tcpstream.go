package streams

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// A tcpStream is a stream of a [tcpTransport]. A unidirectional one uses the methods and fields of one direction only.
//
// Fields are guarded by the mutex of the transport, those of in by one of its own, which may be locked while the other one is
// held and not the other way round.
type tcpStream struct {
	t   *tcpTransport
	num uint64

	out struct {
		queue     *wire.Buffer // copied to be sent later; nil when empty
		taken     int          // of queue
		lent      []byte       // of a writer, which waits, to be sent after queue
		space     sync.Cond    // of the transport's mutex: lent has been taken, or will never be
		sent      uint64       // bytes
		limit     uint64       // of sent, set by the peer
		urgency   int8
		ready     bool  // in a queue of the transport
		fin       bool  // nothing more is written
		over      bool  // FIN or reset has been sent, or there is no such direction
		err       error // a reset by this side, or by the peer that asked for it
		tellReset bool
		resetCode uint64
	}
	behind *tcpStream // in the queue

	dirty      bool // in the queue of those with more to say than data
	stopping   bool
	tellStop   bool
	stopCode   uint64
	tellWindow bool

	recvOver bool // FIN or reset has been received, or there is no such direction
	released bool // credit for another stream may be given
	gone     bool // no longer in the table of the transport

	ended  context.Context // of the sending direction
	cancel context.CancelCauseFunc

	in struct {
		sync.Mutex
		changed  sync.Cond
		unread   []*wire.Buffer
		off      int // read part of unread[0]
		size     int // unread bytes
		consumed uint64
		received uint64
		limit    uint64 // of received, as the peer has been told
		window   uint64 // streamWindow, or more when the reader keeps up with a long path
		granted  time.Time
		fin      bool
		err      error // why nothing more is read
		deadline time.Time
	}
}

func newTCPStream(t *tcpTransport, id uint64) *tcpStream {
	s := &tcpStream{t: t, num: id}
	s.out.space.L = &t.mu
	s.out.limit = streamWindow
	s.out.urgency = wire.ClassRPC.Urgency()
	s.in.changed.L = &s.in
	s.in.limit, s.in.window = streamWindow, streamWindow
	if uni, ours := id>>1&1 == 1, id&1 == t.side; uni {
		s.out.over, s.recvOver = !ours, ours
	}
	if !s.out.over {
		s.ended, s.cancel = context.WithCancelCause(context.Background())
	}
	return s
}

func (s *tcpStream) id() uint64 { return s.num }

// Write blocks until p has been sent or copied.
func (s *tcpStream) Write(p []byte) (int, error) {
	t := s.t
	t.mu.Lock()
	if err := s.writeErrLocked(); err != nil || len(p) == 0 {
		t.mu.Unlock()
		return 0, err
	}
	copied := s.wantsRoomFor(len(p))
	s.out.lent = p
	s.readyLocked()
	if copied {
		t.kickLocked(s)
		return len(p), nil
	}
	t.kickLocked(nil)
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(s.out.lent) > 0 {
		s.out.space.Wait()
	}
	if err := s.writeErrLocked(); err != nil && err != ErrEnded {
		return 0, err
	}
	return len(p), nil
}

func (s *tcpStream) tryWrite(p []byte) (bool, error) {
	t := s.t
	t.mu.Lock()
	if err := s.writeErrLocked(); err != nil || !s.wantsRoomFor(len(p)) {
		t.mu.Unlock()
		return false, err
	}
	if s.out.lent = p; len(p) > 0 {
		s.readyLocked()
	}
	t.kickLocked(s)
	return true, nil
}

// writeErrLocked returns why nothing can be written, nil if it can.
func (s *tcpStream) writeErrLocked() error {
	switch {
	case s.t.mu.err != nil:
		return s.t.mu.err
	case s.out.err != nil:
		return s.out.err
	case s.out.fin:
		return ErrEnded
	}
	return nil
}

func (s *tcpStream) closeWrite() error {
	s.t.mu.Lock()
	if err := s.writeErrLocked(); err != nil {
		s.t.mu.Unlock()
		return err
	}
	s.out.fin = true
	s.readyLocked()
	s.t.kickLocked(nil)
	s.cancel(ErrEnded)
	return nil
}

func (s *tcpStream) resetWrite(code uint64) {
	err := &ResetError{Code: code}
	s.t.mu.Lock()
	s.giveUpLocked(err, code)
	s.t.kickLocked(nil)
	s.cancel(err)
}

// stopped acts on a peer that reads no more.
func (s *tcpStream) stopped(code uint64) {
	err := &ResetError{Code: code, Remote: true}
	s.t.mu.Lock()
	s.giveUpLocked(err, code)
	s.t.mu.Unlock()
	s.cancel(err)
}

// giveUpLocked ends the sending direction early, unless that has ended.
func (s *tcpStream) giveUpLocked(err error, code uint64) {
	if s.out.over || s.out.err != nil || s.t.mu.err != nil {
		return
	}
	s.out.err, s.out.resetCode, s.out.tellReset = err, code, true
	s.dropLocked()
	s.out.space.Broadcast()
	s.newsLocked()
}

// raised acts on a grant of the peer.
func (s *tcpStream) raised(limit uint64) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.out.limit = max(s.out.limit, limit)
	s.readyLocked()
}

// setClass orders what is sent from now on.
func (s *tcpStream) setClass(urgency int8) {
	s.t.mu.Lock()
	s.out.urgency = min(max(urgency, 0), urgencies-1)
	s.t.mu.Unlock()
}

func (s *tcpStream) onSendDone(f func(error)) func() bool {
	return afterSendDone(s.ended, f)
}

func (s *tcpStream) Read(p []byte) (int, error) {
	in := &s.in
	in.Lock()
	for {
		switch {
		case in.err != nil:
			defer in.Unlock()
			return 0, in.err
		case in.size > 0 || len(p) == 0:
			n := s.take(p)
			grow := !in.fin && in.limit-in.consumed <= in.window/2
			if grow {
				s.widen()
			}
			last := in.fin && in.size == 0
			in.Unlock()
			s.hasRead(grow, last)
			return n, nil
		case in.fin:
			in.Unlock()
			return 0, io.EOF
		case !in.deadline.IsZero() && !time.Now().Before(in.deadline):
			in.Unlock()
			return 0, ErrStalled
		}
		s.waitForData()
	}
}

// waitForData waits, with in locked, until something has changed or the deadline has passed.
func (s *tcpStream) waitForData() {
	if d := s.in.deadline; !d.IsZero() {
		timer := time.AfterFunc(time.Until(d), func() {
			s.in.Lock()
			s.in.changed.Broadcast()
			s.in.Unlock()
		})
		defer timer.Stop()
	}
	s.in.changed.Wait()
}

// take moves what there is to p. in is locked.
func (s *tcpStream) take(p []byte) (n int) {
	in := &s.in
	for n < len(p) && in.size > 0 {
		b := in.unread[0]
		m := copy(p[n:], b.B[in.off:])
		n += m
		in.size -= m
		if in.off += m; in.off == len(b.B) {
			b.Release()
			in.unread[0] = nil
			in.unread, in.off = in.unread[1:], 0
		}
	}
	if in.size == 0 {
		in.unread = nil
	}
	in.consumed += uint64(n)
	return n
}

// widen gives a stream that uses up its window within two round trips more of it, as long as there is some. in is locked.
func (s *tcpStream) widen() {
	in, now := &s.in, time.Now()
	quick := !in.granted.IsZero() && now.Sub(in.granted) < 2*time.Duration(s.t.smoothedRTT.Load())
	if more := min(in.window, maxBulkWindow-in.window); quick && more > 0 {
		if s.t.spare.Add(-int64(more)) >= 0 {
			in.window += more
		} else {
			s.t.spare.Add(int64(more))
		}
	}
	in.granted = now
}

// grant returns what the peer may send altogether, as it is told now.
func (s *tcpStream) grant() uint64 {
	s.in.Lock()
	defer s.in.Unlock()
	s.in.limit = max(s.in.limit, s.in.consumed+s.in.window)
	return s.in.limit
}

// hasRead tells the transport what has come of reading: the peer may send more, or has nothing more to send.
func (s *tcpStream) hasRead(more, last bool) {
	if !more && !last {
		return
	}
	s.t.mu.Lock()
	if more && !s.recvOver {
		s.tellWindow = true
		s.newsLocked()
	}
	s.forgetLocked()
	s.t.kickLocked(nil)
}

func (s *tcpStream) stopRead(code uint64) {
	s.stopReading(&ResetError{Code: code})
	s.t.mu.Lock()
	if !s.recvOver && !s.stopping {
		s.stopping, s.tellStop, s.stopCode = true, true, code
		s.newsLocked()
	}
	s.forgetLocked()
	s.t.kickLocked(nil)
}

// stopReading makes Read fail from now on, unless it does already.
func (s *tcpStream) stopReading(err error) {
	in := &s.in
	in.Lock()
	defer in.Unlock()
	if in.err != nil {
		return
	}
	in.err = err
	for _, b := range in.unread {
		b.Release()
	}
	in.unread, in.size, in.off = nil, 0, 0
	in.changed.Broadcast()
}

func (s *tcpStream) setReadDeadline(t time.Time) {
	s.in.Lock()
	s.in.deadline = t
	s.in.changed.Broadcast()
	s.in.Unlock()
}

// expects checks the head of a frame of data.
func (s *tcpStream) expects(n int) error {
	s.t.mu.Lock()
	over := s.recvOver
	s.t.mu.Unlock()
	if over {
		return violation(wire.CloseProtocol, "data on stream %d after its end", s.num)
	}
	s.in.Lock()
	defer s.in.Unlock()
	if s.in.received += uint64(n); s.in.received > s.in.limit {
		return violation(wire.CloseLimit, "%d bytes on stream %d, which may carry %d", s.in.received, s.num, s.in.limit)
	}
	return nil
}

// deliver takes data that has been received.
func (s *tcpStream) deliver(p []byte) error {
	in := &s.in
	in.Lock()
	defer in.Unlock()
	if in.err != nil {
		return nil // nobody wants it
	}
	in.size += len(p)
	for len(p) > 0 {
		last := (*wire.Buffer)(nil)
		if n := len(in.unread); n > 0 {
			last = in.unread[n-1]
		}
		if last == nil || len(last.B) == cap(last.B) {
			last = wire.NewBuffer(min(2*in.size, maxTCPChunk))
			in.unread = append(in.unread, last)
		}
		n := min(len(p), cap(last.B)-len(last.B))
		last.B = append(last.B, p[:n]...)
		p = p[n:]
	}
	in.changed.Broadcast()
	return nil
}

// maxTCPChunk is the largest piece of memory that unread data is kept in.
const maxTCPChunk = 32 << 10

// finished takes note that nothing more is received.
func (s *tcpStream) finished() {
	s.in.Lock()
	s.in.fin = true
	s.in.changed.Broadcast()
	s.in.Unlock()
	s.t.mu.Lock()
	s.recvOver = true
	s.forgetLocked()
	s.t.mu.Unlock()
}

// reset acts on a peer that ends its direction early.
func (s *tcpStream) reset(code uint64) error {
	s.t.mu.Lock()
	again := s.recvOver
	s.t.mu.Unlock()
	if again {
		return violation(wire.CloseProtocol, "reset of stream %d after its end", s.num)
	}
	s.stopReading(&ResetError{Code: code, Remote: true})
	s.t.mu.Lock()
	s.recvOver = true
	s.forgetLocked()
	s.t.mu.Unlock()
	return nil
}

// failed makes everything fail with the reason why the connection has ended.
func (s *tcpStream) failed(err *ConnError) {
	s.stopReading(err)
	if s.cancel != nil {
		s.cancel(err)
	}
}

func (s *tcpStream) releaseCredit() {
	s.t.mu.Lock()
	if s.num&1 != s.t.side && !s.released {
		s.released = true
		if s.gone {
			s.t.endedLocked(int(s.num >> 1 & 1))
		}
	}
	s.t.kickLocked(nil)
}

// forgetLocked drops a stream whose both directions have ended and of which nothing is unread.
func (s *tcpStream) forgetLocked() {
	if s.gone || !s.out.over || !s.recvOver || s.t.mu.err != nil {
		return
	}
	s.in.Lock()
	unread, extra := s.in.size, s.in.window-streamWindow
	s.in.Unlock()
	if unread > 0 {
		return
	}
	s.gone = true
	s.t.spare.Add(int64(extra))
	delete(s.t.mu.streams, s.num)
	if s.released {
		s.t.endedLocked(int(s.num >> 1 & 1))
	}
}
