package streams

import (
	"crypto/tls"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// kickLocked writes what is queued, on the caller's goroutine as far as the socket takes it, unless somebody is at it already.
// What borrowed has been lent by a writer that does not wait is copied if it cannot be sent. It releases the mutex.
func (t *tcpTransport) kickLocked(borrowed *tcpStream) {
	if t.mu.busy || !t.workLocked() {
		if borrowed != nil {
			borrowed.keepLocked()
		}
		t.mu.Unlock()
		return
	}
	t.mu.busy = true
	t.buildLocked()
	if borrowed != nil {
		borrowed.keepLocked()
	}
	t.mu.Unlock()
	gone, err := t.encrypt(), error(nil)
	if gone {
		gone, err = t.sock.trySend()
	}
	if err != nil {
		t.end(&ConnError{Err: err}, false)
	}
	if gone && t.rest() {
		return
	}
	t.wake <- struct{}{} // never blocks: only who is busy sends
}

// wakeWriter has what is queued written by the goroutine that does nothing else.
func (t *tcpTransport) wakeWriter() {
	t.mu.Lock()
	wake := !t.mu.busy && t.workLocked()
	if wake {
		t.mu.busy = true
	}
	t.mu.Unlock()
	if wake {
		t.wake <- struct{}{} // never blocks: only who is busy sends
	}
}

// rest ends the writing when nothing is left to do, and reports whether that is so.
func (t *tcpTransport) rest() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.err != nil || t.workLocked() {
		return false
	}
	t.batch = giveBack(t.batch)
	t.sock.idle()
	t.mu.busy = false
	return true
}

func (t *tcpTransport) workLocked() bool {
	return t.mu.waiting > 0 || len(t.mu.dirty) > 0 || t.mu.due
}

// writeLoop writes what others leave to it, as what they write would block, and ends the connection.
func (t *tcpTransport) writeLoop() {
	defer close(t.released)
	for range t.wake {
		for {
			if err := t.sock.sendAll(); err != nil {
				t.end(&ConnError{Err: err}, false)
			}
			if t.rest() {
				break
			}
			if t.cause() != nil {
				t.leave()
				return
			}
			t.mu.Lock()
			t.buildLocked()
			t.mu.Unlock()
			t.encrypt()
		}
	}
}

// encrypt hands the batch to TLS, which hands it to the socket.
func (t *tcpTransport) encrypt() bool {
	if len(t.batch) == 0 {
		return true
	}
	_, err := t.secure.Write(t.batch)
	t.batch = t.batch[:0]
	if err != nil {
		t.end(&ConnError{Err: err}, false)
	}
	return err == nil
}

// leave tells the peer why the connection has ended, if it is to know, and closes the socket. A socket that is closed with
// something unread in it takes back what has been sent (RFC 2525, section 2.17), so that the peer's end of the connection is waited
// for, for a short time.
func (t *tcpTransport) leave() {
	t.mu.Lock()
	reason, tell := t.mu.err, t.mu.tell
	t.mu.Unlock()
	if tell {
		t.batch = appendTCPFrame(t.batch[:0], tcpFrame{typ: tcpClose, value: reason.Code, text: []byte(reason.Text)})
		if t.encrypt() && t.farewell() == nil {
			<-t.readDone
		}
	}
	t.batch = giveBack(t.batch)
	t.sock.idle()
	_ = t.sock.Conn.Close() // nothing is left to fail
	<-t.readDone
	if t.onLeave != nil {
		t.onLeave()
	}
}

