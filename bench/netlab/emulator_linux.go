package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch         = 64                                 // packets per system call
	frameHeader   = 14                                 // of Ethernet, in front of an IP packet
	controlBytes  = 64                                 // room for the time stamp of a packet
	slabSlots     = 256                                // slots that are allocated at once
	controlOffset = unix.SizeofCmsghdr                 // of the time stamp
	realClock     = unix.CLOCK_REALTIME                // of the kernel's time stamps
	ownClock      = unix.CLOCK_MONOTONIC               // of everything else
	maxWait       = int64(time.Hour / time.Nanosecond) // of an idle emulator
)

// emulate is the main function of the emulator: one goroutine on one thread owns everything. It returns when the other end of
// the control socket is closed.
func emulate() error {
	runtime.LockOSThread()
	// Without this the kernel may wake the thread up to 50 microseconds late.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("netlab: emulator: timer slack: %w", err)
	}
	e := &emulator{}
	for {
		e.depart()
		done, err := e.wait()
		if done || err != nil {
			return err
		}
	}
}

type emulator struct {
	ways    [2]*way // by direction; nil before the start
	nat     nat
	message [maxMessageBytes]byte
}

// depart sends all that is due.
func (e *emulator) depart() {
	for _, w := range e.ways {
		if w != nil {
			w.depart()
		}
	}
}

// wait sleeps until a packet or a request has come, or the next packet is due, and takes what has come, but no more than a
// batch of packets per direction. It reports true when there will be no further requests.
func (e *emulator) wait() (done bool, err error) {
	fds := [3]unix.PollFd{{Fd: controlDescriptor, Events: unix.POLLIN}}
	n := 1
	timeout := maxWait
	now := clock(ownClock)
	for _, w := range e.ways {
		if w == nil {
			continue
		}
		fds[n] = unix.PollFd{Fd: int32(w.from), Events: unix.POLLIN}
		n++
		if len(w.moving) > 0 {
			timeout = min(timeout, max(0, w.moving[0].at-now))
		}
	}
	t := unix.NsecToTimespec(timeout)
	switch _, err := unix.Ppoll(fds[:n], &t, nil); {
	case errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("netlab: emulator: poll: %w", err)
	}
	for i, w := range e.ways {
		if w == nil || fds[1+i].Revents == 0 {
			continue
		}
		if err := w.receive(e.translate(Direction(i))); err != nil {
			return false, err
		}
	}
	if fds[0].Revents != 0 {
		return e.answer()
	}
	return false, nil
}

func (e *emulator) translate(d Direction) func([]byte) bool {
	switch {
	case !e.nat.on:
		return nil
	case d == LeftToRight:
		return e.nat.out
	}
	return e.nat.in
}

