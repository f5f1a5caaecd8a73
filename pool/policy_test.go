package pool

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// settle lets the pool open every connection that it wants, in a bubble.
func settle(t *testing.T, p *Pool[*testConn]) {
	t.Helper()
	get(t, p, Main)
	time.Sleep(2 * tick)
	synctest.Wait()
}

// spreadOf returns the share of n calls that goes to each address. use is called with each connection.
func spreadOf(t *testing.T, p *Pool[*testConn], n int, use func(*testConn)) map[string]float64 {
	t.Helper()
	shares := map[string]float64{}
	for range n {
		c := get(t, p, Main)
		shares[c.address] += 1 / float64(n)
		if use != nil {
			use(c)
		}
	}
	return shares
}

func wantShares(t *testing.T, what string, got, want map[string]float64, tolerance float64) {
	t.Helper()
	for address, share := range want {
		if math.Abs(got[address]-share) > tolerance {
			t.Errorf("%s: %s gets %.2f of the calls, want %.2f", what, address, got[address], share)
		}
	}
	for address := range got {
		if _, ok := want[address]; !ok {
			t.Errorf("%s: %s gets calls", what, address)
		}
	}
}

func TestPoliciesShareCalls(t *testing.T) {
	third := map[string]float64{"a:1": 1. / 3, "b:2": 1. / 3, "c:3": 1. / 3}
	byWeight := map[string]float64{"a:1": 0.5, "b:2": 0.25, "c:3": 0.25}
	for _, c := range []struct {
		policy Policy
		weight int // of the first endpoint; that of others is 1
		want   map[string]float64
	}{
		{LeastLoaded, 1, third}, {LeastLoaded, 2, byWeight},
		{RoundRobin, 1, third}, {RoundRobin, 2, third},
		{Weighted, 1, third}, {Weighted, 2, byWeight},
		{PickFirst, 1, map[string]float64{"a:1": 1}},
	} {
		inBubble(t, func(t *testing.T, n *network, open openFunc) {
			p := open("greeter", Config[*testConn]{Policy: c.policy, Resolver: Static(
				Endpoint{Address: "a:1", Weight: c.weight}, Endpoint{Address: "b:2"}, Endpoint{Address: "c:3"})})
			settle(t, p)
			wantShares(t, fmt.Sprintf("%v, weight %d", c.policy, c.weight), spreadOf(t, p, 3000, nil), c.want, 0.06)
		})
	}
}

func TestBusyEndpointsGetFewerCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("static:///a:1,b:2", Config[*testConn]{})
		settle(t, p)
		for _, c := range p.Conns(Main) {
			if c.address == "a:1" {
				c.outstanding.Store(10)
			}
		}
		wantShares(t, "calls of this pool", spreadOf(t, p, 100, nil), map[string]float64{"b:2": 1}, 1e-9)
		for _, c := range p.Conns(Main) {
			c.outstanding.Store(0)
			if c.address == "b:2" {
				c.others.Store(50)
			}
		}
		time.Sleep(2 * tick)
		wantShares(t, "calls of others", spreadOf(t, p, 100, nil), map[string]float64{"a:1": 1}, 1e-9)
		for _, c := range p.Conns(Main) { // what was said long ago does not count
			c.others.Store(-1)
		}
		time.Sleep(hintFor + 2*tick)
		wantShares(t, "old news", spreadOf(t, p, 1000, nil), map[string]float64{"a:1": 0.5, "b:2": 0.5}, 0.1)
	})
}

func TestEndpointsOfABetterPriorityOrZoneComeFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("greeter", Config[*testConn]{Zone: "here", Resolver: Static(
			Endpoint{Address: "a:1", Zone: "there"}, Endpoint{Address: "b:2", Zone: "here"}, Endpoint{Address: "c:3", Priority: 1, Zone: "here"})})
		only := func(what, address string) {
			t.Helper()
			time.Sleep(3 * tick)
			wantShares(t, what, spreadOf(t, p, 50, nil), map[string]float64{address: 1}, 1e-9)
		}
		fail := func(address string) {
			n.setDown(address, errRefused)
			for _, c := range p.Conns(Main) {
				if c.address == address {
					c.fail(errRefused)
				}
			}
		}
		settle(t, p)
		only("all well", "b:2")
		fail("b:2")
		only("nobody in the zone", "a:1")
		fail("a:1")
		only("nobody of the priority", "c:3")
		n.setDown("b:2", nil)
		time.Sleep(time.Minute)
		get(t, p, Main)
		only("back", "b:2")
	})
}

