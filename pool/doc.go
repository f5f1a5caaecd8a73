// Package pool keeps connections to the endpoints of a target, and says which one the next call takes.
//
// # Usage
//
// A [Pool] is made for one target, a name for one or several endpoints, and for any kind of connection that has the
// methods of [Conn]. New never dials. Get returns the connection to use for the next call:
//
//	p, err := pool.New("dns:///greeter:4433", pool.Config[*Conn]{Dial: dial})
//	conn, err := p.Get(ctx, pool.Main, pool.Pick{})
//	p.Close()
//
// Targets:
//
//	host:port                 one endpoint; its name is resolved by whoever dials
//	static:///a:1,b:2         several endpoints
//	dns:///host:port          the A and AAAA records of host, in random order so that clients spread
//	srv:///example.org        the SRV records of _mycel._udp.example.org, with their priorities and weights; the name of
//	                          another service can be written out: srv:///_rpc._udp.example.org
//
// Names are resolved at first use, every 30 seconds while the pool is used, and soon after endpoints have failed. What a
// user's [Resolver] finds works alike; one that watches a store pushes changes instead. A [Registrar] is its counterpart for
// servers, and [Registry] both in memory. Whatever happens to a resolver, the endpoints that were known last stay. An
// endpoint that is not found any more gets no more calls as long as there is another one.
//
// # Which endpoint
//
// The [Policy] chooses among the endpoints of the best priority and zone in which one can be used: the less loaded of two drawn at random
// by default. A call with a key goes to the endpoint that the key belongs to ([Pick]). The pool keeps a connection to
// each endpoint, of more than 32 to a part that differs from pool to pool (with [PickFirst] to one only), so that choosing another one takes no
// time. What a peer says of its load counts for three seconds and is smoothed: without that, all clients would run to the same endpoint,
// and one that was busy once would get no calls that could tell that it is not any more.
//
// # Roles
//
// Connections of role [Main] carry control, stream and rpc traffic. There is one to each endpoint at first; while the least loaded
// of an endpoint has a load of [Config.GrowAt] or more, more are opened in the background, up to [Config.MaxMain].
// Connections of role [Bulk] carry what must not delay that traffic: one is opened when it is first asked for, one to
// another endpoint when that is in use, and more when somebody calls [Pool.Grow] who has seen that it helps. Connections that have been idle for
// [Config.ShrinkAfter] are closed, all but one main connection of each endpoint. A connection whose peer says goaway is replaced
// at once, and lives on until its calls have ended.
//
// # Failure
//
// The [State] of an endpoint says what the pool makes of it; [Pool.Endpoints] tells it, with the figures behind it, and the log its changes.
//
//   - Cannot be reached: a handshake runs once for all who wait for it and belongs to the pool: a caller whose context ends leaves,
//     the handshake goes on. An endpoint that failed is left alone for a time that doubles with each failure; so is one
//     whose connection ended within a second, as when a server refuses it. Four endpoints are dialed at once. When no connection is
//     there, none on its way and every endpoint is left alone, Get fails at once with a [DialError] that says why and when the
//     next attempt is due.
//   - Does not answer: a connection whose peer is silent while calls wait for it gets none as long as there is another. It need not
//     have ended for that, and is used again when the peer is heard of.
//   - Fails calls: an endpoint is ejected for a while, see [Ejection]. [Health] takes note of how calls end.
//
// All times are monotonic: a clock that is set does not matter.
//
// # Concurrency
//
// All methods are safe for concurrent use. Choosing among ready connections takes no lock and allocates nothing, but what a [Pick] lists.
//
// # Ownership
//
// Connections belong to the pool: callers use what Get returns and do
// not close it. For each connection one goroutine dials, watches and closes it, one follows the resolver and one looks after all, every
// second, or every 30 while nobody uses them and nothing changes; [Pool.Close] waits for all of them.
//
// # Limits
//
// 4096 endpoints, 1 to 4 main connections and 1 to 16 bulk connections for each, one handshake at a time for each endpoint and
// role.
package pool
