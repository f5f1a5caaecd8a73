//go:build amd64 || arm64

package shm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// lookAt is how many leases are looked at when one is granted: more than one, so that they are found sooner than made.
	lookAt = 4
	// maxUnanswered bounds the segments that a peer has been sent and not answered, and so what one that does not read
	// keeps from being freed.
	maxUnanswered = 16
	// maxWaiting bounds the messages that wait for a peer that does not read.
	maxWaiting = 4 * maxSegmentCount
)

// A Link is one peer process that memory is shared with: we grant it leases on our blocks, and open those it grants us. It
// is safe for concurrent use.
type Link struct {
	arena    *Arena
	config   LinkConfig
	conn     *net.UnixConn // messages about segments; its end is the end of the peer
	uid, pid int
	tables   *tables

	mu struct {
		sync.Mutex
		err      error                // why the link has ended
		passed   map[uint64]*passed   // our segments that the peer has been sent, by number
		pending  int                  // of them, those that it has not answered
		imports  map[uint64]*imported // segments of the peer, by its number
		bytes    int64                // sum of imports
		waiting  []message            // to be written
		writing  bool                 // a goroutine writes them, or will start when the link has
		grants   []grant              // by slot, as far as slots have been used
		active   []int                // slots with a lease, in no order
		unused   []int                // of grants, those without
		next     int                  // the place in active to look at next
		leased   int64                // bytes of the blocks of active
		sequence uint64               // of the lease granted last
	}
	done chan struct{} // closed when the link has ended
	wg   sync.WaitGroup
}

// A grant is a lease of the peer.
type grant struct {
	sequence uint64
	block    *Block // nil in an unused slot
	place    int    // in active
}

// passed is a segment of ours on its way to the peer.
type passed struct {
	answered chan struct{} // closed when the peer has mapped or refused it
	mapped   bool
	refused  bool
}

// newLink starts a link over a connection whose peer has proved itself. It takes ownership of conn and t.
// ready, unless it is nil, is called before the link answers the peer, which can send no handles until then.
func newLink(a *Arena, config LinkConfig, conn *net.UnixConn, cred *unix.Ucred, t *tables, ready func(*Link)) (*Link, error) {
	l := &Link{
		arena: a, config: config, conn: conn, uid: int(cred.Uid), pid: int(cred.Pid), tables: t,
		done: make(chan struct{}),
	}
	l.mu.passed = map[uint64]*passed{}
	l.mu.imports = map[uint64]*imported{}
	l.mu.writing = true
	// Sequences of different links differ, so that a handle of another link is most likely refused.
	l.mu.sequence = 1 + rand.Uint64()>>2
	if err := a.register(l); err != nil {
		t.unref()
		conn.Close()
		return nil, err
	}
	if ready != nil {
		ready(l)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err != nil { // ready has closed it, or the arena
		return nil, l.mu.err
	}
	l.wg.Go(l.read)  // ends when conn closes; Close waits
	l.wg.Go(l.write) // ends when nothing waits, or with the link; Close waits
	return l, nil
}

// PeerUID returns the user of the peer, as the kernel says.
func (l *Link) PeerUID() int { return l.uid }

// PeerPID returns the process of the peer as the kernel says, 0 if it is not visible from here. Numbers are used again.
func (l *Link) PeerPID() int { return l.pid }

// Done returns a channel that is closed when the link has ended.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err returns why the link has ended, nil before: [ErrClosed], [ErrPeerGone], [ErrPeerViolation] or a failure of the socket.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.err
}

// Stats counts what there is at the moment.
func (l *Link) Stats() LinkStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LinkStats{Leases: len(l.mu.active), LeasedBytes: l.mu.leased, PeerSegments: len(l.mu.passed), Imports: len(l.mu.imports)}
}

// Close ends the link and all leases of the peer. Leases of ours stay readable until they are released, but
// [Lease.Valid] tells that their content may change. Close returns after the last goroutine of the link; calls after the
// first wait as well.
func (l *Link) Close() {
	l.end(ErrClosed)
	l.wg.Wait()
}

