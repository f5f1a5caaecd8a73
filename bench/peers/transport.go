package main

import (
	"context"
	"iter"

	"github.com/mycel-rpc/mycel/largeobj"
)

// transport is one way to make calls. A measurement starts each transport once and keeps it running while the
// transports take turns.
type transport struct {
	name  string // as given to -transport
	about string // one line for -list
	start func() (endpoint, error)
}

// candidate is the transport that the ratios are about; all others are baselines.
const candidate = "mycel"

// transports lists all transports in the order of the report.
func transports() []transport {
	return []transport{
		{candidate, "Mycel between processes of one host: large messages in shared memory, everything else over QUIC", startMycel(largeobj.Config{})},
		{"mycel-quic", "Mycel as between hosts: everything over QUIC", startMycel(largeobj.Config{StreamsOnly: true})},
		{"wss", "WebSocket over TLS 1.3, MessagePack maps framed as hypha-rpc does: the baseline", startWebSocket(true, direct)},
		{"ws", "the same without TLS", startWebSocket(false, direct)},
		{"wss-batch", "wss whose idle writer sends everything queued meanwhile as one message", startWebSocket(true, combined)},
	}
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
