package natspool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/mycel-rpc/mycel/pool"
)

func TestMain(m *testing.M) {
	// The tests wait for leases to end, most of the time: more of them than processors can run at once.
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// ttl is long enough for a machine that has much else to do, three times in which renewals must come.
const ttl = 2 * time.Second

// patience bounds the wait for what has to happen.
const patience = 40 * time.Second

// An engine is a server of NATS that can be stopped, and started again at the same address.
type engine struct {
	t    testing.TB
	opts server.Options
	srv  *server.Server
}

func startEngine(t testing.TB, change ...func(*server.Options)) *engine {
	t.Helper()
	e := &engine{t: t, opts: server.Options{Host: "127.0.0.1", JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}}
	for _, f := range change {
		f(&e.opts)
	}
	e.opts.Port = KeptPort(t)
	e.start()
	t.Cleanup(e.stop)
	return e
}

var lastPort atomic.Int64

func init() { lastPort.Store(rand.Int64N(12_000)) }

// KeptPort returns a free port that is not given to others while an engine on it is stopped, as those that a system chooses are.
func KeptPort(t testing.TB) int {
	t.Helper()
	var err error
	for range 100 {
		port := 20_000 + int(lastPort.Add(1)%12_000)
		var ln net.Listener
		if ln, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal(err)
	return 0
}

func (e *engine) start() {
	e.t.Helper()
	opts := e.opts // the server writes to it
	srv, err := server.NewServer(&opts)
	if err != nil {
		e.t.Fatal(err)
	}
	srv.Start()
	e.srv = srv
	if !srv.ReadyForConnections(patience) {
		e.t.Fatal("the server of NATS does not start")
	}
}

func (e *engine) stop() {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}

// forget removes what a stopped engine has stored.
func (e *engine) forget() {
	e.t.Helper()
	if err := os.RemoveAll(e.opts.StoreDir); err != nil {
		e.t.Fatal(err)
	}
}

// connect returns a connection that comes back soon.
func (e *engine) connect(opts ...nats.Option) jetstream.JetStream {
	e.t.Helper()
	opts = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, opts...)
	conn, err := nats.Connect(e.srv.ClientURL(), opts...)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		e.t.Fatal(err)
	}
	return js
}

// A switchable dialer fails while it is off.
type switchable struct{ off atomic.Bool }

func (d *switchable) Dial(network, address string) (net.Conn, error) {
	if d.off.Load() {
		return nil, errors.New("switched off")
	}
	return net.Dial(network, address)
}

// A party is a registry with a connection and a log of its own.
type party struct {
	*Registry
	t   testing.TB
	js  jetstream.JetStream
	log *observer.ObservedLogs
}

// join returns a party; the time to live is that of most tests unless cfg says otherwise.
func (e *engine) join(cfg Config, opts ...nats.Option) *party {
	e.t.Helper()
	core, log := observer.New(zap.DebugLevel)
	cfg.Logger = zap.New(core)
	if cfg.TTL == 0 {
		cfg.TTL = ttl
	}
	js := e.connect(opts...)
	r, err := New(js, cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(r.Close)
	return &party{r, e.t, js, log}
}

func (p *party) register(service string, e pool.Endpoint) (release func()) {
	p.t.Helper()
	f, err := p.Register(p.t.Context(), service, e)
	if err != nil {
		p.t.Fatal(err)
	}
	return func() {
		p.t.Helper()
		if err := f(p.t.Context()); err != nil {
			p.t.Error(err)
		}
	}
}

// bucket returns the bucket behind the registry.
func (p *party) bucket() jetstream.KeyValue {
	p.t.Helper()
	kv, err := p.js.KeyValue(p.t.Context(), p.cfg.Bucket)
	if err != nil {
		p.t.Fatal(err)
	}
	return kv
}

// wantLog waits until the party has logged a message.
func (p *party) wantLog(message string) {
	p.t.Helper()
	until(p.t, "logged: "+message, func() bool { return p.log.FilterMessage(message).Len() > 0 })
}

// until waits until a condition holds.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// A yield is one result of a Watch.
type yield struct {
	set []pool.Endpoint
	err error
}

// An observation is a Watch on a goroutine of its own.
type observation struct {
	t      testing.TB
	yields chan yield // closed when the sequence has ended
	cancel context.CancelFunc
	never  []string // addresses that must never be missing in a set
}

func (p *party) watch(service string) *observation {
	ctx, cancel := context.WithCancel(p.t.Context())
	o := &observation{t: p.t, yields: make(chan yield, 10_000), cancel: cancel}
	go func() {
		defer close(o.yields)
		for set, err := range p.Watch(ctx, service) {
			o.yields <- yield{set, err}
		}
	}()
	p.t.Cleanup(o.end)
	return o
}

// end ends the Watch and waits for it.
func (o *observation) end() {
	o.cancel()
	for range o.yields {
	}
}

// next returns the next result.
func (o *observation) next() yield {
	o.t.Helper()
	select {
	case y, ok := <-o.yields:
		if !ok {
			o.t.Fatal("the sequence has ended")
		}
		return y
	case <-time.After(patience):
		o.t.Fatalf("no result within %v", patience)
	}
	return yield{}
}

// want waits for a set of these endpoints, each "address" or "address weight". It fails if one of those before lacks an
// address that must never be missing.
func (o *observation) want(endpoints ...string) {
	o.t.Helper()
	var last []string
	deadline := time.After(patience)
	for {
		select {
		case y, ok := <-o.yields:
			if !ok {
				o.t.Fatal("the sequence has ended")
			}
			if y.err != nil {
				last = []string{y.err.Error()}
				continue
			}
			last = describe(y.set)
			for _, address := range o.never {
				if !slices.ContainsFunc(y.set, func(e pool.Endpoint) bool { return e.Address == address }) {
					o.t.Fatalf("%s is missing in %v", address, last)
				}
			}
			if slices.Equal(last, endpoints) {
				return
			}
		case <-deadline:
			o.t.Fatalf("want %v, got %v last", endpoints, last)
		}
	}
}

// wantError waits for an error.
func (o *observation) wantError() error {
	o.t.Helper()
	for {
		if y := o.next(); y.err != nil {
			return y.err
		}
	}
}

func describe(set []pool.Endpoint) []string {
	list := []string{}
	for _, e := range set {
		s := e.Address
		if e.Weight != 0 {
			s += fmt.Sprint(" ", e.Weight)
		}
		list = append(list, s)
	}
	return list
}

func at(address string) pool.Endpoint { return pool.Endpoint{Address: address} }

// addresses returns n of them, in order.
func addresses(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("10.0.0.1:%d", 10_000+i))
	}
	return list
}
