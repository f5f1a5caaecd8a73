package pool

import (
	"context"
	"errors"
	"iter"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestARegistryTellsOfChanges(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		var r Registry
		register := func(e Endpoint) func(context.Context) error {
			release, err := r.Register(t.Context(), "greeter", e)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return release
		}
		p := open("greeter", Config[*testConn]{Resolver: &r})
		if _, err := p.Get(t.Context(), Main, Pick{}); !errors.Is(err, errNoEndpoints) {
			t.Errorf("without endpoints: %v", err)
		}
		first := register(Endpoint{Address: "a:1"})
		if c := get(t, p, Main); c.address != "a:1" {
			t.Errorf("connected to %s", c.address)
		}
		// The same endpoint again, with another weight: the connection stays, and the first release does nothing.
		second := register(Endpoint{Address: "a:1", Weight: 5})
		if err := first(t.Context()); err != nil {
			t.Error(err)
		}
		if list := resolve(t, &r2{&r, "greeter"}); len(list) != 1 || list[0].Weight != 5 {
			t.Errorf("registered: %v", list)
		}
		n.wantDials("a:1")
		register(Endpoint{Address: "b:2"})
		if err := errors.Join(second(t.Context()), second(t.Context())); err != nil {
			t.Error(err)
		}
		if list := resolve(t, &r2{&r, "greeter"}); len(list) != 1 || list[0].Address != "b:2" {
			t.Errorf("registered: %v", list)
		}
		if _, err := r.Register(t.Context(), "greeter", Endpoint{Address: "nowhere"}); err == nil {
			t.Error("registered an endpoint without a port")
		}
	})
}

// r2 is a resolver that watches one target of another.
type r2 struct {
	r      Resolver
	target string
}

func (r *r2) Watch(ctx context.Context, _ string) iter.Seq2[[]Endpoint, error] {
	return r.r.Watch(ctx, r.target)
}

func TestSRVRecords(t *testing.T) {
	r := &srvResolver{name: "_mycel._udp.example.org", lookup: func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		if service+proto != "" || name != "_mycel._udp.example.org" {
			t.Errorf("looked up %q %q %q", service, proto, name)
		}
		return name, []*net.SRV{{Target: "a.example.org.", Port: 1, Priority: 10, Weight: 60}, {Target: ".", Port: 0}}, nil
	}}
	list := resolve(t, r)
	if want := (Endpoint{Address: "a.example.org:1", Priority: 10, Weight: 60}); len(list) != 1 || list[0] != want {
		t.Errorf("got %v, want only %v", list, want)
	}
}

func TestServerNames(t *testing.T) {
	for target, want := range map[string]string{
		"greeter:4433": "greeter", "[::1]:1": "::1", "dns:///greeter.example.org:1": "greeter.example.org",
		"srv:///example.org": "example.org", "srv:///_rpc._udp.example.org.": "example.org", "static:///a:1,b:2": "", "a name": "",
	} {
		if got := ServerName(target); got != want {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
	}
}

// An engine that fails, hangs, or says that there is nobody, does not take away the endpoints that are known.
func TestTheLastKnownEndpointsStay(t *testing.T) {
	for name, spoil := range map[string]func(r *testResolver){
		"an error":     func(r *testResolver) { r.list, r.err = nil, errRefused },
		"an empty set": func(r *testResolver) { r.list = nil },
		"silence":      func(r *testResolver) { r.delay = 24 * time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network, open openFunc) {
				r := &testResolver{list: []Endpoint{{Address: "a:1"}}}
				p := open("greeter", Config[*testConn]{Resolver: r})
				get(t, p, Main).fail(errRefused)
				synctest.Wait()
				r.set(func() { spoil(r) })
				for range 20 {
					time.Sleep(time.Minute)
					get(t, p, Main).fail(errRefused)
				}
				synctest.Wait()
				if r.count() < 2 {
					t.Errorf("resolved %d times", r.count())
				}
			})
		})
	}
}

func TestResolversThatOnlyAskAreAskedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network, open openFunc) {
		r := &testResolver{list: []Endpoint{{Address: "a:1"}}}
		p := open("greeter", Config[*testConn]{Resolver: r, ResolveInterval: 10 * time.Second})
		for want := 1; want <= 4; want++ {
			get(t, p, Main)
			synctest.Wait()
			if r.count() != want {
				t.Fatalf("resolved %d times, want %d", r.count(), want)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		time.Sleep(time.Hour) // nobody calls: nobody is asked
		synctest.Wait()
		if r.count() != 5 {
			t.Errorf("resolved %d times by the end of an idle hour", r.count())
		}
	})
}