// end is the only place where a link ends. Calls after the first do nothing.
func (l *Link) end(err error) {
	l.mu.Lock()
	if l.mu.err != nil {
		l.mu.Unlock()
		return
	}
	l.mu.err = err
	var blocks []*Block
	for _, slot := range l.mu.active {
		// Before the block can be used again, so that a peer that lives on knows that what it reads may be something else.
		g := &l.mu.grants[slot]
		l.tables.grants[slot].Store(revoked(g.sequence))
		blocks = append(blocks, g.block)
	}
	imports, waiting := l.mu.imports, l.mu.waiting
	l.mu.active, l.mu.unused, l.mu.grants, l.mu.leased = nil, nil, nil, 0
	l.mu.imports, l.mu.passed, l.mu.waiting = nil, nil, nil
	l.mu.Unlock()

	close(l.done)
	l.conn.Close()
	l.arena.unregister(l)
	for _, b := range blocks {
		b.unref()
	}
	for _, i := range imports {
		i.unref()
	}
	for _, m := range waiting {
		m.done()
	}
	l.tables.unref()
}

// TryLease grants the peer a lease on n bytes of a block from off on, which the caller holds, and returns the handle to send.
// The lease ends when the peer releases it or is gone, or with [Link.Cancel] or Close.
//
// It never blocks. It returns false when the peer has not mapped the segment of the block yet, which is then under way;
// when it has as many leases or bytes as it may; when the block is not sealed yet; or when the link has ended.
// Out of range, off and n panic like those of a slice.
func (l *Link) TryLease(b *Block, off, n int) (Handle, bool) {
	h, _, err := l.lease(b, off, n)
	return h, err == nil
}

// Lease is TryLease, except that it waits until the peer has mapped the segment.
//
// Errors: [ErrExhausted], [ErrRefused], [ErrUnsealed], the error of ctx, or that of the link when it has ended.
func (l *Link) Lease(ctx context.Context, b *Block, off, n int) (Handle, error) {
	for {
		h, p, err := l.lease(b, off, n)
		if p == nil {
			return h, err
		}
		select {
		case <-p.answered:
		case <-l.done:
			return Handle{}, l.Err()
		case <-ctx.Done():
			return Handle{}, context.Cause(ctx)
		}
	}
}

var errOnItsWay = errors.New("shm: the peer has not mapped the segment yet")

// lease returns the segment that the peer has still to map, if that is what is missing.
func (l *Link) lease(b *Block, off, n int) (Handle, *passed, error) {
	_ = b.bytes[off:][:n]
	seg := b.chunk.seg
	if b.arena != l.arena {
		panic("shm: a block of another arena")
	}
	if seg.kind == sealable && !b.sealed.Load() {
		return Handle{}, nil, ErrUnsealed
	}
	l.mu.Lock()
	if err := l.mu.err; err != nil {
		l.mu.Unlock()
		return Handle{}, nil, err
	}
	p := l.mu.passed[seg.number]
	if p == nil || !p.mapped {
		p, err := l.passLocked(seg, p)
		l.mu.Unlock()
		return Handle{}, p, err
	}
	bytes := b.chunk.size
	var found [lookAt]*Block
	over := l.reclaimLocked(found[:0], lookAt)
	if l.fullLocked(bytes) {
		over = l.reclaimLocked(over, len(l.mu.active))
	}
	if l.fullLocked(bytes) {
		l.mu.Unlock()
		unrefAll(over)
		return Handle{}, nil, ErrExhausted
	}
	slot := len(l.mu.grants)
	if n := len(l.mu.unused); n > 0 {
		slot, l.mu.unused = l.mu.unused[n-1], l.mu.unused[:n-1]
	} else {
		l.mu.grants = append(l.mu.grants, grant{})
	}
	l.mu.sequence++
	l.mu.grants[slot] = grant{sequence: l.mu.sequence, block: b, place: len(l.mu.active)}
	l.mu.active = append(l.mu.active, slot)
	l.mu.leased += bytes
	b.users.Add(1)
	l.tables.grants[slot].Store(granted(l.mu.sequence))
	h := Handle{Segment: seg.number, Slot: uint16(slot), Sequence: l.mu.sequence, Offset: uint64(b.chunk.off) + uint64(off), Bytes: uint64(n)}
	l.mu.Unlock()
	unrefAll(over)
	return h, nil, nil
}

