package natspool

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/pool"
)

func TestBrokenValuesAreSkipped(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	p := e.join(Config{})
	p.register("s", at("good:1"))
	kv := p.bucket()
	broken := map[string]string{
		"not JSON":            "\x00\xff",
		"nothing":             "",
		"another kind":        `[1]`,
		"a field of a kind":   `{"address":1}`,
		"no address":          `{}`,
		"no port":             `{"address":"a"}`,
		"another address":     `{"address":"good:1","weight":9}`,
		"a weight":            `{"address":"weight:1","weight":9223372036854775807}`,
		"a priority":          `{"address":"priority:1","priority":-65536}`,
		"a number of no size": `{"address":"number:1","weight":1e400}`,
		"long":                `{"address":"long:1","metadata":"` + strings.Repeat("x", maxValueBytes) + `"}`,
		"deep":                strings.Repeat("[", maxValueBytes),
	}
	n := 0
	for name, value := range broken {
		key := keyOf("s", fmt.Sprintf("%d:1", n))
		if address, ok := strings.CutPrefix(value, `{"address":"`); ok {
			address, _, _ = strings.Cut(address, `"`)
			key = keyOf("s", address)
		}
		if name == "another address" {
			key = keyOf("s", "x:1")
		}
		if _, err := kv.Put(t.Context(), key, []byte(value)); err != nil {
			t.Fatal(name, err)
		}
		n++
	}
	for _, key := range []string{"s", "s.a.b", "S.a=3A1", "=", "other.good=3A1"} { // of other services, or of none
		if _, err := kv.Put(t.Context(), key, []byte(`{"address":"good:1"}`)); err != nil {
			t.Fatal(key, err)
		}
	}
	o := p.watch("s")
	o.want("good:1")
	if got := p.Skipped(); got < int64(n) {
		t.Errorf("skipped %d of %d", got, n)
	}
	if p.log.FilterMessage("skipped a value").Len() == 0 {
		t.Error("nothing was logged")
	}
	// Somebody without a registration puts an endpoint by hand.
	if _, err := kv.Put(t.Context(), keyOf("s", "hand:1"), []byte(`{"address":"hand:1","later":{"a":[1]}}`)); err != nil {
		t.Fatal(err)
	}
	o.want("good:1", "hand:1")
	before := p.Skipped()
	if _, err := kv.Put(t.Context(), keyOf("s", "late:1"), []byte("late")); err != nil {
		t.Fatal(err)
	}
	until(t, "skipped while it watches", func() bool { return p.Skipped() > before })
}

func TestTooManyEndpointsAreSkipped(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	servers, clients := e.join(Config{}), e.join(Config{MaxEndpoints: 3})
	list := addresses(5)
	var release []func()
	for _, a := range list {
		release = append(release, servers.register("s", at(a)))
	}
	o := clients.watch("s")
	var first yield
	for first = o.next(); first.err != nil; first = o.next() {
	}
	if len(first.set) != 3 || clients.Skipped() < 2 {
		t.Fatalf("got %v, skipped %d", first.set, clients.Skipped())
	}
	for i, a := range list { // there is room for one of the others, which comes with its next renewal
		if a == first.set[0].Address {
			release[i]()
		}
	}
	until(t, "another one is taken in", func() bool {
		y := o.next()
		return y.err == nil && len(y.set) == 3 && y.set[0] != first.set[0]
	})
}

// A service that starts at once is few sets, not one for each server, and a receiver that is busy misses nothing.
func TestChangesAreCoalesced(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	p := e.join(Config{})
	const n = 40
	sets := 0
	for set, err := range p.Watch(t.Context(), "s") {
		if err != nil {
			t.Fatal(err)
		}
		if sets++; len(set) == n {
			break
		}
		if sets > 1 {
			continue
		}
		for _, a := range addresses(n) {
			p.register("s", pool.Endpoint{Address: a})
		}
	}
	if sets > n/2 {
		t.Errorf("%d sets for %d registrations", sets, n)
	}
}