func TestKeysStayWithTheirEndpoint(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		var r Registry
		release := map[string]func(context.Context) error{}
		for _, address := range []string{"a:1", "b:2", "c:3", "d:4"} {
			f, err := r.Register(t.Context(), "greeter", Endpoint{Address: address})
			if err != nil {
				t.Fatal(err)
			}
			release[address] = f
		}
		first := open("greeter", Config[*testConn]{Resolver: &r})
		second := open("greeter", Config[*testConn]{Resolver: &r, Policy: RoundRobin})
		owners := func(p *Pool[*testConn]) map[string]string {
			m := map[string]string{}
			for i := range 400 {
				key := fmt.Sprint("user ", i)
				c, err := p.Get(t.Context(), Main, Pick{Key: key})
				if err != nil {
					t.Fatal(err)
				}
				m[key] = c.address
			}
			return m
		}
		before := owners(first) // from the first call on
		counts := map[string]int{}
		for key, address := range owners(second) {
			if before[key] != address {
				t.Fatalf("%s belongs to %s for one client and to %s for another", key, before[key], address)
			}
			counts[address]++
		}
		for address, n := range counts {
			if n < 50 || n > 150 {
				t.Errorf("%s has %d of 400 keys", address, n)
			}
		}
		// One endpoint fails: only its keys move. Then it is back.
		n.setDown("b:2", errRefused)
		for _, c := range first.Conns(Main) {
			if c.address == "b:2" {
				time.Sleep(stableAfter)
				c.fail(errRefused)
			}
		}
		time.Sleep(tick)
		for key, address := range owners(first) {
			if was := before[key]; was != address && was != "b:2" || address == "b:2" {
				t.Errorf("%s has moved from %s to %s", key, was, address)
			}
		}
		n.setDown("b:2", nil)
		time.Sleep(time.Minute)
		for key, address := range owners(first) {
			if before[key] != address {
				t.Errorf("%s is at %s, was at %s", key, address, before[key])
			}
		}
		// A key moves when its endpoint has refused the call.
		c := get(t, first, Main)
		other, err := first.Get(t.Context(), Main, Pick{Key: keyOf(before, c.address), Avoid: []*Health{c.health}})
		if err != nil || other.address == c.address {
			t.Errorf("got a connection to %s, which was to be avoided: %v", c.address, err)
		}
		if err := release["d:4"](t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for key, address := range owners(first) {
			if was := before[key]; was != address && was != "d:4" || address == "d:4" {
				t.Errorf("%s has moved from %s to %s", key, was, address)
			}
		}
	})
}

func keyOf(owners map[string]string, address string) string {
	for key, a := range owners {
		if a == address {
			return key
		}
	}
	return ""
}

func TestWeightsOfKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("greeter", Config[*testConn]{Resolver: Static(Endpoint{Address: "a:1", Weight: 3}, Endpoint{Address: "b:2", Weight: 1})})
		settle(t, p)
		shares := map[string]float64{}
		for i := range 4000 {
			c, err := p.Get(t.Context(), Main, Pick{Key: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			shares[c.address] += 1. / 4000
		}
		wantShares(t, "keys", shares, map[string]float64{"a:1": 0.75, "b:2": 0.25}, 0.05)
	})
}

func TestOnlyOneEndpointWillDo(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("static:///a:1,b:2,c:3", Config[*testConn]{})
		settle(t, p)
		c := get(t, p, Main)
		for range 20 {
			got, err := p.Get(t.Context(), Bulk, Pick{Only: c.health})
			if err != nil || got.address != c.address || got.role != Bulk {
				t.Fatalf("got %v, %v", got, err)
			}
		}
		n.setDown(c.address, errRefused)
		for _, b := range p.Conns(Bulk) {
			b.fail(errRefused)
		}
		synctest.Wait()
		_, err := p.Get(t.Context(), Bulk, Pick{Only: c.health})
		if de := wantDialError(t, err); de.Endpoint.Address != c.address {
			t.Errorf("the error is about %v", de.Endpoint)
		}
		if _, err := p.Get(t.Context(), Main, Pick{Only: new(Health)}); wantDialError(t, err).Err != errNotAnEndpoint {
			t.Errorf("an endpoint of another pool: %v", err)
		}
	})
}

// Of very many endpoints each pool uses some, and those that fail are replaced by others.
func TestAPoolUsesSomeOfVeryManyEndpoints(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		var list []Endpoint
		for i := range 200 {
			list = append(list, Endpoint{Address: fmt.Sprintf("host:%d", i)})
		}
		p := open("greeter", Config[*testConn]{Resolver: Static(list...)})
		settle(t, p)
		conns := p.Conns(Main)
		if len(conns) != maxSpread {
			t.Errorf("%d connections, want %d", len(conns), maxSpread)
		}
		for _, c := range conns[:10] {
			n.setDown(c.address, errRefused)
			c.fail(errRefused)
		}
		get(t, p, Main)
		time.Sleep(3 * tick)
		if got := len(p.Conns(Main)); got != maxSpread {
			t.Errorf("%d connections after ten were lost, want %d", got, maxSpread)
		}
	})
}
