// Package natspool finds and registers servers in a key-value bucket of NATS JetStream.
//
// It is a module of its own, so that only programs that use it depend on NATS.
//
// # Usage
//
// A [Registry] is a [pool.Registrar] for servers and a [pool.Resolver] for clients. It works on a connection of the caller:
//
//	conn, err := nats.Connect("nats://nats.example.org", nats.MaxReconnects(-1))
//	js, err := jetstream.New(conn)
//	registry, err := natspool.New(js, natspool.Config{})
//	defer registry.Close()
//
//	release, err := registry.Register(ctx, "greeter.v1", pool.Endpoint{Address: "10.0.0.7:4433"}) // a server
//	client, err := framework.NewClient("greeter.v1", framework.ClientConfig{TLS: clientTLS, Resolver: registry})
//
// The connection should reconnect for ever (nats.MaxReconnects(-1)): by default nats.go gives up after about two minutes.
// With a domain or a prefix of JetStream, make js with jetstream.NewWithDomain or jetstream.NewWithAPIPrefix.
//
// # The bucket
//
// All services of a bucket have one time to live, the lease of their entries. A bucket that does not exist is made, unless
// [Config.NoCreate], with one value a key, files, at most 64 MiB and values of at most 8 KiB, the time to live of
// [Config.TTL] and [Config.Replicas]. One that is made by hand needs only a time to live; markers tell clients of crashes sooner:
//
//	nats kv add mycel --ttl=10s --marker-ttl=10s --history=1 --replicas=3
//
// An entry has the key SERVICE.ADDRESS, where every byte but letters, digits, "-" and "_" is written as "=" and two
// hexadecimal digits, and as value the JSON of a [pool.Endpoint] with one more field, "registration": a random name, by which a
// server knows its own entry. Anybody may put entries by other means; "registration" can be left out then.
//
// # Leases
//
// A registration writes its entry again after a third of the time to live, and as soon as the connection is back, but only if
// nobody else has: each write names the revision that it follows. When the process dies, the server of NATS removes the
// entry at the end of its time to live; it does so for the last one, too. An entry that has been lost, or deleted by
// hand, is made again; a registration whose address has been registered by somebody else ends.
//
// The lease is the age limit of the bucket, not that of a message (Nats-TTL), although servers from 2.11 on have both: a write that
// follows a revision cannot set the latter in nats.go ([jetstream.KeyValue.Update] drops it), every version of the server
// has the former, and it is one number that readers know, too.
//
// From 2.11 on the server leaves a marker in place of what has expired, of which clients hear at once. Without
// markers nobody tells them. So a client that has not heard of an entry for 1.25 times its time to live reads all of
// the service again. It never removes an entry by its own clock: what counts is what the server has. That goes by its wall
// clock: when it is set forwards entries expire at once, and are back after a third of the time to live. Clocks of clients and
// of registered servers do not matter.
//
// # Failures
//
// When the connection or JetStream fails, Watch yields an error and keeps what it knows. Once the engine is back it reads
// everything again, so that it misses nothing. Since servers reconnect one after another, and an engine that was away for
// longer than the time to live has forgotten them all, entries that are gone stay in the set for one more time to live after a
// failure; then they leave it. That holds for entries that were released in the meantime, too: a client notices that
// by itself.
//
// Errors wrap those of nats.go, to be told apart by errors.Is: [jetstream.ErrJetStreamNotEnabled],
// [jetstream.ErrJetStreamNotEnabledForAccount], [jetstream.ErrBucketNotFound], [nats.ErrPermissionViolation],
// [nats.ErrDisconnected], [nats.ErrConnectionClosed]. A server of NATS does not answer what it does not permit: it tells the connection. So a
// lack of permission is known only after [Config.Timeout], and is taken from the last error of the connection.
//
// Permissions: requests to $JS.API.STREAM.INFO.KV_bucket, and to $JS.API.INFO and $JS.API.STREAM.CREATE.KV_bucket unless the
// bucket exists; clients $JS.API.CONSUMER.CREATE.KV_bucket.> and $JS.API.CONSUMER.DELETE.KV_bucket.> and $JS.FC.>; servers
// $KV.bucket.> and $JS.API.DIRECT.GET.KV_bucket.>; all of them subscriptions to _INBOX.>.
//
// # Concurrency
//
// All methods are safe for concurrent use. Each registration has one goroutine, which ends with its release or with
// [Registry.Close]; a Watch has none of its own, but nats.go has some for it, which end soon after it does: within 5 s at most, its
// limit for telling the server that a consumer is not needed any more.
//
// # Ownership
//
// The connection stays the caller's: close it after the registry.
//
// # Limits
//
// Names of services and addresses have at most 255 bytes, values 4 KiB, priorities and weights 16 bits as in RFC 2782. A client
// keeps at most [Config.MaxEndpoints] of a service. Values that are broken or too large, and those above the limit, are
// skipped, logged and counted ([Registry.Skipped]).
//
// Every renewal is a message to every client that watches the service: 100 servers and 1000 clients with a time to live of
// 10 s are 30 000 messages a second. A longer one is the remedy.
package natspool
