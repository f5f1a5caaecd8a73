package integration

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/pool"
)

// repeat makes one idempotent call and checks the answer.
func repeat(ctx context.Context, c framework.Caller, opts ...framework.CallOption) error {
	r, err := Repeat.Call(ctx, c, &Text{"x"}, opts...)
	if err == nil && r.Text != "x" {
		err = fmt.Errorf("got %v", r)
	}
	return err
}

func TestARollingRestartFailsNoCall(t *testing.T) {
	c := startCluster(t, 3, framework.ClientConfig{}, framework.ServerConfig{}, echoRepeat)
	c.connected(t)
	load := startLoad(2*time.Millisecond, func() error { // not idempotent: nothing may be lost
		_, err := Say.Call(t.Context(), c.client, &Text{"x"})
		return err
	})
	for i, s := range c.servers {
		load.more(t, 50)
		shutdown(t, s.Server)
		load.more(t, 50)
		s.replace(t, framework.ServerConfig{}, echoRepeat(i, s))
		c.until(t, s, pool.Ready)
	}
	load.more(t, 50)
	load.end(t)
	for i, s := range c.servers {
		if s.handled.Load() == 0 {
			t.Errorf("server %d has had no calls", i)
		}
	}
}

func TestAKilledServerFailsNoIdempotentCall(t *testing.T) {
	for _, policy := range []pool.Policy{pool.LeastLoaded, pool.RoundRobin} {
		t.Run(policy.String(), func(t *testing.T) {
			c := startCluster(t, 3, framework.ClientConfig{Policy: policy}, framework.ServerConfig{}, echoRepeat)
			c.connected(t)
			load := startLoad(2*time.Millisecond, func() error { return repeat(t.Context(), c.client) })
			load.more(t, 100)
			kill(t, &c.servers[1].pair) // its socket is gone, and nobody is told
			s := c.until(t, c.servers[1], pool.Silent, pool.Connecting, pool.Failing)
			t.Logf("%v: %+v", s.State, s)
			load.more(t, 500)
			load.end(t)
		})
	}
}

func TestABlackHoledServerIsOutOfUseWithinASecondAndComesBack(t *testing.T) {
	c := startCluster(t, 3, framework.ClientConfig{Policy: pool.RoundRobin, Limits: framework.ConnLimits{SilenceTimeout: 2 * time.Second},
		DialTimeout: time.Second}, framework.ServerConfig{}, echoRepeat)
	c.connected(t)
	load := startLoad(5*time.Millisecond, func() error { return repeat(t.Context(), c.client) })
	load.more(t, 50)
	hole := c.servers[0]
	hole.relay.open.Store(false)
	c.until(t, hole, pool.Silent)
	c.until(t, hole, pool.Connecting, pool.Failing) // the connection has been given up
	s := c.until(t, hole, pool.Failing)
	if s.Err == nil || s.Attempts == 0 || s.Main != 0 {
		t.Errorf("status of the server that cannot be reached: %+v", s)
	}
	hole.relay.open.Store(true)
	c.until(t, hole, pool.Ready)
	before := hole.handled.Load()
	load.more(t, 100)
	if hole.handled.Load() == before {
		t.Error("the server is back and gets no calls")
	}
	load.end(t)
}

func TestCallsThatMustNotRunTwiceWaitForASilentServer(t *testing.T) {
	started, release := make(chan context.Context, 1), make(chan struct{})
	patient := framework.ConnLimits{SilenceTimeout: time.Minute} // so that the connection is there when the silence has been seen
	c := startCluster(t, 2, framework.ClientConfig{Policy: pool.PickFirst, Limits: patient}, framework.ServerConfig{}, func(int, *clusterServer) func(framework.Registrar) {
		return func(r framework.Registrar) { Say.Handle(r, blocked(started, release)) }
	})
	ended := make(chan error, 1)
	go func() {
		_, err := Say.Call(t.Context(), c.client, &Text{"x"})
		ended <- err
	}()
	<-started
	c.servers[0].relay.open.Store(false)
	c.until(t, c.servers[0], pool.Silent)
	c.servers[0].relay.open.Store(true)
	c.until(t, c.servers[0], pool.Ready)
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
}

func TestConnectionsThatAreTooOldAreReplacedUnnoticed(t *testing.T) {
	c := startCluster(t, 1, framework.ClientConfig{}, framework.ServerConfig{MaxConnectionAge: time.Second}, echoRepeat)
	load := startLoad(2*time.Millisecond, func() error {
		_, err := Say.Call(t.Context(), c.client, &Text{"x"})
		return err
	})
	wait := time.NewTicker(20 * time.Millisecond)
	defer wait.Stop()
	last := time.Time{}
	for seen := 0; seen < 3; { // the first one and two successors
		<-wait.C
		if conns := c.client.Stats().Conns; len(conns) > 0 && conns[0].Since.After(last) {
			last = conns[0].Since
			seen++
		}
	}
	load.end(t)
}

