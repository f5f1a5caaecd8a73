package streams

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A tcpSocket is the TCP connection under TLS. While TLS shakes hands it is that connection; afterwards it collects what TLS
// writes, so that all records of a batch leave in one system call, and the goroutine that encrypts never blocks.
type tcpSocket struct {
	net.Conn
	direct *directWriter // nil where the system has no write that does not block

	bytesSent, bytesReceived atomic.Uint64
	sends, receives          atomic.Uint64 // system calls that moved something
	lastReceived             atomic.Int64  // nanoseconds after start
	start                    time.Time

	collecting atomic.Bool
	mu         struct {
		sync.Mutex
		buf []byte // encrypted and not sent
	}
	sending []byte // taken from buf; owned by whoever writes, as the rest of it is
	rest    []byte // of sending
}

const (
	// tcpBatchBytes is how much is encrypted and sent at once, and so what an urgent frame may have to wait for.
	tcpBatchBytes = 64 << 10
	// maxCollected bounds what TLS may write besides of batches: answers to key updates.
	maxCollected = 4 * tcpBatchBytes
	// keptBytes is how much memory for batches an idle connection keeps, twice; more of it comes from a pool.
	keptBytes = 2 << 10
	// batchCap holds a batch with the heads of its last frame, and with what TLS adds.
	batchCap = tcpBatchBytes + 8<<10
)

var batches = sync.Pool{New: func() any { return new([batchCap]byte) }}

// withRoom returns b with room for n bytes more.
func withRoom(b []byte, n int) []byte {
	need := len(b) + n
	if need <= cap(b) || need <= keptBytes || need > batchCap {
		return b // append grows it, if it must
	}
	return append(batches.Get().(*[batchCap]byte)[:0], b...)
}

// giveBack returns what an idle connection keeps of the memory that b, which is used no more, has taken.
func giveBack(b []byte) []byte {
	switch {
	case cap(b) == batchCap:
		batches.Put((*[batchCap]byte)(b[:batchCap]))
		return nil
	case cap(b) > keptBytes:
		return nil
	}
	return b[:0]
}

var errCollected = errors.New("streams: the peer makes TLS send more than it takes")

func newTCPSocket(c net.Conn) *tcpSocket {
	s := &tcpSocket{Conn: c, start: time.Now()}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true) // the default of package net
		s.direct = newDirectWriter(tcp)
		limitUnsent(tcp)
	}
	return s
}

func (s *tcpSocket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 {
		s.bytesReceived.Add(uint64(n))
		s.receives.Add(1)
		s.lastReceived.Store(int64(time.Since(s.start)))
	}
	return n, err
}

// silence returns for how long nothing has been received.
func (s *tcpSocket) silence() time.Duration {
	return time.Since(s.start) - time.Duration(s.lastReceived.Load())
}

// Write sends p, or takes note of it once collect has been called.
func (s *tcpSocket) Write(p []byte) (int, error) {
	if !s.collecting.Load() {
		return s.send(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.buf)+len(p) > maxCollected {
		return 0, errCollected
	}
	s.mu.buf = append(withRoom(s.mu.buf, len(p)), p...)
	return len(p), nil
}

// SetWriteDeadline does nothing, because TLS sets one for its last record; the deadline of what is sent is ours.
func (s *tcpSocket) SetWriteDeadline(t time.Time) error {
	if s.collecting.Load() {
		return nil
	}
	return s.Conn.SetWriteDeadline(t)
}

// collect is called when TLS has shaken hands.
func (s *tcpSocket) collect() { s.collecting.Store(true) }

// trySend sends what has been collected as far as that does not block, and reports whether all of it is gone.
func (s *tcpSocket) trySend() (bool, error) {
	for s.fill() {
		if s.direct == nil {
			return false, nil
		}
		n, err := s.direct.write(s.rest)
		if n > 0 {
			s.count(n)
			s.rest = s.rest[n:]
		}
		if err != nil || len(s.rest) > 0 {
			return false, err
		}
	}
	return true, nil
}

// sendAll sends what has been collected. It blocks while the peer does not take it.
func (s *tcpSocket) sendAll() error {
	for s.fill() {
		n, err := s.send(s.rest)
		s.rest = s.rest[n:]
		if err != nil {
			return err
		}
	}
	return nil
}

// fill makes rest what is to be sent next, and reports whether there is anything.
func (s *tcpSocket) fill() bool {
	if len(s.rest) > 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sending, s.mu.buf = s.mu.buf, s.sending[:0]
	s.rest = s.sending
	return len(s.rest) > 0
}

// idle gives memory back that a connection with nothing to send does not need.
func (s *tcpSocket) idle() {
	s.sending, s.rest = giveBack(s.sending), nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.buf) == 0 {
		s.mu.buf = giveBack(s.mu.buf)
	}
}

func (s *tcpSocket) send(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	s.count(n)
	return n, err
}

func (s *tcpSocket) count(n int) {
	s.bytesSent.Add(uint64(n))
	s.sends.Add(1)
}
