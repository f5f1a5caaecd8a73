package natspool_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/pool/natspool"
)

type nothing struct{}
type who struct{ Address string }

var whoAreYou = framework.NewUnary[nothing, who]("who.v1/WhoAreYou", framework.Idempotent())

// A world is an engine and all that finds itself through it.
type world struct {
	t         *testing.T
	opts      server.Options
	engine    *server.Server
	serverTLS framework.ServerConfig
	wg        sync.WaitGroup
}

func (w *world) startEngine() {
	w.t.Helper()
	opts := w.opts
	engine, err := server.NewServer(&opts)
	if err != nil {
		w.t.Fatal(err)
	}
	engine.Start()
	if !engine.ReadyForConnections(30 * time.Second) {
		w.t.Fatal("the server of NATS does not start")
	}
	w.engine = engine
}

func (w *world) stopEngine() {
	w.engine.Shutdown()
	w.engine.WaitForShutdown()
}

func (w *world) registry() *natspool.Registry {
	w.t.Helper()
	conn, err := nats.Connect(w.engine.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := natspool.New(js, natspool.Config{TTL: 2 * time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(r.Close)
	return r
}

// serve starts a server that is registered, and returns its address and what lets it die.
func (w *world) serve() (address string, crash func()) {
	w.t.Helper()
	srv, err := framework.NewServer(w.serverTLS)
	if err != nil {
		w.t.Fatal(err)
	}
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	address = socket.LocalAddr().String()
	whoAreYou.Handle(srv, func(context.Context, *nothing) (*who, error) { return &who{address}, nil })
	w.wg.Go(func() { srv.Serve(w.t.Context(), socket) })
	r := w.registry()
	if _, err := r.Register(w.t.Context(), "who.v1", pool.Endpoint{Address: address}); err != nil {
		w.t.Fatal(err)
	}
	return address, func() {
		r.Close()
		srv.Close()
	}
}

// ask calls until a server answers as wanted.
func (w *world) ask(c *framework.Client, wanted func(address string) bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 40*time.Second)
	defer cancel()
	for {
		a, err := whoAreYou.Call(ctx, c, &nothing{})
		if err == nil && wanted(a.Address) {
			return
		}
		if ctx.Err() != nil {
			w.t.Fatalf("the last answer: %v, %v", a, err)
		}
	}
}

func TestServersAndClientsFindEachOther(t *testing.T) {
	t.Parallel()
	w := &world{t: t, opts: server.Options{Host: "127.0.0.1", Port: natspool.KeptPort(t), JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}}
	w.startEngine()
	defer func() { w.stopEngine() }()
	serverTLS, clientTLS := framework.DevTLS()
	w.serverTLS = framework.ServerConfig{TLS: serverTLS}
	crash := map[string]func(){}
	start := func() string {
		address, f := w.serve()
		crash[address] = f
		return address
	}
	defer w.wg.Wait()
	defer func() {
		for _, f := range crash {
			f()
		}
	}()
	for range 3 {
		start()
	}
	registry := w.registry()
	client, err := framework.NewClient("who.v1", framework.ClientConfig{TLS: clientTLS, Resolver: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	one, err := whoAreYou.Call(t.Context(), client, &nothing{})
	if err != nil {
		t.Fatal(err)
	}

	// The one that answers dies: others answer, and it leaves after the time to live.
	crash[one.Address]()
	delete(crash, one.Address)
	w.ask(client, func(address string) bool { return crash[address] != nil })
	for set, err := range registry.Watch(t.Context(), "who.v1") {
		if err != nil {
			t.Fatal(err)
		}
		if len(set) == 2 && crash[set[0].Address] != nil && crash[set[1].Address] != nil {
			break
		}
	}

	// The engine is away: calls go on, without one that fails.
	w.stopEngine()
	for range 50 {
		if _, err := whoAreYou.Call(t.Context(), client, &nothing{}); err != nil {
			t.Errorf("without an engine: %v", err)
		}
	}
	w.startEngine()
	for range 50 {
		if _, err := whoAreYou.Call(t.Context(), client, &nothing{}); err != nil {
			t.Errorf("with the engine back: %v", err)
		}
	}

	// A new server gets calls, at the latest when it is the only one.
	old := crash
	crash = map[string]func(){}
	fresh := start()
	for _, f := range old {
		f()
	}
	w.ask(client, func(address string) bool { return address == fresh })
}
