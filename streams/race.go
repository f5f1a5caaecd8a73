package streams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"
)

// A Policy says which transports may be used.
type Policy uint8

const (
	PreferQUIC Policy = iota // QUIC, and TLS over TCP where UDP is blocked
	OnlyQUIC
	OnlyTCP // TLS over TCP
)

// Valid reports whether p is one of the three policies.
func (p Policy) Valid() bool { return p <= OnlyTCP }

// String returns "prefer QUIC", "only QUIC" or "only TCP".
func (p Policy) String() string {
	switch p {
	case PreferQUIC:
		return "prefer QUIC"
	case OnlyQUIC:
		return "only QUIC"
	case OnlyTCP:
		return "only TCP"
	}
	return "unknown policy"
}

const (
	// raceDelay is how long QUIC is tried alone: the delay of RFC 8305, section 5.
	raceDelay = 250 * time.Millisecond
	// Where QUIC did not work it is tried again, beside TCP, with a dial after firstProbe, and after twice the time whenever it
	// still does not, up to lastProbe.
	firstProbe = time.Minute
	lastProbe  = 32 * time.Minute
	// racePaths is how many paths a Dialer remembers, those last used.
	racePaths = 256
)

// A Dialer dials over the transports that its policy allows, and remembers which of them works, by the server's address and the
// local one, which changes with the network. All methods are safe for concurrent use.
//
// It prefers QUIC: TCP is tried too when QUIC has no answer after 250 ms, or at once when the network reports the server's UDP
// port as unreachable or the handshake fails. The first handshake that completes wins (RFC 8305 does so with addresses). Where that
// was TCP, later dials begin with TCP, and try QUIC beside it from time to time; connections stay on the transport that they
// began with.
type Dialer struct {
	policy Policy
	log    *zap.Logger
	paths  *lru.Cache[string, *racePath]

	quic, tcp func(ctx context.Context, address string, cfg Config) (*Conn, error)
	udp       func(ctx context.Context, network, address string) (net.Conn, error)

	life       context.Context // of attempts, which may go on without a caller; ends with Close
	end        context.CancelCauseFunc
	goroutines group // attempts
	closing    sync.Once
}

// NewDialer returns a dialer, which must be closed. It fails for a policy that does not exist. log, which may be nil, is told
// when another transport is used than before.
func NewDialer(policy Policy, log *zap.Logger) (*Dialer, error) {
	if !policy.Valid() {
		return nil, fmt.Errorf("streams: transport policy is %d, must be PreferQUIC, OnlyQUIC or OnlyTCP", policy)
	}
	if log == nil {
		log = zap.NewNop()
	}
	paths, err := lru.New[string, *racePath](racePaths)
	if err != nil {
		return nil, err
	}
	d := &Dialer{policy: policy, log: log, paths: paths, quic: Dial, tcp: DialTCP, udp: new(net.Dialer).DialContext}
	d.life, d.end = context.WithCancelCause(context.Background()) // a dialer is a root: Close ends it
	d.goroutines.init()
	return d, nil
}

// Close gives up what is being dialed and waits for it. Connections stay open. It is idempotent.
func (d *Dialer) Close() {
	d.end(ErrClosed)
	d.closing.Do(d.goroutines.close)
}

// Dial connects to the address as [Dial] and [DialTCP] do. An error names what each of the transports failed with. With
// [Config.ListenPacket], which asks for a certain way of UDP, it does not take another one over TCP unless that is the policy.
func (d *Dialer) Dial(ctx context.Context, address string, cfg Config) (*Conn, error) {
	switch {
	case d.policy == OnlyTCP:
		return d.tcp(ctx, address, cfg)
	case d.policy == OnlyQUIC || cfg.ListenPacket != nil:
		return d.quic(ctx, address, cfg)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("streams: address %q: %w", address, err)
	}
	cfg.verifyHost(host)
	addr, err := resolveUDP(ctx, address)
	if err != nil {
		return nil, err
	}
	r := &race{
		d: d, address: address, udpAddress: addr.String(), cfg: cfg,
		results: make(chan outcome, 2), unreachable: make(chan error, 1),
	}
	r.canary, r.noUDP = d.udp(ctx, "udp", r.udpAddress)
	key := address
	if r.noUDP == nil {
		defer r.canary.Close()
		if local, err := netip.ParseAddrPort(r.canary.LocalAddr().String()); err == nil {
			key += " from " + local.Addr().String()
		}
	}
	r.path = getOrAdd(d.paths, key)
	return r.run(ctx)
}