// answer takes one request.
func (e *emulator) answer() (done bool, err error) {
	n, err := unix.Read(controlDescriptor, e.message[:])
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil || n == 0 {
		return true, nil // the process that we are the emulator of has closed the lab, or has ended
	}
	var (
		q request
		r response
	)
	if err := json.Unmarshal(e.message[:n], &q); err != nil {
		r.Error = err.Error()
	} else if err := e.apply(q); err != nil {
		r.Error = err.Error()
	}
	for i, w := range e.ways {
		if w != nil {
			r.Stats[i] = w.snapshot()
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		return false, fmt.Errorf("netlab: emulator: %w", err)
	}
	_, err = unix.Write(controlDescriptor, b)
	return err != nil, nil
}

func (e *emulator) apply(q request) error {
	switch {
	case q.Start != nil:
		for i, fds := range [2][2]int{{leftDescriptor, rightDescriptor}, {rightDescriptor, leftDescriptor}} {
			e.ways[i] = newWay(fds[0], fds[1], Direction(i), q.Start)
		}
	case e.ways[0] == nil:
		return errors.New("not started")
	case q.Link != nil:
		e.ways[q.Link.Direction].model.link = q.Link.Link
	case q.Rebind != nil:
		e.nat.rebind(q.Rebind.Rebinding, q.Rebind.Address)
	}
	return nil
}

// A way is one direction: packets are received from one socket and sent to the other.
type way struct {
	from, to int // sockets
	model    *model
	seq      uint64
	moving   departures // packets that were received and not sent; at most maxPackets

	// Packets are in slots. The ones of rx are for the next packets to be received, those of moving are in use, and free has
	// all others. Slots are allocated when they are needed the first time, and stay.
	slots      [][]byte // of full length
	lengths    []int    // of the frame in each
	free       []int
	maxPackets int
	frameBytes int

	rx, tx    vector
	rxSlots   [batch]int
	txFlights [batch]departure
}

func newWay(from, to int, d Direction, s *start) *way {
	w := &way{
		from: from, to: to, model: newModel(s.Seed, d, s.MaxPackets),
		maxPackets: s.MaxPackets, frameBytes: frameHeader + s.MTU,
	}
	w.model.link = s.Links[d]
	for i := range w.rxSlots {
		w.rxSlots[i], _ = w.slot()
		w.rx.buffer(i, w.slots[w.rxSlots[i]])
		w.rx.control(i)
	}
	return w
}

// slot takes a slot. It reports false when all are in use.
func (w *way) slot() (int, bool) {
	if len(w.free) == 0 {
		count := min(slabSlots, w.maxPackets+batch-len(w.slots))
		if count <= 0 {
			return 0, false
		}
		slab := make([]byte, count*w.frameBytes)
		for i := range count {
			w.free = append(w.free, len(w.slots))
			w.slots = append(w.slots, slab[i*w.frameBytes:(i+1)*w.frameBytes:(i+1)*w.frameBytes])
			w.lengths = append(w.lengths, 0)
		}
	}
	last := len(w.free) - 1
	s := w.free[last]
	w.free = w.free[:last]
	return s, true
}

// receive takes one batch of packets. translate changes a packet in place or reports that it has to be dropped; nil does
// neither.
func (w *way) receive(translate func([]byte) bool) error {
	n, errno := w.rx.receive(w.from)
	if errno != 0 {
		if errno == unix.EAGAIN || errno == unix.EINTR || errno == unix.ENETDOWN {
			return nil
		}
		return fmt.Errorf("netlab: emulator: receive: %w", errno)
	}
	now := clock(ownClock)
	offset := clock(realClock) - now
	for i := range n {
		slot, length := w.rxSlots[i], w.rx.length(i)
		if length <= frameHeader || length > w.frameBytes {
			continue // nothing that an IPv4 host sends over this device
		}
		if translate != nil && !translate(w.slots[slot][frameHeader:length]) {
			w.model.stats.Dropped.NAT++
			continue
		}
		arrived := now
		if stamp, ok := w.rx.stamp(i); ok {
			arrived = min(now, max(stamp-offset, now-int64(time.Second)))
		}
		f := w.model.arrive(arrived, length-frameHeader)
		if f.copies == 0 {
			continue
		}
		fresh, ok := w.slot()
		if !ok {
			w.model.stats.Dropped.Overflow++
			continue
		}
		w.rxSlots[i] = fresh
		w.rx.buffer(i, w.slots[fresh])
		w.move(slot, length, f.depart)
		if f.copies == 2 {
			if twin, ok := w.slot(); ok {
				copy(w.slots[twin], w.slots[slot][:length])
				w.move(twin, length, f.depart)
			}
		}
	}
	w.rx.reset(n)
	return nil
}

func (w *way) move(slot, length int, at int64) {
	w.lengths[slot] = length
	w.moving.push(departure{at, w.seq, slot})
	w.seq++
}

// depart sends the packets that are due.
func (w *way) depart() {
	for {
		now := clock(ownClock)
		n := 0
		for n < batch && len(w.moving) > 0 && w.moving[0].at <= now {
			d := w.moving.pop()
			w.txFlights[n] = d
			w.tx.buffer(n, w.slots[d.slot][:w.lengths[d.slot]])
			n++
		}
		if n == 0 {
			return
		}
		sent := 0
		for sent < n {
			count, errno := w.tx.send(w.to, sent, n)
			if errno != 0 {
				if errno == unix.EINTR {
					continue
				}
				w.model.stats.Dropped.Kernel++ // of the first one
				w.free = append(w.free, w.txFlights[sent].slot)
				sent++
				continue
			}
			now := clock(ownClock)
			for _, d := range w.txFlights[sent : sent+count] {
				w.model.departed(now, d.at, w.lengths[d.slot]-frameHeader)
				w.free = append(w.free, d.slot)
			}
			sent += count
		}
		if n < batch {
			return
		}
	}
}

func (w *way) snapshot() Stats {
	if s, err := unix.GetsockoptTpacketStats(w.from, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		w.model.stats.Dropped.Kernel += uint64(s.Drops) // since it was asked the last time
	}
	s := w.model.snapshot(clock(ownClock))
	s.HeldPackets = len(w.moving)
	return s
}

func clock(id int32) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		panic(fmt.Sprintf("netlab: clock %d: %v", id, err)) // every Linux has both clocks
	}
	return t.Nano()
}

// A vector is the argument of recvmmsg(2) and sendmmsg(2).
type vector struct {
	headers  [batch]messageHeader
	iovecs   [batch]unix.Iovec
	controls [batch][controlBytes]byte
}

// messageHeader is struct mmsghdr.
type messageHeader struct {
	unix.Msghdr
	length uint32
}

// buffer makes b the buffer of message i, until the next call for i.
func (v *vector) buffer(i int, b []byte) {
	v.iovecs[i].Base = &b[0]
	v.iovecs[i].SetLen(len(b))
	v.headers[i].Iov = &v.iovecs[i]
	v.headers[i].SetIovlen(1)
}

func (v *vector) control(i int) {
	v.headers[i].Control = &v.controls[i][0]
	v.headers[i].SetControllen(controlBytes)
}

// reset makes the first n messages ready to be received again.
func (v *vector) reset(n int) {
	for i := range n {
		v.headers[i].SetControllen(controlBytes)
	}
}

func (v *vector) length(i int) int { return int(v.headers[i].length) }

// stamp returns the kernel's time of arrival of message i, in nanoseconds.
func (v *vector) stamp(i int) (int64, bool) {
	b := v.controls[i][:]
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	if uintptr(v.headers[i].Controllen) < controlOffset+unsafe.Sizeof(unix.Timespec{}) || h.Level != unix.SOL_SOCKET || h.Type != unix.SO_TIMESTAMPNS {
		return 0, false
	}
	t := (*unix.Timespec)(unsafe.Pointer(&b[controlOffset]))
	return t.Nano(), true
}

func (v *vector) receive(fd int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.headers[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// send sends the messages from first to before end, or at least the first of them.
func (v *vector) send(fd, first, end int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.headers[first])), uintptr(end-first), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
