package pool

import (
	"context"
	"iter"
)

// Endpoint is one place where a target can be reached. The address is its identity: two endpoints with the same one are
// the same place, and a change of the other fields costs no connection. An Endpoint is comparable and holds no references,
// so it can be copied, kept and encoded (package encoding/json gives one short object).
type Endpoint struct {
	// Address is what to dial, "host:port"; the host is a name or an IP address.
	Address string `json:"address"`
	// Priority orders endpoints: one is used only while none with a smaller number can be (RFC 2782 has the same rule).
	Priority int `json:"priority,omitempty"`
	// Weight is the share of the calls relative to the others of its priority. 0 means 1; negative counts as 0 too.
	Weight int `json:"weight,omitempty"`
	// Zone names where the endpoint is. Clients that have a zone prefer endpoints of the same one, see Config.Zone.
	Zone string `json:"zone,omitempty"`
	// Metadata is what a server wants its clients to know, in an encoding of its own. The pool does not look into it.
	Metadata string `json:"metadata,omitempty"`
}

// A Resolver finds the endpoints of a target. There are two kinds, behind one method: a resolver that asks, such as DNS,
// yields once and ends; one that watches, such as a key-value store, goes on until its context ends. One resolver may serve
// any number of pools at once.
//
// Watch yields the whole set of endpoints, not a difference: first as soon as it is known, then whenever it has changed. The
// order is that of preference, which only the policy [PickFirst] looks at. The pool takes ownership of each slice.
//
// An error means that the set is not known at the moment. The pool keeps the set it has, as it does when a set is empty:
// both are more often a fault of the engine than the end of every server. Watch may go on after it has yielded an error, for
// example while it reconnects, or end. When it ends, for whatever reason, the pool calls it again: after
// [Config.ResolveInterval], sooner when endpoints fail, with a growing pause after errors.
//
// Watch must yield or end within [Config.DialTimeout] at first and return soon after ctx ends.
type Resolver interface {
	Watch(ctx context.Context, target string) iter.Seq2[[]Endpoint, error]
}

// A Registrar makes endpoints known under the name of a service, which clients use as their target with the [Resolver] of
// the same engine.
//
// Register returns when the entry is there for others to see, or says why it is not. From then on the registrar keeps the
// entry, on goroutines of its own: it renews the lease, and it makes the entry again when the engine has lost it. When the
// process dies without calling release, the entry disappears by itself within the time to live of the engine, which is part of
// the registrar's configuration; 10 s is a good one. Registering the same address of a service again replaces the entry, so that a
// weight can be changed; only the release of the last registration removes it then.
//
// release removes the entry and returns when others can see that it is gone, or when ctx ends; it stops the renewal in any case.
// It is idempotent. Call it before the server stops taking calls.
type Registrar interface {
	Register(ctx context.Context, service string, e Endpoint) (release func(ctx context.Context) error, err error)
}

// Static returns a resolver that always finds the same endpoints, whatever the target.
func Static(list ...Endpoint) Resolver { return staticResolver(list) }

type staticResolver []Endpoint

func (r staticResolver) Watch(ctx context.Context, _ string) iter.Seq2[[]Endpoint, error] {
	return func(yield func([]Endpoint, error) bool) {
		if yield(append([]Endpoint(nil), r...), nil) {
			<-ctx.Done() // nothing changes: no need to ask again
		}
	}
}