// racePath is what is known of the way to a server.
type racePath struct {
	mu struct {
		sync.Mutex
		quic    bool          // it has worked
		tcp     bool          // it has worked where QUIC did not
		probeAt time.Time     // when QUIC is tried again then
		probeIn time.Duration // the wait before that
		doubt   time.Time     // since when a connection with early data is unconfirmed; zero without one
	}
}

// begin returns which transports are to be tried at once, one of them or both.
func (p *racePath) begin(now time.Time) (quic, tcp bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.mu.tcp && now.Before(p.mu.probeAt):
		return false, true
	case p.mu.tcp:
		p.probeLaterLocked(now)
		return true, true
	case !p.mu.doubt.IsZero() && now.Sub(p.mu.doubt) >= raceDelay:
		return true, true
	}
	return true, false
}

func (p *racePath) probeLaterLocked(now time.Time) {
	p.mu.probeIn = min(max(2*p.mu.probeIn, firstProbe), lastProbe)
	p.mu.probeAt = now.Add(p.mu.probeIn)
}

// trust reports whether a connection with early data may be used before it is confirmed.
func (p *racePath) trust(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.mu.quic || !p.mu.doubt.IsZero() {
		return false
	}
	p.mu.doubt = now
	return true
}

// works takes note that a handshake over QUIC was completed.
func (p *racePath) works(d *Dialer, address string) {
	p.mu.Lock()
	changed := p.mu.tcp
	p.mu.quic, p.mu.tcp, p.mu.probeIn, p.mu.doubt = true, false, 0, time.Time{}
	p.mu.Unlock()
	if changed {
		d.log.Info("QUIC works again: next connections are made over it", zap.String("address", address))
	}
}

// blocked takes note that TCP was there first.
func (p *racePath) blocked(d *Dialer, address string) {
	p.mu.Lock()
	changed := !p.mu.tcp
	p.mu.quic, p.mu.tcp, p.mu.doubt = false, true, time.Time{}
	if changed {
		p.probeLaterLocked(time.Now())
	}
	p.mu.Unlock()
	if changed {
		d.log.Warn("no connection over QUIC, UDP may be blocked: next connections are made over TCP", zap.String("address", address))
	}
}

// A race is one dial. Its fields but mu belong to run.
type race struct {
	d          *Dialer
	address    string
	udpAddress string // resolved
	cfg        Config
	path       *racePath

	canary      net.Conn   // a connected UDP socket, which unlike that of QUIC is told of unreachable ports
	noUDP       error      // why there is no canary
	unreachable chan error // capacity 1; what the canary was told
	results     chan outcome
	quic, tcp   attempt

	mu struct {
		sync.Mutex
		over bool // nobody takes results any more
	}
}

// An attempt is one of the two of a race.
type attempt struct {
	cancel context.CancelCauseFunc // nil until it is started
	err    error                   // set when it has failed
}

type outcome struct {
	quic  bool
	conn  *Conn // nil when the attempt has failed
	early bool  // it is not confirmed
	err   error
}

// run returns the first connection whose handshake is complete.
func (r *race) run(ctx context.Context) (*Conn, error) {
	quic, tcp := r.path.begin(time.Now())
	if quic {
		r.startQUIC()
	}
	if tcp {
		r.startTCP()
	}
	delay := time.NewTimer(raceDelay)
	defer delay.Stop()
	done, alone := ctx.Done(), delay.C
	if !quic {
		alone = nil
	}
	for r.running() {
		select {
		case o := <-r.results:
			if o.err == nil {
				r.won(o)
				return o.conn, nil
			}
			r.lost(o)
			if ctx.Err() == nil && r.d.life.Err() == nil {
				r.startQUIC()
				r.startTCP()
			}
		case <-alone:
			r.startTCP()
		case err := <-r.unreachable:
			r.quic.cancel(fmt.Errorf("the network says that the UDP port cannot be reached: %w", err))
			r.startTCP()
		case <-done:
			done = nil
			r.cancel(context.Cause(ctx))
		}
	}
	return nil, fmt.Errorf("streams: no connection to %s: over QUIC: %w; over TCP: %w", r.address, r.quic.failure(), r.tcp.failure())
}

