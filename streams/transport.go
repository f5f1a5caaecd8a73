package streams

import (
	"context"
	"io"
	"net"
	"time"
)

// A transport is one connection that multiplexes streams: QUIC, TLS over TCP where UDP is blocked, or a pair in memory. Its
// methods are safe for concurrent use. Everything above this interface is independent of them.
type transport interface {
	openStream(ctx context.Context) (stream, error)
	// tryOpenStream does not wait until the peer grants another stream; then it returns nil.
	tryOpenStream(ctx context.Context) (stream, error)
	openUniStream(ctx context.Context) (sendStream, error)
	acceptStream(ctx context.Context) (stream, error)
	acceptUniStream(ctx context.Context) (recvStream, error)

	// close ends the connection and tells the peer code and text. The first call decides.
	close(code uint64, text string)
	// wait returns when nothing of a connection that has ended is left.
	wait()
	// done is closed when the connection has ended; cause then says why, as a *ConnError.
	done() <-chan struct{}
	cause() error

	// exportKey is the TLS exporter of RFC 8446, section 7.5.
	exportKey(label string, context []byte, length int) ([]byte, error)

	stats() Stats    // what changes with every packet, without what describe adds
	describe(*Stats) // adds what takes longer to find out
	remoteAddr() net.Addr
	localAddr() net.Addr
}

// A sendStream is the sending direction of a stream. At most one goroutine writes at a time; everything else may
// be called concurrently. Errors are *ResetError or *ConnError.
type sendStream interface {
	io.Writer
	// tryWrite queues all of p without blocking, or nothing: then it reports false with a nil error.
	tryWrite(p []byte) (bool, error)
	closeWrite() error // sends FIN
	resetWrite(code uint64)
	setClass(urgency int8)
	// onSendDone arranges for f to be called on a goroutine of its own when nothing can be sent any more, with
	// a *ResetError that has Remote set when the peer asked to stop. The result undoes it, as that of
	// [context.AfterFunc] does.
	onSendDone(f func(error)) (stop func() bool)
	id() uint64
}

// A recvStream is the receiving direction of a stream. At most one goroutine reads at a time.
type recvStream interface {
	io.Reader
	stopRead(code uint64)
	setReadDeadline(t time.Time)
	id() uint64
	// releaseCredit lets the peer open another stream in place of this one, once both directions have ended.
	releaseCredit()
}

type stream interface {
	sendStream
	recvStream
}

// Stats are figures of one connection, as its transport knows them; what it does not know is zero.
type Stats struct {
	Transport string // "quic", "tcp", or "pipe" for a connection in memory

	// Round-trip times of acknowledgements (RFC 9002, section 5), over TCP of pings, on the path in use: the least, the last, the average, and
	// the average deviation from it.
	MinRTT, LatestRTT, SmoothedRTT, RTTDeviation time.Duration

	BytesSent, BytesReceived     uint64 // payload of UDP, including what was sent again, or of TCP
	PacketsSent, PacketsReceived uint64 // over TCP system calls
	// What was taken for lost; it becomes less when it arrives late. Over TCP it is what the kernel has sent again, and this and
	// the next are known on Linux only.
	BytesLost, PacketsLost uint64
	CongestionWindow       uint64 // bytes that may be in flight
	GSO                    bool   // generic segmentation offload is in use

	Resumed   bool   // the handshake continued an earlier session, with a ticket
	EarlyData bool   // the first flight carried calls, and was accepted
	Rebinds   uint64 // how often this side has moved the connection to another socket
}
