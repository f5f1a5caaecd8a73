package streams

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// A Conn is one connection to a peer. Both sides may start calls on it. All methods are safe for concurrent use.
//
//	            hello of the peer
//	connecting ------------------> open --goaway sent or received--> draining --last call ends--> closed
//	     \___________________________\___________Close, error______________\______________________/
type Conn struct {
	cfg    *Config
	t      transport
	dialer bool
	// session is what our hello says: of a dialer the name it got from the acceptor on another connection, or
	// zero; of an acceptor a new name.
	session [16]byte
	owner   any
	log     *zap.Logger
	// confirmed is closed when the handshake is complete; nil if it was from the start.
	confirmed <-chan struct{}
	begun     time.Time

	// ctx ends when the connection has ended, with a *ConnError as cause.
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // goroutines that last as long as a stream or the connection
	tasks  group          // goroutines that anybody may start

	control lane
	lanes   [wire.NumClasses][maxStripes]atomic.Pointer[lane] // opened by this side when first needed
	wide    [wire.NumClasses]atomic.Pointer[lane]             // the same

	schemasOut schemaSender
	schemasIn  schemaReceiver

	nextCall atomic.Uint64
	// laneCalls holds ended calls: one is a channel and a few words that would otherwise be made each time. It is not
	// shared with other connections because a channel belongs to the bubble of testing/synctest that it was made in.
	laneCalls   sync.Pool
	pending     pendingTable
	outstanding atomic.Int64 // calls started here that have not ended
	load        atomic.Int64 // the same, each with its weight
	callStreams atomic.Int64 // those of them that have a stream of their own
	// streamsBegun counts the calls that had one, as nextCall counts the others.
	streamsBegun atomic.Uint64
	serving      atomic.Int64 // calls of the peer that have not ended
	incoming     budget
	credits      credits
	adapt        adapt
	memory       atomic.Pointer[Memory] // nil unless the peer is on this host and shares memory

	peer       atomic.Pointer[peer]     // nil until the hello has arrived
	goneAway   atomic.Bool              // the peer sent goaway: no new calls
	leavesSoon atomic.Bool              // a goaway of the peer is expected: it has refused a call because it leaves
	leaving    atomic.Bool              // this side sent goaway
	retired    atomic.Bool              // this side starts no more calls
	pings      atomic.Uint64            // the nonce of the last ping that was sent
	pongs      atomic.Uint64            // the nonce of the last pong that has arrived
	silent     atomic.Bool              // the peer has left a ping without an answer while calls wait
	lookedAt   atomic.Bool              // a goroutine looks after the connection
	resting    atomic.Bool              // it does so rarely, and has to be told when a call begins
	peerLoad   atomic.Pointer[peerLoad] // what the peer last said of its load; nil before it has

	signal struct {
		leaves   sync.Once     // closes goneAway
		goneAway chan struct{} // closed when the peer takes no new calls on this connection, or soon will not
		control  chan struct{} // closed when the control stream exists
		hello    chan struct{} // closed when peer is set
		drained  chan struct{} // closed when the peer has said drained
		idle     chan struct{} // capacity 1; sent to when a count of calls reaches zero
		closed   chan struct{} // closed when the last goroutine has returned
		pong     chan struct{} // capacity 1; sent to when a pong arrives
		wake     chan struct{} // capacity 1; sent to when resting has to end
	}

	mu struct {
		sync.Mutex
		peerLanes  int  // lanes opened by the peer
		hasControl bool // the dialer has opened the control stream; a second one is a violation
		hasHello   bool // a hello frame has been read; a second one is a violation
		drained    bool // this side has said drained
		ended      bool // what atEnd had has been called
		atEnd      []func()
	}
}

type peerLoad struct {
	others int
	at     time.Time
}

// peer is what the hello of the other side said. It is immutable.
type peer struct {
	wire.Hello
	methods map[string]uint64 // method number by name
}

