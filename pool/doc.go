// Package pool keeps connections to a target: it dials, redials with backoff, grows under load and chooses.
//
// # Usage
//
// A [Pool] is made for a target and told how to dial. [Pool.Get] returns a connection for a role, dialing when there
// is none. Targets are "host:port" and "static:///a:1,b:2", fixed lists, and "dns:///host:port", every address
// of the host.
//
// # Concurrency
//
// All methods are safe for concurrent use. One handshake at a time is under way for each role; everybody who
// needs its result waits for it.
//
// # Ownership
//
// The pool owns the connections: it removes those that have ended and closes all of them in Close.
//
// # Limits
//
// 1 to 4 main connections, one bulk connection. An endpoint that could not be reached is left alone for a time that
// doubles with each failure, from 100 ms to 30 s, varied by a fifth.
package pool
