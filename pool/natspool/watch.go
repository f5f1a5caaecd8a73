package natspool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mycel-rpc/mycel/pool"
)

const (
	// coalesce is how long changes are collected before a set is yielded: servers that start together are one change.
	coalesce = 20 * time.Millisecond
	// minPause and maxPause bound the time until the bucket is read again after a failure. It doubles with each.
	minPause = 250 * time.Millisecond
	maxPause = 5 * time.Second
	// closing bounds the wait for a watcher of nats.go to close its channel.
	closing = time.Second
)

// errWatcherEnded says that nats.go has given up a consumer; it tells the reason only to the error handler of the connection.
var errWatcherEnded = errors.New("the watcher has ended")

// Watch implements [pool.Resolver]: it yields the endpoints of the service named by target, sorted by priority and address, at first and
// after every change. When the engine fails it yields an error and goes on trying. It ends with ctx, with [Registry.Close] and when
// the connection has been closed, with their error in the latter cases.
func (r *Registry) Watch(ctx context.Context, target string) iter.Seq2[[]pool.Endpoint, error] {
	return func(yield func([]pool.Endpoint, error) bool) {
		if err := checkService(target); err != nil {
			yield(nil, r.failed(ctx, "watching", err))
			return
		}
		ctx, cancel := r.alive(ctx)
		defer cancel(nil)
		conn := r.js.Conn()
		w := &watch{r: r, service: target, yield: yield, view: newView(r.cfg.MaxEndpoints)}
		w.status = conn.StatusChanged(nats.CONNECTED, nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
		defer conn.RemoveStatusListener(w.status)
		w.run(ctx)
	}
}

// A watch follows one service. All of it belongs to the goroutine that ranges over the sequence.
type watch struct {
	r       *Registry
	service string
	yield   func([]pool.Endpoint, error) bool
	view    *view
	status  chan nats.Status // of the connection

	failures int  // since the last set
	told     bool // the last yield was a set, that of the view unless changed
	changed  bool // the view, since the last yield
	ended    bool // yield has returned false
}

// run reads and follows the service until there is nothing to do any more.
func (w *watch) run(ctx context.Context) {
	for {
		err := w.follow(ctx)
		switch {
		case w.ended:
			return
		case ctx.Err() != nil:
			if context.Cause(ctx) == ErrClosed {
				w.yield(nil, ErrClosed)
			}
			return
		case err == nil:
			continue // to read again
		}
		w.failures++
		w.told = false
		if !w.yield(nil, w.r.failed(ctx, fmt.Sprintf("watching %q", w.service), err)) || errors.Is(err, nats.ErrConnectionClosed) {
			return
		}
		w.pause(ctx)
	}
}

// pause waits after a failure, until the connection is back at most.
func (w *watch) pause(ctx context.Context) {
	timer := time.NewTimer(min(minPause<<min(w.failures-1, 10), maxPause))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case s := <-w.status:
			if s == nats.CONNECTED || s == nats.CLOSED {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// follow reads all entries, yields them, and follows their changes. It returns an error if that fails, and nil if all entries are to
// be read again, or the sequence has ended.
func (w *watch) follow(ctx context.Context) error {
	for len(w.status) > 0 {
		<-w.status // what happened before counts no more
	}
	opening, done := w.r.within(ctx)
	defer done()
	kv, ttl, err := w.r.open(opening)
	if err != nil {
		return explain(opening, err)
	}
	// The watcher of nats.go lives as long as its context, so a timer stands in for the deadline at first.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(opening, func() { cancel(context.Cause(opening)) })
	defer stop()
	watcher, err := kv.Watch(ctx, keyOf(w.service, "*"))
	if err != nil {
		return explain(ctx, err)
	}
	defer drain(watcher)
	defer cancel(nil) // before drain: it ends the subscription, without waiting for an answer as Stop would
	w.view.begin(ttl, w.failures > 0, time.Now())
	if err := w.readAll(ctx, watcher); err != nil {
		return explain(ctx, err)
	}
	if !stop() {
		return w.r.late()
	}
	w.changed = w.view.end(time.Now()) || w.changed
	w.tell()
	return w.hear(ctx, watcher)
}

// explain returns why a context has ended, if that is the reason of an error.
func explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// drain waits until the watcher has closed its channel. Its goroutine would wait for a receiver otherwise.
func drain(watcher jetstream.KeyWatcher) {
	timer := time.NewTimer(closing)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-watcher.Updates():
			if !ok {
				return
			}
		case <-timer.C: // nats.go does not close the channel if the subscription had ended before it could take note of it
			return
		}
	}
}

// readAll hears of all the entries that there are.
func (w *watch) readAll(ctx context.Context, watcher jetstream.KeyWatcher) error {
	for {
		select {
		case e, ok := <-watcher.Updates():
			if !ok {
				return errWatcherEnded
			}
			if e == nil {
				return nil
			}
			w.take(e)
		case <-w.status:
			return nats.ErrDisconnected
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hear hears of changes, until the entries have to be read again.
func (w *watch) hear(ctx context.Context, watcher jetstream.KeyWatcher) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var tell time.Time // when to yield changes, if there are any
	for !w.ended {
		now := time.Now()
		changed, sync := w.view.tick(now)
		w.changed = changed || w.changed
		switch {
		case sync:
			return nil
		case !w.changed:
			timer.Reset(time.Until(w.view.check))
		case tell.IsZero():
			tell = now.Add(coalesce)
			fallthrough
		case now.Before(tell):
			timer.Reset(time.Until(tell))
		default:
			w.tell()
			tell = time.Time{}
			continue
		}
		select {
		case e, ok := <-watcher.Updates():
			if !ok {
				return errWatcherEnded
			}
			if e != nil {
				w.take(e)
			}
		case <-w.status: // a connection that is back counts, too: something may have been missed
			return nats.ErrDisconnected
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take takes note of one entry of the bucket.
func (w *watch) take(e jetstream.KeyValueEntry) {
	now := time.Now()
	if e.Operation() != jetstream.KeyValuePut {
		w.changed = w.view.remove(e.Key(), now) || w.changed
		return
	}
	v, err := parseValue(w.service, e.Key(), e.Value())
	if err != nil {
		w.r.skip(e.Key(), e.Revision(), err)
		return
	}
	changed, ok := w.view.put(e.Key(), e.Revision(), v.Endpoint, now)
	if !ok {
		w.r.skip(e.Key(), e.Revision(), fmt.Errorf("%q has more than %d endpoints (MaxEndpoints)", w.service, w.r.cfg.MaxEndpoints))
	}
	w.changed = changed || w.changed
}

// tell yields the set, if it is not the one that was yielded last.
func (w *watch) tell() {
	if w.told && !w.changed {
		return
	}
	w.failures, w.told, w.changed = 0, true, false
	w.ended = !w.yield(w.view.list(), nil)
}