func newConn(t transport, cfg *Config, dialer bool) *Conn {
	c := &Conn{cfg: cfg, t: t, dialer: dialer, session: cfg.Session, log: cfg.Logger, begun: time.Now()}
	if e, ok := t.(interface{ confirmed() <-chan struct{} }); ok {
		c.confirmed = openOrNil(e.confirmed())
	}
	if !dialer {
		rand.Read(c.session[:])
	}
	c.signal.goneAway = make(chan struct{})
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.tasks.init()
	c.pending.init()
	c.incoming.limit = int64(cfg.MaxPendingBytes)
	c.schemasIn.init(cfg.Schemas)
	c.credits.init(c)
	c.adapt.init()
	c.signal.control = make(chan struct{})
	c.signal.hello = make(chan struct{})
	c.signal.pong = make(chan struct{}, 1)
	c.signal.wake = make(chan struct{}, 1)
	c.signal.drained = make(chan struct{})
	c.signal.idle = make(chan struct{}, 1)
	c.signal.closed = make(chan struct{})
	if cfg.NewOwner != nil {
		c.owner = cfg.NewOwner(c)
	}
	return c
}

// start runs the goroutines of the connection. All of them end when the transport does; Close waits for them.
func (c *Conn) start(ctx context.Context) error {
	if c.dialer {
		s, err := c.t.openStream(ctx)
		if err != nil {
			c.t.close(wire.CloseNone, "")
			c.shutdown()
			return err
		}
		c.openControl(s, true)
	}
	c.wg.Go(c.acceptUniStreams)
	c.lookedAt.Store(true)
	c.wg.Go(func() { // ends when the hello has arrived and there is nothing more to wait for, or with the connection
		if c.awaitHello() {
			c.maintain()
		}
	})
	go func() { // ends after every other goroutine of the connection; Close waits on signal.closed
		c.acceptStreams()
		c.shutdown()
	}()
	return nil
}

// shutdown waits for the end of the transport, fails what is still open and waits for the other goroutines.
func (c *Conn) shutdown() {
	<-c.t.done()
	cause := c.t.cause()
	c.cancel(cause)
	c.pending.fail(cause)
	c.credits.fail(cause)
	c.log.Debug("connection ended", zap.Stringer("peer", c.t.remoteAddr()), zap.Error(cause))
	c.mu.Lock()
	atEnd := c.mu.atEnd
	c.mu.atEnd, c.mu.ended = nil, true
	c.mu.Unlock()
	for _, f := range atEnd {
		f()
	}
	c.wg.Wait()
	c.tasks.close()
	c.t.wait()
	c.credits.end()
	close(c.signal.closed)
}

// hello is what this side announces.
func (c *Conn) hello() *wire.Hello {
	h := &wire.Hello{
		Version:         wire.ProtocolVersion,
		Software:        "mycel-go",
		Role:            c.cfg.Role,
		Session:         c.session,
		MaxMessageBytes: uint64(c.cfg.MaxMessageBytes),
		Methods:         c.cfg.Methods,
		Table:           c.cfg.Table,
	}
	for _, s := range c.cfg.Schemas {
		h.Schemas = append(h.Schemas, s.ID())
	}
	if c.cfg.HostOffer != nil && !c.dialer {
		h.HostOffer = c.cfg.HostOffer(c)
	}
	return h
}

