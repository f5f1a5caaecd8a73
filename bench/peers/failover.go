package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/pool"
)

const (
	failoverServers  = 3
	failoverInterval = 500 * time.Microsecond // 2000 calls per second
	failoverLate     = 250 * time.Millisecond // a call that takes longer was noticed by somebody
	failoverCalm     = 2 * time.Second        // before something happens, and between two events
	failoverAfter    = 8 * time.Second        // after the last event
)

var failoverMethod = framework.NewUnary[Small, Small]("bench.v1/Failover", framework.Idempotent())

// failoverCase is something that happens to servers under load.
type failoverCase struct {
	name   string
	policy pool.Policy
	happen func(ctx context.Context, f *failover) error
}

func failoverCases() []failoverCase {
	killed := func(_ context.Context, f *failover) error { return f.servers[0].socket.Close() } // nobody is told
	holed := func(_ context.Context, f *failover) error {
		f.servers[0].socket.hole.Store(true)
		return nil
	}
	rolling := func(ctx context.Context, f *failover) error {
		for _, s := range f.servers {
			if err := errors.Join(s.stop(ctx), f.start(s)); err != nil {
				return err
			}
			if err := sleep(ctx, failoverCalm); err != nil {
				return err
			}
		}
		return nil
	}
	return []failoverCase{
		{"nothing", pool.LeastLoaded, func(context.Context, *failover) error { return nil }},
		{"killed", pool.LeastLoaded, killed},
		{"killed", pool.RoundRobin, killed},
		{"black hole", pool.LeastLoaded, holed},
		{"black hole", pool.RoundRobin, holed},
		{"rolling restart", pool.LeastLoaded, rolling},
	}
}

// runFailover measures what callers notice when one of three servers is killed, cut off or replaced, at 2000 idempotent calls a second
// that do not wait for each other.
func runFailover(ctx context.Context, p *plan, r *report) error {
	fmt.Fprintf(p.progress, "failover: %d servers, %v between calls; late is a call of more than %v\n", failoverServers, failoverInterval, failoverLate)
	fmt.Fprintf(p.progress, "  %-16s %-13s %7s %7s %14s %9s %9s %9s  %s\n", "what happens", "policy", "calls", "failed", "late", "p50", "p99", "slowest", "out of use after")
	for _, c := range failoverCases() {
		if err := measureFailover(ctx, p, r, c); err != nil {
			return fmt.Errorf("bench: failover, %s, %v: %w", c.name, c.policy, err)
		}
	}
	return nil
}

