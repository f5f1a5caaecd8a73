package streams

import (
	"context"
	"sync"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	// writerQueueBytes is how much may wait in a writer before senders block.
	writerQueueBytes = 256 << 10
	// directBytes is the payload size from which copying into the queue costs more than a write of its own.
	directBytes = 32 << 10
)

// A writer sends frames on one stream for any number of goroutines. Whoever finds it idle starts a flush; all
// that is queued while a flush writes leaves together in the next write. There are no timers: a frame that
// finds the writer idle is on its way at once.
type writer struct {
	s      sendStream
	credit *creditGate // bulk streams only
	// busyHint tells whether more frames are likely to follow at once; then a flush lets goroutines that are ready to
	// run go first, so that their frames share the write.
	busyHint func() bool
	tasks    *group // of the connection, which waits for running flushes
	shared   bool   // a lane: nobody's context may end in the middle of a frame
	run      func() // flush, bound once so that starting it does not allocate

	mu struct {
		sync.Mutex
		queue, spare []byte
		flushing     bool          // a flush is running; it ends only with an empty queue
		space        chan struct{} // closed when the queue has been taken; nil while nobody waits
		fin          bool          // no more frames; the flush ends with FIN
		err          error         // set when the stream can no longer be written
	}
}

func newWriter(s sendStream, tasks *group, credit *creditGate, busyHint func() bool) *writer {
	w := &writer{s: s, tasks: tasks, credit: credit, busyHint: busyHint}
	w.run = w.flush
	return w
}

// start runs a flush on a goroutine of its own, which ends when the queue is empty or the stream has ended.
func (w *writer) start() {
	if w.tasks.enter() {
		go w.run()
		if w.busyHint != nil && w.busyHint() {
			// Go runs the goroutine that was started last first. With another one started after it, the flush goes to the
			// end of this processor's queue, behind those whose frames it should carry, where Gosched would put it into the
			// global queue, which is rarely looked at: 10 % more calls at 64 outstanding.
			go nothing()
		}
		return
	}
	w.mu.Lock()
	w.mu.flushing = false
	w.failLocked(ErrClosed)
	w.mu.Unlock()
}

// send queues one frame. It borrows payload until it returns. It blocks while the queue is full, until ctx ends.
func (w *writer) send(ctx context.Context, h wire.FrameHead, payload []byte) error {
	h.Len = len(payload)
	w.mu.Lock()
	for w.mu.err == nil && len(w.mu.queue) > writerQueueBytes {
		if err := w.waitLocked(ctx); err != nil {
			return err
		}
	}
	if err := w.errLocked(); err != nil {
		w.mu.Unlock()
		return err
	}
	if len(payload) >= directBytes && !w.shared {
		return w.sendDirectLocked(ctx, h, payload)
	}
	return w.queueLocked(h, payload)
}

// trySend is send for those who must not wait: it reports false when it would, having sent nothing. It reports
// true when the stream can no longer be written.
func (w *writer) trySend(h wire.FrameHead, payload []byte) bool {
	h.Len = len(payload)
	w.mu.Lock()
	if w.errLocked() != nil {
		w.mu.Unlock()
		return true
	}
	if len(payload) >= directBytes && !w.shared || len(w.mu.queue) > writerQueueBytes {
		w.mu.Unlock()
		return false
	}
	_ = w.queueLocked(h, payload) // its error ends the stream, as above
	return true
}

// queueLocked queues one frame and sees to it that somebody writes it. It releases the mutex.
func (w *writer) queueLocked(h wire.FrameHead, payload []byte) error {
	w.mu.queue = append(wire.AppendFrameHead(w.mu.queue, h), payload...)
	if w.mu.flushing {
		w.mu.Unlock()
		return nil
	}
	w.mu.flushing = true
	if w.busyHint == nil || !w.busyHint() {
		return w.flushNowLocked()
	}
	w.mu.Unlock()
	w.start()
	return nil
}

// flushNowLocked writes the queue on the caller's goroutine if the stream takes it without blocking. It releases
// the mutex.
func (w *writer) flushNowLocked() error {
	if w.credit == nil {
		b := w.mu.queue
		w.mu.queue = w.mu.spare[:0]
		w.mu.spare = nil
		w.mu.Unlock()
		ok, err := w.s.tryWrite(b)
		w.mu.Lock()
		if ok || err != nil {
			w.mu.spare = b[:0]
			if err != nil {
				w.failLocked(err)
			}
			if len(w.mu.queue) == 0 && !w.mu.fin || err != nil {
				w.mu.flushing = false
				w.wakeLocked()
				w.mu.Unlock()
				return err
			}
		} else {
			w.mu.queue = append(b, w.mu.queue...)
		}
	}
	w.mu.Unlock()
	w.start()
	return nil
}