// running reports whether an attempt may still succeed.
func (r *race) running() bool { return r.quic.running() || r.tcp.running() }

func (a *attempt) running() bool { return a.cancel != nil && a.err == nil }

var errNotTried = errors.New("not tried in the time that there was")

func (a *attempt) failure() error {
	if a.err == nil {
		return errNotTried
	}
	return a.err
}

func (r *race) cancel(cause error) {
	for _, a := range []*attempt{&r.quic, &r.tcp} {
		if a.cancel != nil {
			a.cancel(cause)
		}
	}
}

// start runs one of the attempts, once, on a goroutine that ends with it and that Close of the dialer waits for.
func (r *race) start(a *attempt, quic bool, dial func(context.Context)) {
	if a.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, a.cancel = context.WithCancelCause(r.d.life)
	cancel := a.cancel
	if !r.d.goroutines.enter() {
		r.report(outcome{quic: quic, err: ErrClosed})
		return
	}
	go func() {
		defer r.d.goroutines.leave()
		defer cancel(nil)
		dial(ctx)
	}()
}

func (r *race) startTCP() {
	r.start(&r.tcp, false, func(ctx context.Context) {
		c, err := r.d.tcp(ctx, r.address, r.cfg)
		r.report(outcome{conn: c, err: err})
	})
}

func (r *race) startQUIC() {
	if r.quic.cancel == nil && r.noUDP == nil && r.d.goroutines.enter() {
		go r.listen() // ends when run returns, as that closes the canary
	}
	r.start(&r.quic, true, func(ctx context.Context) {
		if r.noUDP != nil {
			r.report(outcome{quic: true, err: fmt.Errorf("streams: no way for UDP: %w", r.noUDP)})
			return
		}
		c, err := r.d.quic(ctx, r.udpAddress, r.cfg)
		if err == nil && c.confirmed != nil {
			if r.path.trust(time.Now()) {
				r.report(outcome{quic: true, conn: c, early: true})
				if c.Confirmed(r.d.life) == nil {
					r.path.works(r.d, r.address)
				}
				return
			}
			if err = c.Confirmed(ctx); err != nil {
				c.Close()
			}
		}
		if err != nil {
			r.report(outcome{quic: true, err: err})
			return
		}
		r.report(outcome{quic: true, conn: c})
	})
}

// listen waits for the network to say that the server's UDP port is unreachable (RFC 792, RFC 4443), in answer to a datagram
// that is not QUIC and that servers ignore.
func (r *race) listen() {
	defer r.d.goroutines.leave()
	_, err := r.canary.Write([]byte{0})
	for err == nil {
		_, err = r.canary.Read(make([]byte, 1))
	}
	if !errors.Is(err, net.ErrClosed) {
		r.unreachable <- err
	}
}

// lost takes note of an attempt that has failed.
func (r *race) lost(o outcome) {
	if o.quic {
		r.quic.err = o.err
	} else {
		r.tcp.err = o.err
	}
}

// won ends the race. The other attempt is given up if it is TCP; QUIC may go on, because whether it would have worked is worth
// knowing.
func (r *race) won(o outcome) {
	if o.quic {
		if !o.early {
			r.path.works(r.d, r.address)
		}
		if r.tcp.cancel != nil {
			r.tcp.cancel(ErrClosed)
		}
	} else {
		r.path.blocked(r.d, r.address)
	}
	r.mu.Lock()
	r.mu.over = true
	r.mu.Unlock()
	select {
	case late := <-r.results:
		r.forget(late)
	default:
	}
}

// report hands the outcome of an attempt to whoever waits for it.
func (r *race) report(o outcome) {
	r.mu.Lock()
	over := r.mu.over
	if !over {
		r.results <- o // never blocks: there is room for both
	}
	r.mu.Unlock()
	if over {
		r.forget(o)
	}
}

// forget ends a connection that came too late.
func (r *race) forget(o outcome) {
	if o.conn == nil {
		return
	}
	o.conn.Close()
	if o.quic && !o.early {
		r.path.works(r.d, r.address)
	}
}