// farewell sends what has been encrypted and ends this side's direction of the connection.
func (t *tcpTransport) farewell() error {
	if c, ok := t.secure.(*tls.Conn); ok {
		_ = c.CloseWrite() // only collects; what matters is whether it is sent
	}
	if err := t.sock.sendAll(); err != nil {
		return err
	}
	if half, ok := t.sock.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// buildLocked makes batch the frames that are sent next: those of the connection, then those about streams, then data in
// order of urgency, in turns among streams of one urgency.
func (t *tcpTransport) buildLocked() {
	b := t.batch[:0]
	if t.mu.due {
		b = t.appendDueLocked(b)
	}
	for len(t.mu.dirty) > 0 && len(b) <= tcpBatchBytes/2 {
		s := t.mu.dirty[0]
		t.mu.dirty = t.mu.dirty[1:]
		b = s.appendNewsLocked(b)
	}
	if len(t.mu.dirty) == 0 {
		t.mu.dirty = nil
	}
	before := len(b)
	for u := 0; u < urgencies && len(b) <= tcpBatchBytes-maxTCPData-maxTCPDataHead; {
		s := t.mu.ready[u].pop()
		if s == nil {
			u++
			continue
		}
		t.mu.waiting--
		s.out.ready = false
		b = s.appendDataLocked(b)
		s.readyLocked()
	}
	if len(b) > before && !t.mu.pinging && time.Since(t.mu.pinged) >= pingEvery {
		b = t.appendPingLocked(b)
	}
	if t.mu.due { // streams have ended with what was sent
		b = t.appendDueLocked(b)
	}
	t.batch = b
}

// appendDueLocked appends the frames of the connection itself.
func (t *tcpTransport) appendDueLocked(b []byte) []byte {
	t.mu.due = false
	if t.mu.ponging {
		t.mu.ponging = false
		b = appendTCPFrame(b, tcpFrame{typ: tcpPong, value: t.mu.pong})
	}
	if t.mu.pingDue {
		t.mu.pingDue = false
		b = t.appendPingLocked(b)
	}
	for kind := range t.mu.opened {
		o := &t.mu.opened[kind]
		if grant := o.ended + t.limits[kind]; grant > o.granted {
			o.granted = grant
			b = appendTCPFrame(b, tcpFrame{typ: byte(tcpMaxStreams + kind), value: grant})
		}
	}
	return b
}

func (t *tcpTransport) appendPingLocked(b []byte) []byte {
	t.mu.nonce++
	t.mu.pinged, t.mu.pinging = time.Now(), true
	return appendTCPFrame(b, tcpFrame{typ: tcpPing, value: t.mu.nonce})
}

// appendNewsLocked appends the frames about the stream other than data.
func (s *tcpStream) appendNewsLocked(b []byte) []byte {
	s.dirty = false
	if s.out.tellReset {
		s.out.tellReset, s.out.over = false, true
		b = appendTCPFrame(b, tcpFrame{typ: tcpReset, stream: s.num, value: s.out.resetCode})
		s.forgetLocked()
	}
	if s.tellStop && !s.recvOver {
		b = appendTCPFrame(b, tcpFrame{typ: tcpStop, stream: s.num, value: s.stopCode})
	}
	if s.tellWindow && !s.recvOver {
		b = appendTCPFrame(b, tcpFrame{typ: tcpMaxData, stream: s.num, value: s.grant()})
	}
	s.tellStop, s.tellWindow = false, false
	return b
}

// appendDataLocked appends one frame of what the stream has to send.
func (s *tcpStream) appendDataLocked(b []byte) []byte {
	n := s.sendableLocked()
	if n < 0 {
		return b
	}
	f := tcpFrame{typ: tcpData, stream: s.num, len: n}
	if s.out.fin && n == s.queuedLocked() {
		f.typ = tcpDataFIN
	}
	b = appendTCPFrame(withRoom(b, n+maxTCPDataHead), f)
	s.out.sent += uint64(n)
	if q := s.out.queue; q != nil {
		m := min(n, len(q.B)-s.out.taken)
		b = append(b, q.B[s.out.taken:s.out.taken+m]...)
		n -= m
		if s.out.taken += m; s.out.taken == len(q.B) {
			s.dropQueueLocked()
		}
	}
	b = append(b, s.out.lent[:n]...)
	if s.out.lent = s.out.lent[n:]; len(s.out.lent) == 0 {
		s.out.lent = nil
		s.out.space.Broadcast()
	}
	if f.typ == tcpDataFIN {
		s.out.over = true
		s.forgetLocked()
	}
	return b
}

// sendableLocked returns how much of what is queued one frame may carry now, -1 when there is nothing to send. A frame that
// carries nothing ends the stream.
func (s *tcpStream) sendableLocked() int {
	if s.out.over || s.out.err != nil {
		return -1
	}
	queued := s.queuedLocked()
	n := int(min(uint64(queued), s.out.limit-s.out.sent, maxTCPData))
	if n == 0 && (queued > 0 || !s.out.fin) {
		return -1
	}
	return n
}

// readyLocked puts the stream in the queue of those that have something to send, if it has.
func (s *tcpStream) readyLocked() {
	if s.out.ready || s.sendableLocked() < 0 {
		return
	}
	s.out.ready = true
	s.t.mu.ready[s.out.urgency].push(s)
	s.t.mu.waiting++
}

// newsLocked puts the stream in the queue of those that have more to say than data.
func (s *tcpStream) newsLocked() {
	if !s.dirty && s.t.mu.err == nil {
		s.dirty = true
		s.t.mu.dirty = append(s.t.mu.dirty, s)
	}
}

// wantsRoomFor reports whether n bytes may be copied to be sent later: no more than the peer's window allows.
func (s *tcpStream) wantsRoomFor(n int) bool {
	return uint64(s.queuedLocked()+n) <= s.out.limit-s.out.sent && s.queuedLocked()+n <= tcpQueueBytes && len(s.out.lent) == 0
}

// tcpQueueBytes is how much of a stream is copied to be sent later; a writer that has more waits.
const tcpQueueBytes = 64 << 10

func (s *tcpStream) queuedLocked() int {
	n := len(s.out.lent)
	if s.out.queue != nil {
		n += len(s.out.queue.B) - s.out.taken
	}
	return n
}

// keepLocked copies what a writer has lent, as it does not wait.
func (s *tcpStream) keepLocked() {
	if len(s.out.lent) == 0 {
		return
	}
	if s.out.queue == nil {
		s.out.queue = wire.NewBuffer(len(s.out.lent))
	}
	s.out.queue.B = append(s.out.queue.B, s.out.lent...)
	s.out.lent = nil
}

func (s *tcpStream) dropQueueLocked() {
	s.out.queue.Release()
	s.out.queue, s.out.taken = nil, 0
}

// dropLocked forgets what has not been sent.
func (s *tcpStream) dropLocked() {
	if s.out.queue != nil {
		s.dropQueueLocked()
	}
	s.out.lent = nil
}
