package pool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTargets(t *testing.T) {
	cases := []struct {
		target string
		want   string // endpoints or what is looked up, or "error: " and a part of the text
	}{
		{"greeter:4433", "greeter:4433 "},
		{"[::1]:4433", "[::1]:4433 "},
		{"static:///a:1, b:2,a:1", "a:1 b:2 "},
		{"dns:///greeter:4433", "dns greeter"},
		{"srv:///example.org", "srv _mycel._udp.example.org"},
		{"srv:///_rpc._udp.example.org", "srv _rpc._udp.example.org"},
		{"srv:///example.org:4433", "error: not a domain"},
		{"srv:///", "error: not a domain"},
		{"greeter", "error: not host:port"},
		{":4433", "error: not host:port"},
		{"greeter:", "error: not host:port"},
		{"static:///", "error: not host:port"},
		{"static:///a:1,,b:2", "error: not host:port"},
		{"dns:///greeter", "error: not host:port"},
		{"dns://greeter:1", "error: three slashes"},
		{"etcd:///greeter", "error: unknown scheme"},
		{"", "error: not host:port"},
	}
	for _, c := range cases {
		resolver, err := parseTarget(c.target)
		if want, bad := strings.CutPrefix(c.want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", c.target)) {
				t.Errorf("%q: got error %v, want %q and the target in it", c.target, err, want)
			}
			continue
		}
		got := ""
		switch r := resolver.(type) {
		case staticResolver:
			for _, e := range r {
				got += e.Address + " "
			}
		case *dnsResolver:
			got = "dns " + r.host
		case *srvResolver:
			got = "srv " + r.name
		}
		if err != nil || got != c.want {
			t.Errorf("%q: got %s, %v, want %s", c.target, got, err, c.want)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	dial := newNetwork(t).dial
	for _, cfg := range []Config[*testConn]{
		{},
		{Dial: dial, MaxMain: 5},
		{Dial: dial, MaxMain: -1},
		{Dial: dial, MaxBulk: 17},
		{Dial: dial, MaxBulk: -1},
		{Dial: dial, GrowAt: -1},
		{Dial: dial, DialTimeout: -1},
		{Dial: dial, ResolveInterval: -1},
		{Dial: dial, Backoff: Backoff{Base: -1}},
		{Dial: dial, Backoff: Backoff{Base: 2, Max: 1}},
		{Dial: dial, Backoff: Backoff{Jitter: 1.5}},
	} {
		if _, err := New("a:1", cfg); err == nil {
			t.Errorf("accepted %+v", cfg)
		}
	}
	p, err := New("any name", Config[*testConn]{Dial: dial, Resolver: &dnsResolver{}})
	if err != nil || p.Target() != "any name" {
		t.Errorf("with a resolver: %v", err)
	}
	p.Close()
}

func TestBackoffStaysInBounds(t *testing.T) {
	b := Backoff{Base: 100 * time.Millisecond, Max: time.Second, Jitter: 0.5}
	for failures := 1; failures < 100; failures++ {
		plain := min(b.Max, b.Base<<min(failures-1, 20))
		if d := b.after(failures); d < plain/2 || d > plain*3/2 {
			t.Errorf("%v after %d failures, want %v within a half", d, failures, plain)
		}
	}
}

// resolve returns the first result of a resolver.
func resolve(t *testing.T, r Resolver) []Endpoint {
	t.Helper()
	for list, err := range r.Watch(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	t.Fatal("no result")
	return nil
}

func TestDNSResolver(t *testing.T) {
	r := &dnsResolver{host: "greeter", port: "4433", lookup: func(_ context.Context, network, host string) ([]netip.Addr, error) {
		if network != "ip" || host != "greeter" {
			t.Errorf("looked up %s %s", network, host)
		}
		return []netip.Addr{
			netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1"),
		}, nil
	}}
	list := resolve(t, r)
	slices.SortFunc(list, func(a, b Endpoint) int { return strings.Compare(a.Address, b.Address) })
	if want := []Endpoint{{Address: "192.0.2.1:4433"}, {Address: "[2001:db8::1]:4433"}}; !slices.Equal(list, want) {
		t.Errorf("got %v, want %v", list, want)
	}
}

// testResolver returns what it is told and counts.
type testResolver struct {
	list  []Endpoint
	err   error
	delay time.Duration
	calls int
	mu    sync.Mutex
}

// set changes what the resolver is going to find.
func (r *testResolver) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// count returns how often the resolver was asked.
func (r *testResolver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

func (r *testResolver) Watch(ctx context.Context, _ string) iter.Seq2[[]Endpoint, error] {
	return once(func() ([]Endpoint, error) {
		r.mu.Lock()
		r.calls++
		list, err, delay := slices.Clone(r.list), r.err, r.delay
		r.mu.Unlock()
		select {
		case <-time.After(delay):
			return list, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
}

func TestResolutionIsSharedAndRepeatedAfterFailures(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		r := &testResolver{list: []Endpoint{{Address: "a:1"}}, delay: time.Second}
		p := open("greeter", Config[*testConn]{Resolver: r})
		first := get(t, p, Main)
		get(t, p, Bulk)
		if first.address != "a:1" || r.count() != 1 {
			t.Fatalf("connected to %s after %d resolutions", first.address, r.count())
		}
		// The target moves. A failure soon after a resolution does not cause another one.
		r.set(func() { r.list = []Endpoint{{Address: "b:2"}} })
		n.setDown("a:1", errRefused)
		time.Sleep(2 * time.Second)
		first.fail(errRefused)
		_, err := p.Get(t.Context(), Main, Pick{})
		wantDialError(t, err)
		if synctest.Wait(); r.count() != 1 {
			t.Errorf("%d resolutions within %v", r.count(), resolveGap)
		}
		// A little later it does.
		time.Sleep(resolveGap)
		if c := get(t, p, Main); c.address != "b:2" || r.count() != 2 {
			t.Errorf("connected to %s after %d resolutions", c.address, r.count())
		}
	})
}

func TestFailedResolutionBacksOff(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		r := &testResolver{}
		p := open("greeter", Config[*testConn]{Resolver: r})
		_, err := p.Get(t.Context(), Main, Pick{})
		if de := wantDialError(t, err); de.Endpoint != (Endpoint{}) || !errors.Is(err, errNoEndpoints) || de.RetryIn <= 0 {
			t.Errorf("without endpoints: %v", err)
		}
		r.set(func() { r.err = errRefused })
		_, err = p.Get(t.Context(), Main, Pick{})
		if wantDialError(t, err); r.count() != 1 {
			t.Errorf("resolved %d times while it should be left alone", r.count())
		}
		time.Sleep(time.Second)
		_, err = p.Get(t.Context(), Main, Pick{})
		if de := wantDialError(t, err); de.Attempts < 2 || !errors.Is(err, errRefused) {
			t.Errorf("second attempt: %v", err)
		}
		r.set(func() { r.err, r.list = nil, []Endpoint{{Address: "a:1"}} })
		time.Sleep(time.Second)
		get(t, p, Main)
	})
}

func TestCloseGivesUpResolution(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		p := open("greeter", Config[*testConn]{Resolver: &testResolver{delay: time.Hour}, DialTimeout: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Get(ctx, Main, Pick{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get: %v", err)
		}
		start := time.Now()
		p.Close()
		if d := time.Since(start); d != 0 {
			t.Errorf("Close took %v", d)
		}
	})
}
