// Package integration tests whole calls: a client and a server of package framework with everything below them.
//
// # Usage
//
//	go test -race ./integration
//
// Each case runs in every environment: over loopback QUIC, over TLS over TCP, and in process. Files are named after what they check, tests
// after the sentence that they hold us to. A case sets a server and a client up with environment.start, which also ends
// them and then checks what must hold after every test: the server drains, so that no call is left on either side; no
// pooled buffer is out; no goroutine is left.
//
// # Concurrency
//
// Tests do not run in parallel with each other, because the count of pooled buffers is one for the process. They
// synchronise by channels and never sleep; where time has to pass they run in a bubble of testing/synctest, in process.
//
// # Limits
//
// What needs bytes that no client of ours would send is tested in packages wire and streams. deps_test.go checks the
// direction of imports and other rules about the source as a whole.
package integration