func TestAServerAtItsConnectionLimitSendsClientsElsewhere(t *testing.T) {
	full := startCluster(t, 1, framework.ClientConfig{}, framework.ServerConfig{MaxConnections: 1}, echoRepeat)
	full.connected(t)
	other := startCluster(t, 1, framework.ClientConfig{}, framework.ServerConfig{}, echoRepeat)
	second := must(framework.NewClient("static:///"+full.servers[0].address+","+other.servers[0].address,
		framework.ClientConfig{TLS: clientTLS, Objects: networkOnly}))(t, "NewClient")
	defer second.Close()
	for range 50 {
		if _, err := Say.Call(t.Context(), second, &Text{"x"}); err != nil {
			t.Fatalf("with another server: %v", err)
		}
	}
	if full.servers[0].handled.Load() != 0 {
		t.Error("the full server has handled calls of a client that it refused")
	}
	third := must(framework.NewClient(full.servers[0].address, framework.ClientConfig{TLS: clientTLS, Objects: networkOnly}))(t, "NewClient")
	defer third.Close()
	_, err := Say.Call(t.Context(), third, &Text{"x"})
	wantCode(t, "with no other server", err, framework.Unavailable)
	wantUnprocessed(t, "with no other server", err)
	wantWords(t, "with no other server", err, "MaxConnections")
	if err := repeat(t.Context(), full.client); err != nil {
		t.Errorf("the client that is connected: %v", err)
	}
}

