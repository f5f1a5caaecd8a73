// Package largeobj is the room for objects that are too large for a message; it has no code yet.
//
// It will use shared memory on one host and resumable ranges over several streams otherwise. Until then messages
// have a limit (4 MiB unless configured), and larger data goes through a streaming call. It is level 2, beside pool: it
// uses connections and knows no calls.
package largeobj
