// Package largeobj will move objects that are too large for a message: shared memory on one host, resumable ranges
// over several streams otherwise. It has no code yet; until then messages have a limit (4 MiB unless configured),
// and larger data goes through a streaming call.
//
// It is level 2, beside pool: it uses connections and knows no calls.
package largeobj
