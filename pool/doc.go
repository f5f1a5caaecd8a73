// Package pool keeps connections to a target: it dials, redials with backoff, grows under load and chooses.
//
// # Usage
//
// A [Pool] is made for one target, a name for one or several endpoints, and for any kind of connection that has the
// five methods of [Conn]. New never dials. Get returns the connection to use for the next call:
//
//	p, err := pool.New("dns:///greeter:4433", pool.Config[*Conn]{Dial: dial})
//	conn, err := p.Get(ctx, pool.Main)
//	p.Close()
//
// Targets:
//
//	host:port                 one endpoint; its name is resolved by whoever dials
//	static:///a:1,b:2         several endpoints, the first preferred, the others for failover and growth
//	dns:///host:port          the A and AAAA records of host, in random order so that clients spread
//	srv:///example.org        the SRV records of _mycel._udp.example.org, with their priorities and weights; the name of
//	                          another service can be written out: srv:///_rpc._udp.example.org
//
// Names are resolved at first use, every 30 seconds while the pool is used, and soon after dials have failed. What a
// user's [Resolver] finds works alike; one that watches a store pushes changes instead. Whatever happens to a resolver, the
// endpoints that were known last stay.
//
// # Roles
//
// Connections of role [Main] carry control, stream and rpc traffic. There is one at first; while the least loaded
// has a load of [Config.GrowAt] or more, more are opened in the background, up to [Config.MaxMain] for each
// endpoint, first where there are fewest. Connections of role [Bulk] carry what must not delay that traffic: one
// for an endpoint, opened when the first is asked for, and more when somebody calls [Pool.Grow] who has seen that it helps.
//
// # Failure
//
// A handshake runs once for all who wait for it and belongs to the pool: a caller whose context ends leaves, the
// handshake goes on. An endpoint that failed is left alone for a time that doubles with each failure; so is one
// whose connection ended within a second. A dial that takes longer than half a second does not keep the pool from
// trying the next endpoint beside it. When no connection is there, none on its way and every endpoint is left
// alone, Get fails at once with a [DialError] that says why and when the next attempt is due.
//
// # Concurrency
//
// All methods are safe for concurrent use. Choosing among ready connections takes no lock and allocates nothing.
//
// # Ownership
//
// Connections belong to the pool: callers use what Get returns and do
// not close it. For each connection one goroutine dials, watches and closes it; [Pool.Close] waits for all of them.
//
// # Limits
//
// 1 to 4 main connections and 1 to 8 bulk connections for each endpoint, one handshake at a time for each endpoint and
// role.
package pool