func measureFailover(ctx context.Context, p *plan, r *report, c failoverCase) (err error) {
	f, err := newFailover(ctx, c.policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	var failed, late atomic.Int64
	var first atomic.Pointer[error]
	var slowest struct {
		sync.Mutex
		d time.Duration
	}
	type happened struct {
		out time.Duration // until the first server was out of use; 0 if it never was
		err error
	}
	events := make(chan happened, 1) // one result is sent
	stop := make(chan struct{})      // closed when the load may end
	go func() {                      // ends when the events are over; the receive below waits
		defer close(stop)
		h := happened{err: sleep(ctx, failoverCalm)}
		if h.err == nil {
			watch := f.outOfUse(ctx)
			h.err = c.happen(ctx, f)
			h.err = errors.Join(h.err, sleep(ctx, failoverAfter))
			h.out = watch()
		}
		events <- h
	}()
	ended := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var m measurement
	for !ended() && ctx.Err() == nil { // one open loop after the other
		part, _ := openLoop(ctx, failoverInterval, time.Second, sleepPrecisely, func(ctx context.Context, n uint64) (uint64, error) {
			start := time.Now()
			q := Small{ID: n}
			rsp, err := failoverMethod.Call(ctx, f.client, &q)
			if err == nil && rsp.ID != n {
				err = errEcho
			}
			took := time.Since(start)
			if took > failoverLate {
				late.Add(1)
			}
			slowest.Lock()
			slowest.d = max(slowest.d, took)
			slowest.Unlock()
			if err != nil {
				failed.Add(1)
				first.CompareAndSwap(nil, &err)
			}
			return 1, nil
		})
		m.add(&part)
	}
	h := <-events
	if h.err != nil {
		return h.err
	}
	m.row = rowKey{Scenario: "failover " + c.name, SizeBytes: smallBytes, Concurrency: failoverServers, Transport: strings.ReplaceAll(c.policy.String(), " ", "-")}
	out := "never"
	if h.out > 0 {
		out = h.out.Round(time.Millisecond).String()
	}
	fmt.Fprintf(p.progress, "  %-16s %-13v %7d %7d %6d %6.2f %% %9v %9v %9v  %s\n", c.name, c.policy, m.calls, failed.Load(), late.Load(),
		100*float64(late.Load())/float64(m.calls), m.latency.quantile(0.5).Round(time.Microsecond), m.latency.quantile(0.99).Round(time.Microsecond),
		slowest.d.Round(time.Millisecond), out)
	r.addRound(m.row, m.metrics())
	if e := first.Load(); e != nil {
		return fmt.Errorf("%d of %d calls failed, the first with: %w", failed.Load(), m.calls, *e)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failover is a client and its servers.
type failover struct {
	serverTLS *tls.Config
	objects   *largeobj.Store
	servers   []*failoverServer
	client    *framework.Client
}

type failoverServer struct {
	server *framework.Server
	socket *holeSocket
	addr   string
	served chan error // capacity 1: what Serve returned
}

func newFailover(ctx context.Context, policy pool.Policy) (*failover, error) {
	serverTLS, clientTLS, err := newTLSConfigs(net.IPv4(127, 0, 0, 1))
	if err != nil {
		return nil, err
	}
	objects, err := largeobj.New(largeobj.Config{StreamsOnly: true})
	if err != nil {
		return nil, err
	}
	f := &failover{serverTLS: serverTLS, objects: objects}
	var list []string
	for range failoverServers {
		s := &failoverServer{addr: "127.0.0.1:0"}
		if err := f.start(s); err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.servers = append(f.servers, s)
		list = append(list, s.addr)
	}
	f.client, err = framework.NewClient("static:///"+strings.Join(list, ","), framework.ClientConfig{TLS: clientTLS, Policy: policy, Objects: objects})
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	if err := f.client.Connect(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// start serves at the address of s.
func (f *failover) start(s *failoverServer) error {
	server, err := framework.NewServer(framework.ServerConfig{TLS: f.serverTLS, Objects: f.objects})
	if err != nil {
		return err
	}
	failoverMethod.Handle(server, echoMycel[Small])
	socket, err := net.ListenPacket("udp4", s.addr)
	if err != nil {
		return fmt.Errorf("bench: listen: %w", err)
	}
	s.server, s.socket, s.addr, s.served = server, &holeSocket{PacketConn: socket}, socket.LocalAddr().String(), make(chan error, 1)
	go func(served chan error, socket net.PacketConn) { // ends when s is stopped; stop waits
		served <- server.Serve(context.Background(), socket)
	}(s.served, s.socket)
	return nil
}

// stop shuts the server down politely.
func (s *failoverServer) stop(ctx context.Context) error {
	return errors.Join(s.server.Shutdown(ctx), <-s.served)
}

func (f *failover) close() error {
	var errs []error
	if f.client != nil {
		errs = append(errs, f.client.Close())
	}
	for _, s := range f.servers {
		errs = append(errs, s.server.Close())
		<-s.served // of one that was killed, that its socket is closed
	}
	f.objects.Close()
	return errors.Join(errs...)
}

// outOfUse watches the first server until the result is called, which says after what time the client had taken it out of use.
func (f *failover) outOfUse(ctx context.Context) (result func() time.Duration) {
	start, done, out := time.Now(), make(chan struct{}), make(chan time.Duration, 1)
	go func() { // ends when result is called, which waits
		var after time.Duration
		defer func() { out <- after }()
		for {
			if after == 0 && f.client.Endpoints()[0].State != pool.Ready {
				after = time.Since(start)
			}
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() time.Duration {
		close(done)
		return <-out
	}
}

// holeSocket is a socket that can swallow everything.
type holeSocket struct {
	net.PacketConn
	hole atomic.Bool
}

// ReadFrom implements [net.PacketConn].
func (s *holeSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := s.PacketConn.ReadFrom(p)
		if err != nil || !s.hole.Load() {
			return n, from, err
		}
	}
}

// WriteTo implements [net.PacketConn].
func (s *holeSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	if s.hole.Load() {
		return len(p), nil
	}
	return s.PacketConn.WriteTo(p, to)
}
