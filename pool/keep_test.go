package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// status returns what the pool knows of an endpoint.
func status(t *testing.T, p *Pool[*testConn], address string) Status {
	t.Helper()
	for _, s := range p.Endpoints() {
		if s.Endpoint.Address == address {
			return s
		}
	}
	t.Fatalf("nothing is known of %s", address)
	return Status{}
}

func wantState(t *testing.T, p *Pool[*testConn], address string, want State) {
	t.Helper()
	if s := status(t, p, address); s.State != want {
		t.Errorf("%s is %v, want %v", address, s.State, want)
	}
}

// at returns a main connection to the address.
func at(t *testing.T, p *Pool[*testConn], address string) *testConn {
	t.Helper()
	for _, c := range p.Conns(Main) {
		if c.address == address && !c.Draining() {
			return c
		}
	}
	t.Fatalf("no connection to %s", address)
	return nil
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{GrowAt: 1, MaxMain: 3})
		for range 10 {
			get(t, p, Main).outstanding.Add(1)
			synctest.Wait()
		}
		get(t, p, Bulk).outstanding.Store(1)
		if n := len(p.Conns(Main)); n != 3 {
			t.Fatalf("%d connections under load, want 3", n)
		}
		busy := p.Conns(Main)[0]
		for _, c := range append(p.Conns(Main), p.Conns(Bulk)...) {
			if c != busy {
				c.outstanding.Store(0)
			}
		}
		time.Sleep(time.Minute - 2*tick)
		if main, bulk := len(p.Conns(Main)), len(p.Conns(Bulk)); main != 3 || bulk != 1 {
			t.Errorf("%d main and %d bulk connections before their time", main, bulk)
		}
		time.Sleep(4 * tick)
		if main := p.Conns(Main); len(main) != 1 || main[0] != busy || len(p.Conns(Bulk)) != 0 {
			t.Errorf("%d main and %d bulk connections are left, want the busy one", len(main), len(p.Conns(Bulk)))
		}
		time.Sleep(time.Hour)
		n.wantDials("a:1", "a:1", "a:1", "a:1")
	})
}

// TestAPoolThatNobodyUsesRests: it looks after its connection every 30 seconds, and as before from the next use on.
func TestAPoolThatNobodyUsesRests(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{})
		conn := get(t, p, Main)
		time.Sleep(10 * tick)
		looks := conn.looks.Load()
		time.Sleep(4 * time.Minute)
		if n := conn.looks.Load() - looks; n > 16 {
			t.Errorf("looked %d times within four minutes at a connection that nobody uses", n)
		}
		get(t, p, Main).outstanding.Store(1)
		synctest.Wait()
		looks = conn.looks.Load()
		time.Sleep(10*tick + tick/2)
		if n := conn.looks.Load() - looks; n < 10 {
			t.Errorf("looked %d times within ten seconds at a connection with a call", n)
		}
		conn.fail(errors.New("lost"))
		synctest.Wait()
		n.wantDials("a:1", "a:1")
	})
}

func TestAConnectionThatLeavesIsReplacedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{})
		old := get(t, p, Main)
		old.outstanding.Store(1)
		old.leave()
		synctest.Wait()
		n.wantDials("a:1", "a:1") // before anybody asks
		if c := get(t, p, Main); c == old {
			t.Error("got the connection that leaves")
		}
		if s := status(t, p, "a:1"); s.Main != 2 || s.Load != 1 || s.State != Ready {
			t.Errorf("status: %+v", s)
		}
		select {
		case <-old.Done():
			t.Error("the old connection was closed while a call was in progress")
		default:
		}
		old.fail(errors.New("drained"))
		synctest.Wait()
		if s := status(t, p, "a:1"); s.Main != 1 {
			t.Errorf("status: %+v", s)
		}
	})
}

func TestSilentEndpointsAreUsedOnlyIfNothingElseIs(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("static:///a:1,b:2", Config[*testConn]{Policy: RoundRobin})
		settle(t, p)
		a, b := at(t, p, "a:1"), at(t, p, "b:2")
		a.silent.Store(true)
		wantState(t, p, "a:1", Silent)
		wantShares(t, "one is silent", spreadOf(t, p, 100, nil), map[string]float64{"b:2": 1}, 1e-9)
		if !p.Elsewhere(Main, a.health) || p.Elsewhere(Main, b.health) {
			t.Error("Elsewhere does not know where calls can go")
		}
		b.silent.Store(true)
		wantShares(t, "both are silent", spreadOf(t, p, 1000, nil), map[string]float64{"a:1": 0.5, "b:2": 0.5}, 0.2)
		a.silent.Store(false)
		wantShares(t, "one is back", spreadOf(t, p, 100, nil), map[string]float64{"a:1": 1}, 1e-9)
		wantState(t, p, "a:1", Ready)
	})
}

func TestEndpointsWhoseCallsFailAreEjectedForAWhile(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		core, logs := observer.New(zap.InfoLevel)
		p := open("static:///a:1,b:2,c:3", Config[*testConn]{Logger: zap.New(core)})
		settle(t, p)
		a := at(t, p, "a:1")
		eject := func(failures int) {
			for range failures {
				a.health.Failed(true)
			}
		}
		eject(4)
		a.health.Succeeded()
		eject(4)
		wantState(t, p, "a:1", Ready) // not in a row
		want := 10 * time.Second
		for attempt := 1; attempt <= 3; attempt++ {
			eject(1) // the fifth in a row; on probation one is enough
			s := status(t, p, "a:1")
			if pause := time.Until(s.RetryAt); s.State != Ejected || pause < want*8/10 || pause > want*12/10 {
				t.Errorf("ejection %d: %v for %v, want about %v", attempt, s.State, pause, want)
			}
			wantShares(t, "ejected", spreadOf(t, p, 300, nil), map[string]float64{"b:2": 0.5, "c:3": 0.5}, 0.15)
			time.Sleep(time.Until(s.RetryAt) + tick)
			wantState(t, p, "a:1", Ready)
			want *= 2
		}
		a.health.Succeeded()
		eject(1)
		wantState(t, p, "a:1", Ready) // the probation is over
		if logs.FilterMessage("endpoint is ejected").Len() != 3 {
			t.Errorf("logged: %v", logs.All())
		}
	})
}