// Many clients at once against one server: each is served, or told which limit it has met, before its context ends, and all are
// served in the end.
func TestADialStormEndsWell(t *testing.T) {
	clients := 1000
	if raceDetector {
		clients = 100
		t.Logf("with the race detector, %d clients instead of 1000", clients)
	}
	p := overQUIC.start(t, setup{serve: serveAll})
	list := make([]*framework.Client, clients)
	for i := range list {
		list[i] = must(framework.NewClient(p.socket.LocalAddr().String(), framework.ClientConfig{
			TLS: clientTLS, Objects: networkOnly, Transport: framework.TransportQUIC, MaxConnections: 1,
		}))(t, "NewClient")
	}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for _, c := range list {
			wg.Go(func() { c.Close() })
		}
		wg.Wait()
	})
	ctx, cancel := context.WithTimeoutCause(t.Context(), 4*time.Minute, errBored)
	defer cancel()
	// The server resets who still speaks to it on a connection whose handshake took too long for it.
	limits := []string{"MaxConnections", "HandshakeTimeout", "DialTimeout", "stateless reset"}
	var wg sync.WaitGroup
	var atOnce, refused atomic.Int64
	for _, c := range list {
		wg.Go(func() {
			pause := time.NewTicker(time.Second)
			defer pause.Stop()
			for first := true; ; first = false {
				_, err := Say.Call(ctx, c, &Text{"x"})
				if err == nil {
					if first {
						atOnce.Add(1)
					}
					return
				}
				refused.Add(1)
				named := func(limit string) bool { return strings.Contains(err.Error(), limit) }
				if !errors.Is(err, framework.Unavailable) || !slices.ContainsFunc(limits, named) {
					t.Errorf("a client that was not served: %v", err)
					return
				}
				select {
				case <-pause.C:
				case <-ctx.Done():
					t.Errorf("a client that came again and again was not served: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d were served at once, %d calls were told to come back", atOnce.Load(), clients, refused.Load())
	if n := len(p.server.Stats().Conns); n < clients {
		t.Errorf("the server has %d connections, want one for each client", n)
	}
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	const perClient = 512 << 10 // both ends; the windows of what it may send are not allocated before it sends
	if each := memory.HeapAlloc / uint64(clients); each > perClient {
		t.Errorf("the storm left %d KiB for each client, want at most %d", each>>10, perClient>>10)
	}
}

// A name server that fails does not take the servers away that are known, and the error of a first look-up says what is wrong.
func TestAResolverThatFailsTakesNothingAway(t *testing.T) {
	c := startCluster(t, 1, framework.ClientConfig{}, framework.ServerConfig{}, echoRepeat)
	var registry pool.Registry
	release := must(registry.Register(t.Context(), "greeter", pool.Endpoint{Address: c.servers[0].address}))(t, "Register")
	known := must(framework.NewClient("greeter", framework.ClientConfig{TLS: clientTLS, Objects: networkOnly, Resolver: &registry}))(t, "NewClient")
	defer known.Close()
	if err := repeat(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	if err := release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := repeat(t.Context(), known); err != nil {
			t.Fatal(err)
		}
	}
	unknown := must(framework.NewClient("dns:///mycel.invalid:4433", framework.ClientConfig{TLS: clientTLS, Objects: networkOnly}))(t, "NewClient")
	defer unknown.Close()
	_, err := Say.Call(t.Context(), unknown, &Text{"x"})
	wantCode(t, "a name that does not exist", err, framework.Unavailable)
	wantUnprocessed(t, "a name that does not exist", err)
	wantWords(t, "a name that does not exist", err, "resolve", "mycel.invalid")
}

func TestAnnouncedServersAreFoundAndLeaveBeforeTheyStop(t *testing.T) {
	checkBaseline(t)
	var registry pool.Registry
	start := func() *framework.Server {
		s := newServer(t, framework.ServerConfig{Objects: networkOnly}, serveAll)
		socket := listenUDP(t, "127.0.0.1:0")
		new(pair).serve(t, s, socket)
		if err := s.Announce(t.Context(), &registry, "greeter", pool.Endpoint{Address: socket.LocalAddr().String()}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := start()
	c := must(framework.NewClient("greeter", framework.ClientConfig{TLS: clientTLS, Objects: networkOnly, Resolver: &registry}))(t, "NewClient")
	defer c.Close()
	load := startLoad(2*time.Millisecond, func() error {
		_, err := Say.Call(t.Context(), c, &Text{"x"})
		return err
	})
	for range 4 { // each server at an address of its own
		load.more(t, 50)
		next := start()
		shutdown(t, old)
		old = next
	}
	load.more(t, 50)
	load.end(t)
	if n := len(c.Endpoints()); n != 1 {
		t.Errorf("%d endpoints are left", n)
	}
	shutdown(t, old)
	err := old.Announce(t.Context(), &registry, "greeter", pool.Endpoint{Address: "127.0.0.1:1"})
	wantCode(t, "announcing a server that has been shut down", err, framework.FailedPrecondition)
}

func TestHedgesHideASlowServer(t *testing.T) {
	canceled := make(chan struct{}, 100)
	c := startCluster(t, 2, framework.ClientConfig{Policy: pool.RoundRobin}, framework.ServerConfig{}, func(i int, s *clusterServer) func(framework.Registrar) {
		return func(r framework.Registrar) {
			Repeat.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				s.handled.Add(1)
				if i == 0 {
					<-ctx.Done()
					canceled <- struct{}{}
					return nil, ctx.Err()
				}
				if err := framework.SetTrailer(ctx, "from", "the fast one"); err != nil {
					return nil, err
				}
				return q, nil
			})
		}
	})
	c.connected(t)
	for range 10 {
		var trailer framework.Metadata
		hedge := framework.WithHedge(framework.Hedge{Delay: 10 * time.Millisecond})
		if err := repeat(t.Context(), c.client, hedge, framework.TrailerInto(&trailer)); err != nil {
			t.Fatal(err)
		}
		if got := trailer.Get("from"); got != "the fast one" {
			t.Errorf("the trailer says %q", got)
		}
	}
	slow := c.servers[0].handled.Load()
	if slow == 0 {
		t.Error("the slow server has not been called")
	}
	for range slow {
		<-canceled // each loser
	}
	_, err := Repeat.Call(t.Context(), c.client, &Text{}, framework.WithHedge(framework.Hedge{Delay: time.Second, Max: 9}))
	wantCode(t, "too many hedges", err, framework.InvalidArgument)
	wantWords(t, "too many hedges", err, "Hedge.Max is 9", "2 to 5")
}

func TestCallsWithAKeyGoToOneServer(t *testing.T) {
	c := startCluster(t, 3, framework.ClientConfig{}, framework.ServerConfig{}, echoRepeat)
	for range 50 {
		if err := repeat(t.Context(), c.client, framework.WithKey("user 42")); err != nil {
			t.Fatal(err)
		}
	}
	owners := 0
	for _, s := range c.servers {
		if n := s.handled.Load(); n == 50 {
			owners++
		} else if n != 0 {
			t.Errorf("a server got %d of 50 calls with the same key", n)
		}
	}
	if owners != 1 {
		t.Errorf("%d servers got all calls", owners)
	}
}

func TestAServerThatIsBusyWithOthersGetsFewerCalls(t *testing.T) {
	started, release := make(chan context.Context, 100), make(chan struct{})
	c := startCluster(t, 2, framework.ClientConfig{}, framework.ServerConfig{}, func(i int, s *clusterServer) func(framework.Registrar) {
		return func(r framework.Registrar) {
			Say.Handle(r, blocked(started, release))
			serveRepeat(s, r)
		}
	})
	c.connected(t)
	other := must(framework.NewClient(c.servers[0].address, framework.ClientConfig{TLS: clientTLS, Objects: networkOnly}))(t, "NewClient")
	defer other.Close()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = Say.Call(t.Context(), other, &Text{"x"}) })
	}
	for range 50 {
		<-started
	}
	// Some calls last, so that the client asks how the servers do.
	load := startLoad(2*time.Millisecond, func() error { return repeat(t.Context(), c.client) })
	told := time.NewTicker(5 * time.Millisecond)
	defer told.Stop()
	for c.client.Endpoints()[0].PeerLoad < 40 {
		<-told.C
	}
	busy, idle := c.servers[0].handled.Load(), c.servers[1].handled.Load()
	load.more(t, 200)
	busy, idle = c.servers[0].handled.Load()-busy, c.servers[1].handled.Load()-idle
	if busy*5 > idle {
		t.Errorf("the busy server got %d calls, the other one %d", busy, idle)
	}
	load.end(t)
	close(release)
	wg.Wait()
}

func serveRepeat(s *clusterServer, r framework.Registrar) {
	Repeat.Handle(r, func(_ context.Context, q *Text) (*Text, error) {
		s.handled.Add(1)
		return q, nil
	})
}

func TestFailedCallsAreMadeElsewhereOnlyIfTheyMayBe(t *testing.T) {
	c := startCluster(t, 2, framework.ClientConfig{Policy: pool.RoundRobin, Ejection: pool.Ejection{Failures: -1}}, framework.ServerConfig{},
		func(i int, s *clusterServer) func(framework.Registrar) {
			fail := func(_ context.Context, q *Text) (*Text, error) {
				s.handled.Add(1)
				if i == 0 {
					return nil, framework.Errorf(framework.Unavailable, "broken")
				}
				return q, nil
			}
			return func(r framework.Registrar) {
				Repeat.Handle(r, fail)
				Say.Handle(r, fail)
			}
		})
	c.connected(t)
	for range 20 {
		if err := repeat(t.Context(), c.client); err != nil {
			t.Errorf("an idempotent call: %v", err)
		}
	}
	failures := map[string]int{}
	for range 20 {
		if _, err := Say.Call(t.Context(), c.client, &Text{}); err != nil {
			wantWords(t, "a call that is not idempotent", err, "broken")
			failures["not idempotent"]++
		}
		if repeat(t.Context(), c.client, framework.WithRetry(framework.RetryPolicy{MaxAttempts: 1})) != nil {
			failures["one attempt"]++
		}
		if repeat(t.Context(), c.client, framework.WithRetry(framework.RetryPolicy{Codes: []framework.Code{framework.Aborted}})) != nil {
			failures["another code"]++
		}
	}
	for what, n := range failures {
		if n < 5 || n > 15 {
			t.Errorf("%s: %d of 20 calls failed, want about half", what, n)
		}
	}
	if len(failures) != 3 {
		t.Errorf("failures: %v", failures)
	}
	_, err := Repeat.Call(t.Context(), c.client, &Text{}, framework.WithRetry(framework.RetryPolicy{MaxAttempts: 11}))
	wantCode(t, "too many attempts", err, framework.InvalidArgument)
	wantWords(t, "too many attempts", err, "MaxAttempts is 11", "1 to 10")
}

// When everything fails, retries do not multiply the calls.
func TestRetriesHaveABudget(t *testing.T) {
	c := startCluster(t, 2, framework.ClientConfig{}, framework.ServerConfig{}, func(i int, s *clusterServer) func(framework.Registrar) {
		return func(r framework.Registrar) {
			Repeat.Handle(r, func(context.Context, *Text) (*Text, error) {
				s.handled.Add(1)
				return nil, framework.Errorf(framework.Unavailable, "broken")
			})
		}
	})
	c.connected(t)
	const calls = 1000
	begin := time.Now()
	for range calls {
		err := repeat(t.Context(), c.client, framework.WithRetry(framework.RetryPolicy{MaxAttempts: 10, Pause: time.Nanosecond}))
		wantCode(t, "call", err, framework.Unavailable)
	}
	attempts := c.servers[0].handled.Load() + c.servers[1].handled.Load()
	// A fifth, and ten a second with a burst of those of ten seconds.
	took := time.Since(begin)
	if extra := attempts - calls; extra < 100 || extra > calls/5+100+int64(10*took.Seconds())+10 {
		t.Errorf("%d attempts for %d calls in %v", attempts, calls, took)
	}
}