// fullLocked reports whether there is no slot for another lease, or the peer would have too many bytes.
func (l *Link) fullLocked(bytes int64) bool {
	return len(l.mu.active) >= l.config.MaxLeases || l.mu.leased+bytes > l.config.MaxLeasedBytes
}

// passLocked starts passing a segment to the peer, unless it has been.
func (l *Link) passLocked(seg *segment, p *passed) (*passed, error) {
	switch {
	case p != nil && p.refused:
		return nil, ErrRefused
	case p != nil:
		return p, errOnItsWay
	case l.mu.pending >= maxUnanswered:
		return nil, ErrExhausted
	}
	p = &passed{answered: make(chan struct{})}
	l.mu.passed[seg.number] = p
	l.mu.pending++
	seg.users.Add(1) // gone with the message
	l.sendLocked(message{kind: messageSegment, number: seg.number, bytes: uint64(len(seg.mem)), segment: seg})
	return p, errOnItsWay
}

// reclaimLocked looks at up to n leases and adds the blocks of those that have ended to over, for the caller to unref.
func (l *Link) reclaimLocked(over []*Block, n int) []*Block {
	for range min(n, len(l.mu.active)) {
		if l.mu.next >= len(l.mu.active) {
			l.mu.next = 0
		}
		slot := l.mu.active[l.mu.next]
		if l.tables.peerEnds[slot].Load() == ended(l.mu.grants[slot].sequence) {
			over = append(over, l.endLocked(slot))
		} else {
			l.mu.next++
		}
	}
	return over
}

// endLocked makes a slot unused and returns its block.
func (l *Link) endLocked(slot int) *Block {
	g := l.mu.grants[slot]
	last := len(l.mu.active) - 1
	moved := l.mu.active[last]
	l.mu.active[g.place] = moved
	l.mu.grants[moved].place = g.place
	l.mu.active = l.mu.active[:last]
	l.mu.grants[slot] = grant{}
	l.mu.unused = append(l.mu.unused, slot)
	l.mu.leased -= g.block.chunk.size
	return g.block
}

// sweep looks at all leases.
func (l *Link) sweep() {
	l.mu.Lock()
	over := l.reclaimLocked(nil, len(l.mu.active))
	l.mu.Unlock()
	unrefAll(over)
}

func unrefAll(blocks []*Block) {
	for _, b := range blocks {
		b.unref()
	}
}

// Cancel takes a lease back unless the peer has opened it, and reports whether it did: then the peer cannot open it any
// more. It may be called with any handle of this link, also when it is unknown what became of it on the way.
func (l *Link) Cancel(h Handle) bool {
	l.mu.Lock()
	slot := int(h.Slot)
	if slot >= len(l.mu.grants) || l.mu.grants[slot].block == nil || l.mu.grants[slot].sequence != h.Sequence {
		l.mu.Unlock()
		return false
	}
	theirs, ours := &l.tables.peerEnds[slot], &l.tables.grants[slot]
	over := theirs.Load() == ended(h.Sequence)
	cancelled := false
	if theirs.Load()>>1 != h.Sequence {
		// Not Store: the race detector's lets the load overtake it, which sync/atomic's own does not.
		ours.Swap(revoked(h.Sequence))
		if theirs.Load()>>1 == h.Sequence { // at the same moment
			ours.Store(granted(h.Sequence))
		} else {
			cancelled = true
		}
	}
	var b *Block
	if over || cancelled {
		b = l.endLocked(slot)
	}
	l.mu.Unlock()
	if b != nil {
		b.unref()
	}
	return cancelled
}

// dropSegment tells the peer that a segment is not used any more.
func (l *Link) dropSegment(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.mu.passed[s.number]
	if p == nil {
		return
	}
	delete(l.mu.passed, s.number)
	if !p.mapped && !p.refused {
		l.mu.pending--
		p.refused = true
		close(p.answered) // nobody has the block to lease any more
	}
	for i, m := range l.mu.waiting {
		if m.segment == s { // not sent yet
			m.done()
			l.mu.waiting = append(l.mu.waiting[:i], l.mu.waiting[i+1:]...)
			return
		}
	}
	l.sendLocked(message{kind: messageDrop, number: s.number})
}