func TestNotTooManyEndpointsAreEjected(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		for _, c := range []struct {
			target   string
			ejection Ejection
			want     int
		}{
			{"static:///a:1,b:2,c:3,d:4", Ejection{}, 2},
			{"static:///a:1,b:2,c:3,d:4", Ejection{MaxShare: 1}, 3}, // one always stays
			{"static:///a:1,b:2,c:3,d:4", Ejection{Failures: -1}, 0},
			{"static:///a:1,b:2", Ejection{}, 1},
			{"a:1", Ejection{}, 0},
		} {
			p := open(c.target, Config[*testConn]{Ejection: c.ejection})
			settle(t, p)
			for range 100 {
				for _, conn := range p.Conns(Main) {
					conn.health.Failed(true)
				}
			}
			ejected := 0
			for _, s := range p.Endpoints() {
				if s.State == Ejected {
					ejected++
				}
			}
			if ejected != c.want {
				t.Errorf("%s, %+v: %d are ejected, want %d", c.target, c.ejection, ejected, c.want)
			}
			get(t, p, Main)
		}
	})
}

func TestEndpointsThatDoWorseThanOthersAreEjected(t *testing.T) {
	for name, c := range map[string]struct {
		calls   int
		failing map[string]int // of ten calls
		want    State
	}{
		"worse than the others":   {100, map[string]int{"a:1": 4}, Ejected},
		"all are as bad":          {100, map[string]int{"a:1": 4, "b:2": 3, "c:3": 4}, Ready},
		"a little worse":          {100, map[string]int{"a:1": 1}, Ready},
		"too few calls to say so": {10, map[string]int{"a:1": 9}, Ready},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network, open openFunc) {
				p := open("static:///a:1,b:2,c:3", Config[*testConn]{})
				settle(t, p)
				time.Sleep(rateInterval)
				get(t, p, Main) // whoever makes calls does that first
				for _, conn := range p.Conns(Main) {
					for i := range c.calls {
						if i%10 < c.failing[conn.address] {
							conn.health.Failed(false)
						} else {
							conn.health.Succeeded()
						}
					}
				}
				time.Sleep(rateInterval + tick)
				wantState(t, p, "a:1", c.want)
			})
		})
	}
}

func TestEndpointsThatAreGoneGetNoMoreCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		var r Registry
		var release [2]func(context.Context) error
		for i, address := range []string{"a:1", "b:2"} {
			f, err := r.Register(t.Context(), "greeter", Endpoint{Address: address})
			if err != nil {
				t.Fatal(err)
			}
			release[i] = f
		}
		p := open("greeter", Config[*testConn]{Resolver: &r})
		settle(t, p)
		a := at(t, p, "a:1")
		a.outstanding.Store(1)
		if err := release[0](t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantState(t, p, "a:1", Removed)
		wantShares(t, "one is gone", spreadOf(t, p, 100, nil), map[string]float64{"b:2": 1}, 1e-9)
		time.Sleep(time.Hour)
		if a.Draining() {
			t.Error("the connection was closed while a call was in progress")
		}
		// The last one fails: that which is gone may still be there.
		n.setDown("b:2", errRefused)
		at(t, p, "b:2").fail(errRefused)
		synctest.Wait()
		wantShares(t, "nothing else is there", spreadOf(t, p, 10, nil), map[string]float64{"a:1": 1}, 1e-9)
		n.setDown("b:2", nil)
		time.Sleep(time.Minute)
		a.outstanding.Store(0)
		time.Sleep(3 * tick)
		if len(p.Endpoints()) != 1 || !a.Draining() {
			t.Errorf("left: %v", p.Endpoints())
		}
	})
}

func TestAPoolThatNobodyUsesDoesNotDial(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("a:1", Config[*testConn]{})
		get(t, p, Main)
		time.Sleep(unusedAfter + 2*tick)
		at(t, p, "a:1").fail(errRefused)
		time.Sleep(24 * time.Hour)
		n.wantDials("a:1")
		wantState(t, p, "a:1", Idle)
		get(t, p, Main)
	})
}

func TestStatusTellsWhy(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		n.setDown("b:2", errRefused)
		p := open("static:///a:1,b:2", Config[*testConn]{})
		if s := status(t, p, "a:1"); s.State != Idle || s.Err != nil {
			t.Errorf("at first: %+v", s)
		}
		settle(t, p)
		c := at(t, p, "a:1")
		c.outstanding.Store(3)
		c.health.Succeeded()
		c.health.Failed(false)
		a, b := status(t, p, "a:1"), status(t, p, "b:2")
		if a.State != Ready || a.Main != 1 || a.Load != 3 || a.Calls != 2 || a.Failures != 1 || a.RTT == 0 || a.Since.IsZero() {
			t.Errorf("a:1: %+v", a)
		}
		if b.State != Failing || !errors.Is(b.Err, errRefused) || b.Attempts < 3 || !b.RetryAt.After(time.Now()) || b.Main != 0 {
			t.Errorf("b:2: %+v", b)
		}
		if Ejected.String() != "ejected" || State(99).String() != "state 99" || RoundRobin.String() != "round robin" || Policy(99).String() != "policy 99" {
			t.Error("names are wrong")
		}
	})
}
