package natspool

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/pool"
)

const (
	// renewals is how often an entry is written during its time to live, retries how often after a failure.
	renewals = 3
	retries  = 12
	// removals bounds how often a removal is tried again because the entry has changed: once is what can happen, and a few times more
	// when a replica of the bucket is behind.
	removals = 4
)

// errReplaced is the end of a registration whose address somebody else has registered.
var errReplaced = errors.New("the address has been registered by somebody else")

// A registration keeps one entry. Of its fields that change, those of the first group belong to its goroutine until done is closed,
// then to whoever holds releasing.
type registration struct {
	r     *Registry
	key   string
	name  string // in the value
	value []byte
	ttl   time.Duration

	kv       jetstream.KeyValue // nil after a failure
	revision uint64             // of the value that we have written last
	replaced bool
	released bool

	stop      context.CancelFunc
	done      chan struct{} // closed when the goroutine has ended
	releasing chan struct{} // 1 token: whoever has it releases
}

// Register implements [pool.Registrar]. The time to live is that of the bucket. It fails at once while the connection is not there, and
// after [Config.Timeout] at the latest.
func (r *Registry) Register(ctx context.Context, service string, e pool.Endpoint) (release func(context.Context) error, err error) {
	ctx, cancel := r.within(ctx)
	defer cancel()
	g, err := r.register(ctx, service, e)
	if err != nil {
		return nil, r.failed(ctx, fmt.Sprintf("registering %q of %q", e.Address, service), err)
	}
	return g.release, nil
}

func (r *Registry) register(ctx context.Context, service string, e pool.Endpoint) (*registration, error) {
	if err := checkService(service); err != nil {
		return nil, err
	}
	g := &registration{r: r, key: keyOf(service, e.Address), name: rand.Text(), done: make(chan struct{}), releasing: make(chan struct{}, 1)}
	g.releasing <- struct{}{}
	var err error
	if g.value, err = (value{e, g.name}).marshal(); err != nil {
		return nil, err
	}
	// One at a time, so that the registration that wrote last is the one that goes on.
	select {
	case <-r.registering:
		defer func() { r.registering <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if g.kv, g.ttl, err = r.open(ctx); err != nil {
		return nil, err
	}
	if g.revision, err = g.kv.Put(ctx, g.key, g.value); err != nil {
		return nil, err
	}
	return g, r.keep(g)
}

// keep starts the goroutine of a registration and ends that of the one before it, which must not make its entry again.
func (r *Registry) keep(g *registration) error {
	life, stop := context.WithCancel(r.life)
	g.stop = stop
	r.mu.Lock()
	if r.mu.closed {
		r.mu.Unlock()
		stop()
		return ErrClosed
	}
	before := r.mu.latest[g.key]
	r.mu.latest[g.key] = g
	r.goroutines.Go(func() { // ends with life; release and Close wait
		defer close(g.done)
		g.renewUntil(life)
		r.forget(g)
	})
	r.mu.Unlock()
	if before != nil {
		before.stop()
		<-before.done
	}
	return nil
}

func (r *Registry) forget(g *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.latest[g.key] == g {
		delete(r.mu.latest, g.key)
	}
}

// renewUntil renews the lease until ctx ends or there is nothing to renew.
func (g *registration) renewUntil(ctx context.Context) {
	conn := g.r.js.Conn()
	reconnected := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(reconnected)
	log := g.r.log.With(zap.String("key", g.key))
	timer := time.NewTimer(g.ttl / renewals)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-timer.C:
		case <-reconnected:
		case <-ctx.Done():
			return
		}
		err := g.renewOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if failures > 0 {
				log.Info("renewed a registration again", zap.Int("failures", failures))
			}
			failures = 0
			timer.Reset(g.ttl / renewals)
			continue
		case errors.Is(err, errReplaced):
			g.replaced = true
			log.Info("a registration has ended: somebody else has registered its address")
			return
		case errors.Is(err, nats.ErrConnectionClosed):
			log.Warn("a registration has ended: the connection has been closed")
			return
		}
		failures++
		log.Warn("renewing a registration failed", zap.Int("failures", failures), zap.Error(err))
		timer.Reset(g.ttl / retries)
	}
}

// renewOnce writes the value again, if it is still ours or nobody's.
func (g *registration) renewOnce(ctx context.Context) error {
	ctx, cancel := g.r.within(ctx)
	defer cancel()
	err := g.r.connected()
	if err == nil && g.kv == nil {
		g.kv, _, err = g.r.open(ctx)
	}
	if err == nil {
		err = g.write(ctx)
	}
	if err == nil || errors.Is(err, errReplaced) {
		return err
	}
	g.kv = nil // perhaps the bucket is not the same any more, or has to be made
	return g.r.failed(ctx, "renewing", err)
}

// write makes the value the newest one of its key.
func (g *registration) write(ctx context.Context) error {
	revision, err := g.kv.Update(ctx, g.key, g.value, g.revision)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		revision, err = g.writeAfter(ctx)
	}
	if err == nil {
		g.revision = revision
	}
	return err
}

// writeAfter writes the value when the revision is not the one that we know: we did not get the answer to a write, the entry
// is gone, something broken is there, or the entry of somebody else.
func (g *registration) writeAfter(ctx context.Context) (uint64, error) {
	e, err := g.kv.Get(ctx, g.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return g.kv.Create(ctx, g.key, g.value)
	case err != nil:
		return 0, err
	case g.isReplacedBy(e):
		return 0, errReplaced
	}
	return g.kv.Update(ctx, g.key, g.value, e.Revision())
}

// isReplacedBy reports whether an entry is the one of somebody else.
func (g *registration) isReplacedBy(e jetstream.KeyValueEntry) bool {
	var v value
	if len(e.Value()) > maxValueBytes || json.Unmarshal(e.Value(), &v) != nil {
		return false // no entry at all
	}
	return v.Registration != g.name
}

// release removes the entry if it is ours, see [pool.Registrar].
func (g *registration) release(ctx context.Context) error {
	g.stop()
	<-g.done // soon: its context has ended
	select {
	case <-g.releasing:
		defer func() { g.releasing <- struct{}{} }()
	case <-ctx.Done():
		return g.r.failed(ctx, "releasing", ctx.Err())
	}
	if g.released || g.replaced {
		return nil
	}
	limited, cancel := g.r.within(ctx)
	defer cancel()
	if err := g.remove(limited); err != nil {
		return g.r.failed(limited, "releasing", err)
	}
	g.released = true
	return nil
}

// remove removes the entry if it is ours.
func (g *registration) remove(ctx context.Context) (err error) {
	if err := g.r.connected(); err != nil {
		return err
	}
	if g.kv == nil {
		if g.kv, err = g.r.js.KeyValue(ctx, g.r.cfg.Bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
			return nil
		} else if err != nil {
			return err
		}
	}
	for revision, tries := g.revision, 0; ; tries++ {
		err := g.kv.Purge(ctx, g.key, jetstream.LastRevision(revision))
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) || tries == removals {
			return err
		}
		// A write of ours whose answer we did not wait for, or somebody else's.
		e, err := g.kv.Get(ctx, g.key)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			return nil
		case err != nil:
			return err
		case g.isReplacedBy(e):
			return nil
		}
		revision = e.Revision()
	}
}