// announce sends what the queue was given at the start, a preface, without waiting for a first frame.
func (w *writer) announce() {
	w.mu.Lock()
	if w.mu.flushing || len(w.mu.queue) == 0 || w.mu.err != nil {
		w.mu.Unlock()
		return
	}
	w.mu.flushing = true
	_ = w.flushNowLocked() // its error ends the stream, which the reader learns
}

// waitLocked releases the mutex, waits for a change of the queue and takes the mutex again. When ctx ends first it
// returns the error with the mutex released.
func (w *writer) waitLocked(ctx context.Context) error {
	if w.mu.space == nil {
		w.mu.space = make(chan struct{})
	}
	space := w.mu.space
	w.mu.Unlock()
	select {
	case <-space:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.mu.Lock()
	return nil
}

func (w *writer) wakeLocked() {
	if w.mu.space != nil {
		close(w.mu.space)
		w.mu.space = nil
	}
}

func (w *writer) errLocked() error {
	if w.mu.err == nil && w.mu.fin {
		return ErrEnded
	}
	return w.mu.err
}

func (w *writer) failLocked(err error) {
	if w.mu.err == nil {
		w.mu.err = err
	}
	w.mu.queue = nil
	w.wakeLocked()
}

// flush writes until nothing is queued.
func (w *writer) flush() {
	defer w.tasks.leave()
	w.mu.Lock()
	for len(w.mu.queue) > 0 && w.mu.err == nil {
		b := w.mu.queue
		w.mu.queue = w.mu.spare[:0]
		w.mu.spare = nil
		w.wakeLocked()
		w.mu.Unlock()
		err := w.write(b)
		w.mu.Lock()
		if cap(b) <= 2*writerQueueBytes {
			w.mu.spare = b[:0]
		}
		if err != nil {
			w.failLocked(err)
		}
	}
	w.mu.flushing = false
	w.wakeLocked()
	fin := w.mu.fin && w.mu.err == nil
	w.mu.Unlock()
	if fin {
		_ = w.s.closeWrite() // fails only when the stream was reset, which the reader learns
	}
}

// sendDirectLocked writes a large frame without copying it, after everything queued before it. It releases the
// mutex. Write blocks only as long as the stream lives, and the stream ends with the call's context.
func (w *writer) sendDirectLocked(ctx context.Context, h wire.FrameHead, payload []byte) error {
	for w.mu.flushing && w.mu.err == nil {
		if err := w.waitLocked(ctx); err != nil {
			return err
		}
	}
	if err := w.errLocked(); err != nil {
		w.mu.Unlock()
		return err
	}
	w.mu.flushing = true
	b := wire.AppendFrameHead(w.mu.queue, h) // behind the preface, on a new stream
	w.mu.queue = nil
	w.mu.Unlock()
	err := w.write(b)
	if err == nil {
		err = w.write(payload)
	}
	w.mu.Lock()
	if err != nil {
		w.failLocked(err)
	}
	w.mu.Unlock()
	w.start() // for what others queued meanwhile; it ends flushing
	return err
}

// write sends b, in pieces as large as the receiver's credit allows.
func (w *writer) write(b []byte) error {
	if w.credit == nil {
		_, err := w.s.Write(b)
		return err
	}
	for len(b) > 0 {
		n, err := w.credit.take(len(b))
		if err != nil {
			return err
		}
		if _, err := w.s.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// finish sends FIN after everything queued. Later sends fail with [ErrEnded].
func (w *writer) finish() {
	w.mu.Lock()
	if w.mu.fin || w.mu.err != nil {
		w.mu.Unlock()
		return
	}
	w.mu.fin = true
	flushing := w.mu.flushing
	w.mu.Unlock()
	if !flushing {
		_ = w.s.closeWrite() // fails only when the stream was reset, which the reader learns
	}
}

// fail makes later sends fail with err.
func (w *writer) fail(err error) {
	w.mu.Lock()
	w.failLocked(err)
	w.mu.Unlock()
	if w.credit != nil {
		w.credit.close(err)
	}
}

func nothing() {} // ends at once
