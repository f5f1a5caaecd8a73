package natspool

import (
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/pool"
	"github.com/nats-io/nats.go/jetstream"
)

func TestEntriesComeChangeAndGo(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	servers, clients := e.join(Config{}), e.join(Config{})
	o := clients.watch("greeter.v1")
	o.want()
	full := pool.Endpoint{Address: "[::1]:4433", Priority: 2, Weight: 3, Zone: "zone é", Metadata: `{"a":"b"}`}
	releaseFull := servers.register("greeter.v1", full)
	if y := o.next(); y.err != nil || len(y.set) != 1 || y.set[0] != full {
		t.Fatalf("got %v, want %v", y, full)
	}
	servers.register("greeter", at("other:1")) // not the same service
	first := servers.register("greeter.v1", at("a:1"))
	o.want("a:1", "[::1]:4433 3")
	second := servers.register("greeter.v1", pool.Endpoint{Address: "a:1", Weight: 7})
	o.want("a:1 7", "[::1]:4433 3")
	first() // does nothing
	releaseFull()
	releaseFull()
	o.want("a:1 7")
	second()
	second()
	o.want()
	if _, err := servers.bucket().Get(t.Context(), keyOf("greeter.v1", "a:1")); err != jetstream.ErrKeyNotFound {
		t.Errorf("after the release: %v", err)
	}
}

// The second registration of an address ends the first one, which must neither write nor remove the entry any more.
func TestTheLastRegistrationOfAnAddressWins(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	one, two := e.join(Config{}), e.join(Config{})
	o := two.watch("s")
	first := one.register("s", pool.Endpoint{Address: "a:1", Weight: 1})
	o.want("a:1 1")
	second := two.register("s", pool.Endpoint{Address: "a:1", Weight: 2})
	o.want("a:1 2")
	first()
	o.never = []string{"a:1"}
	third := one.register("s", pool.Endpoint{Address: "a:1", Weight: 3})
	o.want("a:1 3")
	two.wantLog("a registration has ended: somebody else has registered its address")
	second()
	if e, err := one.bucket().Get(t.Context(), keyOf("s", "a:1")); err != nil {
		t.Errorf("the entry is gone: %v", err)
	} else if v, err := parseValue("s", e.Key(), e.Value()); err != nil || v.Weight != 3 {
		t.Errorf("got %v, %v", v, err)
	}
	o.never = nil
	third()
	o.want()
}

// A server that dies leaves after the time to live, with the markers of servers of NATS from 2.11 on and without. One that lives stays.
func TestACrashedServerLeavesAfterTheTimeToLive(t *testing.T) {
	for name, marker := range map[string]time.Duration{"with markers": ttl, "without markers": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEngine(t)
			alive, dead, clients := e.join(Config{}), e.join(Config{}), e.join(Config{})
			if _, err := clients.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "mycel", TTL: ttl, LimitMarkerTTL: marker}); err != nil {
				t.Fatal(err)
			}
			alive.register("s", at("alive:1"))
			dead.register("s", at("dead:1"))
			o := clients.watch("s")
			o.want("alive:1", "dead:1")
			o.never = []string{"alive:1"}
			before, err := clients.bucket().Get(t.Context(), keyOf("s", "alive:1"))
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			dead.Close() // without a release: nobody renews any more
			o.want("alive:1")
			if d := time.Since(start); d < ttl/2 {
				t.Errorf("it left after %v: a lease has two thirds of its time left, or nearly, when nobody renews it any more", d)
			}
			after, err := clients.bucket().Get(t.Context(), keyOf("s", "alive:1"))
			if err != nil || after.Revision() <= before.Revision() {
				t.Errorf("the other one was not renewed: %v, %v", after, err)
			}
			alive.Close() // the last one leaves, too
			o.never = nil
			o.want()
		})
	}
}

func TestALostEntryIsMadeAgain(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	p := e.join(Config{})
	release := p.register("s", at("a:1"))
	o := p.watch("s")
	o.want("a:1")
	key := keyOf("s", "a:1")
	if err := p.bucket().Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	o.want()
	o.want("a:1")
	// Something broken in its place does not count as somebody else's entry.
	if _, err := p.bucket().Put(t.Context(), key, []byte("{")); err != nil {
		t.Fatal(err)
	}
	until(t, "written over", func() bool {
		e, err := p.bucket().Get(t.Context(), key)
		return err == nil && string(e.Value()) != "{"
	})
	// The whole bucket, which is made again.
	if err := p.js.DeleteKeyValue(t.Context(), "mycel"); err != nil {
		t.Fatal(err)
	}
	until(t, "made again", func() bool {
		kv, err := p.js.KeyValue(t.Context(), "mycel")
		if err == nil {
			_, err = kv.Get(t.Context(), key)
		}
		return err == nil
	})
	// The watcher of the old bucket is deaf, but its owner notices.
	p.register("s", at("b:1"))
	o.want("a:1", "b:1")
	release()
	o.want("b:1")
}