// sendLocked has a message written.
func (l *Link) sendLocked(m message) {
	if len(l.mu.waiting) >= maxWaiting {
		m.done()
		l.conn.Close() // the reader ends the link
		return
	}
	l.mu.waiting = append(l.mu.waiting, m)
	if !l.mu.writing {
		l.mu.writing = true
		l.wg.Go(l.write) // ends when nothing waits, or with the link; Close waits
	}
}

// write sends what waits.
func (l *Link) write() {
	for {
		l.mu.Lock()
		if len(l.mu.waiting) == 0 { // as after the end
			l.mu.writing = false
			l.mu.waiting = nil
			l.mu.Unlock()
			return
		}
		m := l.mu.waiting[0]
		l.mu.waiting = l.mu.waiting[1:]
		l.mu.Unlock()
		err := m.send(l.conn)
		m.done()
		if err != nil {
			l.end(socketError(err))
			return
		}
	}
}

// read obeys the messages of the peer.
func (l *Link) read() {
	for {
		m, fd, err := receiveMessage(l.conn)
		if err == nil {
			err = l.obey(m, fd)
		}
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			l.end(socketError(err))
			return
		}
	}
}

// obey does what a message says. It borrows fd, -1 when the message has none.
func (l *Link) obey(m message, fd int) error {
	if (m.kind == messageSegment) != (fd >= 0) {
		return fmt.Errorf("%w: message %d with descriptor %d", ErrPeerViolation, m.kind, fd)
	}
	switch m.kind {
	case messageSegment:
		return l.importSegment(m, fd)
	case messageMapped, messageRefused:
		l.mu.Lock()
		defer l.mu.Unlock()
		if p := l.mu.passed[m.number]; p != nil && !p.mapped && !p.refused { // nil when it was dropped meanwhile
			l.mu.pending--
			p.mapped, p.refused = m.kind == messageMapped, m.kind == messageRefused
			close(p.answered)
		}
	case messageDrop:
		l.mu.Lock()
		i := l.mu.imports[m.number]
		delete(l.mu.imports, m.number)
		if i != nil {
			l.mu.bytes -= int64(len(i.mem))
		}
		l.mu.Unlock()
		if i != nil { // nil when we refused it
			i.unref()
		}
	default:
		return fmt.Errorf("%w: message %d", ErrPeerViolation, m.kind)
	}
	return nil
}

// importSegment maps a segment of the peer and answers.
func (l *Link) importSegment(m message, fd int) error {
	if m.number > maxSegmentNumber {
		return fmt.Errorf("%w: segment number %d exceeds %d", ErrPeerViolation, m.number, uint64(maxSegmentNumber))
	}
	l.mu.Lock()
	_, known := l.mu.imports[m.number]
	full := len(l.mu.imports) >= maxImports || m.bytes > uint64(maxImportBytes-l.mu.bytes)
	l.mu.Unlock()
	if known {
		return fmt.Errorf("%w: segment %d twice", ErrPeerViolation, m.number)
	}
	answer := message{kind: messageMapped, number: m.number}
	var i *imported
	if full {
		answer.kind = messageRefused
	} else {
		var err error
		i, err = l.arena.imports.add(fd, int64(m.bytes))
		switch {
		case errors.Is(err, ErrPeerViolation):
			return err
		case err != nil: // no memory for it here
			answer.kind = messageRefused
		}
	}
	l.mu.Lock()
	ended := l.mu.err != nil
	if !ended {
		if i != nil {
			l.mu.imports[m.number] = i
			l.mu.bytes += int64(len(i.mem))
		}
		l.sendLocked(answer)
	}
	l.mu.Unlock()
	if ended && i != nil {
		i.unref()
	}
	return nil
}

// socketError tells the end of the peer from failures.
func socketError(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("%w: it does not read", ErrPeerViolation) // or the link has ended anyway
	}
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return ErrPeerGone
	}
	return err
}