// Ready waits until the peer's hello has arrived. Calls need not wait for it.
func (c *Conn) Ready(ctx context.Context) error {
	select {
	case <-c.signal.hello:
		return nil
	case <-c.ctx.Done():
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// openOrNil returns ch, nil if it is nil or has been closed.
func openOrNil(ch <-chan struct{}) <-chan struct{} {
	if ch == nil {
		return nil
	}
	select {
	case <-ch:
		return nil
	default:
		return ch
	}
}

// Confirmed waits until the handshake is complete. Until then a dialed connection has not been answered, and what came on
// an accepted one may have been recorded and sent by somebody else: act only on what may be repeated. Without
// [Config.EarlyData] it returns at once.
//
// Errors: *[ConnError] when the handshake failed; the cause of ctx.
func (c *Conn) Confirmed(ctx context.Context) error {
	if c.confirmed == nil {
		return nil
	}
	select {
	case <-c.confirmed:
		select {
		case <-c.t.done(): // which may have been what closed it
			return c.t.cause()
		default:
			return nil
		}
	case <-c.ctx.Done():
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// IsConfirmed reports whether [Conn.Confirmed] would return nil at once, as far as that is known.
func (c *Conn) IsConfirmed() bool { return openOrNil(c.confirmed) == nil }

// Since returns when the connection began.
func (c *Conn) Since() time.Time { return c.begun }

// slowHandshake is how long a connection that began with early data may remain unanswered before it is avoided.
const slowHandshake = 500 * time.Millisecond

// unanswered reports whether the peer of a dialed connection has been silent for so long that it may not be there.
func (c *Conn) unanswered() bool {
	return c.confirmed != nil && c.dialer && !c.IsConfirmed() && time.Since(c.begun) > slowHandshake
}

// PeerHello returns the hello of the peer, which must not be modified, or nil while it has not arrived.
func (c *Conn) PeerHello() *wire.Hello {
	if p := c.peer.Load(); p != nil {
		return &p.Hello
	}
	return nil
}

// MethodNum returns the number under which the peer announced the method, 0 when it has to be called by name.
func (c *Conn) MethodNum(name string) uint64 {
	if p := c.peer.Load(); p != nil {
		return p.methods[name]
	}
	return 0
}

// PeerMaxMessageBytes returns the largest message body the peer accepts; before its hello, which may allow more than the
// default, what no peer exceeds: it will refuse what is too large.
func (c *Conn) PeerMaxMessageBytes() int {
	if p := c.peer.Load(); p != nil {
		return int(min(p.MaxMessageBytes, maxMessageLimit))
	}
	return maxMessageLimit
}

// SchemaRef returns how a message written in s is labelled for the peer: by number once the peer has it, with
// the definition inline until then, as generic CBOR (the zero reference) when the peer refused it.
func (c *Conn) SchemaRef(s *schema.Schema) wire.SchemaRef {
	num, inline := c.schemasOut.ref(s)
	if !inline {
		return wire.SchemaRef{Num: num}
	}
	return wire.SchemaRef{Num: num, ID: s.ID(), Canonical: s.Canonical()}
}

// Schema returns the schema that ref names, nil for generic CBOR. A definition that comes inline is remembered and
// acknowledged. Errors: *[wire.FormatError] for a number that the peer never defined, or what
// [schema.Parse] returns.
func (c *Conn) Schema(ref *wire.SchemaRef) (*schema.Schema, error) {
	if ref.Num == 0 {
		return nil, nil
	}
	if !ref.Inline() {
		if s := c.schemasIn.get(ref.Num); s != nil {
			return s, nil
		}
		return nil, &wire.FormatError{What: "message", Reason: fmt.Sprintf("names schema %d, which was never defined", ref.Num)}
	}
	s, answer, err := c.schemasIn.define(ref.Num, ref.ID, ref.Canonical)
	if answer {
		a := wire.SchemaAnswer{Num: ref.Num, Refused: s == nil || c.schemasIn.get(ref.Num) == nil}
		if err != nil {
			a.Reason = err.Error()
		}
		c.sendControl(wire.FrameSchema, wire.AppendSchemaAnswer(nil, a))
	}
	return s, err
}

// PathRate returns an estimate of the bytes per second that the path has, 0 while it is not known or the path is so short that
// the processors are the limit.
func (c *Conn) PathRate() float64 { return c.adapt.pathRate(c.t) }

// Outstanding returns how many calls started here have not ended.
func (c *Conn) Outstanding() int { return int(c.outstanding.Load()) }

// Load returns the load of the connection: the calls started here that have not ended, large ones counting for
// one more with every 2 KiB.
func (c *Conn) Load() int { return int(c.load.Load()) }

// Serving returns how many calls of the peer have not ended.
func (c *Conn) Serving() int { return int(c.serving.Load()) }

// Owner returns what [Config.NewOwner] returned for the connection, nil without one.
func (c *Conn) Owner() any { return c.owner }

// Session returns the session name that this side's hello carries.
func (c *Conn) Session() [16]byte { return c.session }

// Draining reports whether no new calls can start on the connection, or should not. It can become false again only for
// a connection that began with early data and was slow to be answered.
func (c *Conn) Draining() bool {
	return c.goneAway.Load() || c.leavesSoon.Load() || c.retired.Load() || c.ctx.Err() != nil || c.unanswered()
}

// ExpectGoAway makes [Conn.Draining] true ahead of the goaway of a peer that has refused a call because it leaves:
// both travel on streams of their own.
func (c *Conn) ExpectGoAway() {
	c.leavesSoon.Store(true)
	c.signal.leaves.Do(func() { close(c.signal.goneAway) })
}

// GoneAway returns a channel that is closed when the peer has sent goaway, or is expected to.
func (c *Conn) GoneAway() <-chan struct{} { return c.signal.goneAway }

// Silent reports whether the peer has left a ping without an answer, and nothing else has arrived either, while calls wait for it.
func (c *Conn) Silent() bool { return c.silent.Load() }

// PeerLoad returns how many requests of others ran or waited at the peer when it last spoke of it, and when that was; the zero
// time if it never has. While calls begin, or their messages arrive, this side asks every second.
func (c *Conn) PeerLoad() (requests int, at time.Time) {
	if l := c.peerLoad.Load(); l != nil {
		return l.others, l.at
	}
	return 0, time.Time{}
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.ctx.Done() }

// Err returns why the connection ended, nil while it has not.
func (c *Conn) Err() error { return context.Cause(c.ctx) }

// Stats returns figures of the connection.
func (c *Conn) Stats() Stats {
	s := c.t.stats()
	c.t.describe(&s)
	return s
}

// RemoteAddr returns the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.t.remoteAddr() }

// LocalAddr returns the address of this side.
func (c *Conn) LocalAddr() net.Addr { return c.t.localAddr() }

// Close ends the connection at once: every call on it fails. It returns when every goroutine of the connection has.
// It is idempotent.
func (c *Conn) Close() { c.CloseWith(wire.CloseNone, "closed by the application") }

// CloseWith is Close with a code and a text that the peer sees.
func (c *Conn) CloseWith(code uint64, text string) {
	c.t.close(code, text)
	<-c.signal.closed
}

// Go runs f on a goroutine that Close waits for; f must return soon after Done is closed. It reports false, without
// running f, when the connection has ended.
func (c *Conn) Go(f func()) bool { return c.spawn(f) }

// AtEnd has f called when the connection has ended, at once if it has already. Close returns after f, which must not wait for
// Close, nor for anything that takes long. Unlike a goroutine that waits for Done, it costs an idle connection nothing.
func (c *Conn) AtEnd(f func()) {
	c.mu.Lock()
	ended := c.mu.ended
	if !ended {
		c.mu.atEnd = append(c.mu.atEnd, f)
	}
	c.mu.Unlock()
	if ended {
		f()
	}
}

// Dialer reports whether this side opened the connection.
func (c *Conn) Dialer() bool { return c.dialer }

// ExportKeyingMaterial returns key material of length bytes that only the two ends of this connection know (RFC 8446,
// section 7.5). It fails on a connection without TLS.
func (c *Conn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	return c.t.exportKey(label, context, length)
}

// spawn runs f on a goroutine that Close waits for. It reports false when the connection has ended.
func (c *Conn) spawn(f func()) bool {
	if !c.tasks.enter() {
		return false
	}
	go func() { // ends before the connection counts as closed: tasks
		defer c.tasks.leave()
		f()
	}()
	return true
}

// abort ends the connection because the peer broke the protocol. It does not wait, so that goroutines of the
// connection may call it.
func (c *Conn) abort(err *ConnError) {
	if c.ctx.Err() == nil {
		c.log.Warn("closing connection", zap.Stringer("peer", c.t.remoteAddr()), zap.String("reason", err.Text))
	}
	c.t.close(err.Code, err.Text)
}
