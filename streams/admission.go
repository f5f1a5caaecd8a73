package streams

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/zap"
)

const (
	// retryAbove is how many handshakes may be in progress before a listener asks who comes without a token to prove its
	// address (RFC 9000, section 8.1.2). That costs honest clients a round trip and stops those who lie about theirs.
	retryAbove = 64
	// maxHandshakes is how many may be in progress at all; more are refused before anything is allocated for them, and come
	// again. Those that are begun must be done before their clients give up: of 1000 at once that share half a processor 16 were
	// served in a minute when all of them were begun.
	maxHandshakes = 256
	// refusalInterval is how often it is logged that connections are refused.
	refusalInterval = 10 * time.Second
)

var errFull = errors.New("streams: no more connections")

// admission counts the connections of a listener and refuses what is too much.
type admission struct {
	max         int64 // open connections
	log         *zap.Logger
	open        atomic.Int64 // including handshakes
	handshaking atomic.Int64
	refused     atomic.Int64              // since the last line in the log
	logged      atomic.Pointer[time.Time] // when that was; nil at first
}

// install makes the transport of a listener ask a.
func (a *admission) install(tr *quic.Transport) {
	tr.VerifySourceAddress = func(net.Addr) bool { return a.handshaking.Load() >= retryAbove }
	tr.ConnContext = func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
		seat, err := a.take(info.RemoteAddr)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, seat.leave) // however the connection ends
		return context.WithValue(ctx, seatKey{}, seat), nil
	}
}

// A seat is one connection that is counted.
type seat struct {
	a           *admission
	established atomic.Bool
}

type seatKey struct{}

func (a *admission) take(from net.Addr) (*seat, error) {
	if n := a.open.Add(1); n > a.max {
		a.open.Add(-1)
		a.refuse(from, "MaxConnections", a.max)
		return nil, errFull
	}
	if n := a.handshaking.Add(1); n > maxHandshakes {
		a.handshaking.Add(-1)
		a.open.Add(-1)
		a.refuse(from, "handshakes in progress", maxHandshakes)
		return nil, errFull
	}
	return &seat{a: a}, nil
}

// refuse writes to the log, not more often than every ten seconds.
func (a *admission) refuse(from net.Addr, limit string, n int64) {
	count := a.refused.Add(1)
	last := a.logged.Load()
	if last != nil && time.Since(*last) < refusalInterval {
		return
	}
	if now := time.Now(); !a.logged.CompareAndSwap(last, &now) {
		return
	}
	a.refused.Add(-count)
	a.log.Warn("refusing connections", zap.String("limit", limit), zap.Int64("is", n), zap.Int64("refused", count), zap.Stringer("last_from", from))
}

// establish says that the handshake is complete. It may be called more than once.
func (s *seat) establish() {
	if s.established.CompareAndSwap(false, true) {
		s.a.handshaking.Add(-1)
	}
}

func (s *seat) leave() {
	s.establish()
	s.a.open.Add(-1)
}
