package main

import (
	"context"
	"iter"
	"time"

	"github.com/mycel-rpc/mycel/largeobj"
)

// transport is one way to make calls. A measurement starts each transport once and keeps it running while the
// transports take turns.
type transport struct {
	name  string // as given to -transport
	about string // one line for -list
	start func() (endpoint, error)
	// named transports run only when -transport names them.
	named bool
	// objects transports have a part only in cases that name them: those of large objects.
	objects bool
}

// candidate is the transport that the ratios are about; all others are baselines.
const candidate = "mycel"

// mycelQUIC is Mycel without shared memory.
const mycelQUIC = "mycel-quic"

// Transports of objects that the report also compares with each other.
const (
	mycelStreams = "mycel-streams"
	quicRaw      = "quic-raw"
)

// transports lists all transports in the order of the report.
func transports() []transport {
	all := []transport{
		{name: candidate, about: "Mycel between processes of one host: large messages in shared memory, everything else over QUIC; objects are written there in place",
			start: startMycel(largeobj.Config{})},
		{name: "mycel-copy", about: "mycel with objects that are copied from the heap into shared memory", objects: true,
			start: startMycelCopy(largeobj.Config{})},
		{name: mycelStreams, about: "mycel with objects as between hosts: fetched over QUIC and verified, into memory", objects: true,
			start: startMycelCopy(largeobj.Config{StreamsOnly: true, MemoryBytes: 2 << 30, InMemoryBytes: 1 << 30})},
		{name: mycelQUIC, about: "Mycel as between hosts: everything over QUIC", start: startMycel(largeobj.Config{StreamsOnly: true})},
		{name: quicRaw, about: "one stream of quic-go into one buffer, without anything else: what the network path allows", objects: true, start: startRawQUIC},
		{name: "wss", about: "WebSocket over TLS 1.3, MessagePack maps framed as hypha-rpc does: the baseline", start: startWebSocket(true, direct)},
		{name: "ws", about: "the same without TLS; only when named", named: true, start: startWebSocket(false, direct)},
		{name: "wss-batch", about: "wss whose idle writer sends everything queued meanwhile as one message; only when named", named: true, start: startWebSocket(true, combined)},
	}
	for _, t := range wanTransports() {
		all = append(all, t.transport)
	}
	for _, t := range contentTransports() {
		if t.name != mycelQUIC && t.name != "wss" { // listed already
			all = append(all, t.transport)
		}
	}
	return all
}

// endpoint is a running server in this process, listening on loopback.
type endpoint interface {
	// dial connects a client and returns when it can make calls. With resume the client may use session state that
	// earlier clients of this endpoint left behind, without it the handshake is a full one.
	// It returns errNotApplicable if the transport has nothing to resume.
	dial(ctx context.Context, resume bool) (caller, error)
	// wireBytes returns the bytes that all clients have handed to and received from their sockets so far: the
	// payload of TCP segments or UDP datagrams, both directions, each byte once.
	wireBytes() uint64
	// close ends the server and everything it started. Clients are closed before.
	close() error
}

// caller is a connected client. All methods are safe for concurrent use; the echo methods return what the server's
// handler received, decoded into fresh memory. Requests are borrowed until the method returns.
type caller interface {
	small(context.Context, *Small) (*Small, error)
	medium(context.Context, *Medium) (*Medium, error)
	bytes(context.Context, *Bytes) (*Bytes, error)
	// bulk is bytes in the class for background transfers, for transports that have classes.
	bulk(context.Context, *Bytes) (*Bytes, error)
	// ticks and blobs yield req.Count messages that the server sends as fast as it is allowed to. A yielded message
	// is valid until the next one.
	ticks(context.Context, *StreamRequest) iter.Seq2[*Tick, error]
	blobs(context.Context, *StreamRequest) iter.Seq2[*Bytes, error]
	close() error
}

// hander is a client that hands objects over. Its methods are safe for concurrent use.
type hander interface {
	// ready waits until objects travel the way that is to be measured.
	ready(context.Context) error
	// hand hands over an object of sizeBytes, whose content depends on n, to a handler that answers with what inspect
	// sees, and checks the answer. It returns when the receiver had the first bytes, by clock, and when it had all; first
	// is 0 where it is not known, and means something only with one call at a time.
	hand(ctx context.Context, n uint64, sizeBytes int) (first, last time.Duration, err error)
	// watch returns a function that fails unless the calls since then handed their objects over the way that the
	// transport stands for.
	watch() func(calls uint64) error
}
