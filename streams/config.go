package streams

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/wire"
	"github.com/mycel-rpc/mycel/wire/schema"
)

// Defaults and ranges of [Config].
const (
	DefaultMaxMessageBytes  = 4 << 20
	DefaultMaxStreams       = 960
	DefaultMaxConnections   = 64 << 10
	DefaultBulkFloor        = 256 << 10 // bytes per second
	DefaultHandshakeTimeout = 5 * time.Second
	DefaultIdleTimeout      = 30 * time.Second
	DefaultSilenceTimeout   = 5 * time.Second

	maxMessageLimit = 1 << 30
	maxStreamsLimit = 16 << 10

	maxConnectionsLimit = 1 << 20
)

// These are not configurable, because the invariant they form is what keeps unread data of some calls from stalling the
// others: (MaxStreams + longStreams + uniStreams) x streamWindow <= connection window, from the first byte on.
const (
	streamWindow = 128 << 10
	uniStreams   = 64
	// longStreams is how many streams of a peer may last as long as the connection: the control stream and its lanes.
	longStreams = 1 + maxPeerLanes
)

// Config is what both ends of a connection need to know. It is copied when a connection is made and never
// changed afterwards.
type Config struct {
	// TLS is required by [Dial] and [Listen]. ALPN and the minimum version are set by this package.
	TLS *tls.Config

	// MaxMessageBytes is the largest message body this side accepts. 0 means [DefaultMaxMessageBytes];
	// at most 1 GiB.
	MaxMessageBytes int

	// MaxStreams is how many call streams the peer may have open at once: streaming calls and messages above
	// the lane limit; further ones wait. 0 means [DefaultMaxStreams]; at most 16384. The peer can make this side
	// hold up to MaxStreams x 128 KiB of unread data.
	MaxStreams int

	// MaxPendingBytes bounds the bytes of messages that are being received on one connection and not yet handed
	// to a call. A message that would exceed it is refused. 0 means 64 MiB or 4 messages, whichever is more.
	MaxPendingBytes int

	// BulkFloor is how many bytes per second streams of class bulk that this side reads may have even if others fill the path, so
	// that they get on. Above it they give way. 0 means [DefaultBulkFloor]; at most 1 GiB.
	BulkFloor int

	// HandshakeTimeout bounds the time until the peer's hello is there. 0 means [DefaultHandshakeTimeout].
	HandshakeTimeout time.Duration

	// IdleTimeout ends a connection on which nothing arrives, although keep-alives are sent three times as
	// often. 0 means [DefaultIdleTimeout]; at least one second.
	IdleTimeout time.Duration

	// ListenPacket opens the socket of a connection that is dialed with [Dial], which owns it. nil means a UDP socket of the
	// kernel, at any address.
	ListenPacket func(context.Context) (net.PacketConn, error)

	// SilenceTimeout ends a connection on which nothing arrives while this side waits for its peer, although it sends
	// pings. 0 means [DefaultSilenceTimeout]; at least one second. A connection that nobody waits on is left to IdleTimeout.
	SilenceTimeout time.Duration

	// Silent is called, repeatedly and on a goroutine of the connection, while calls wait and the peer has left at least one ping
	// without an answer. It must not block. nil does nothing.
	Silent func(*Conn)

	// Crowded is called when a call needs a stream of its own and the peer grants no more of them for now. load is that of the
	// connection without the call. If the result is true, the call is not started and fails with [ErrCrowded]; otherwise, and
	// if Crowded is nil, it waits for the end of another one.
	Crowded func(ctx context.Context, c *Conn, load int) bool

	// Load returns what the peer is told about how busy this side is, in requests that run or wait. nil means those of the
	// connection.
	Load func() int

	// Role and Session are sent in the hello of a dialer: what the connection is for, and the session that the acceptor
	// named in its hello on another connection, if this one belongs to it.
	Role    wire.Role
	Session [16]byte

	// MaxConnections is how many connections a listener has open at once, including those in a handshake; more are refused before
	// anything is allocated for them. 0 means [DefaultMaxConnections]; at most a million.
	MaxConnections int

	// EarlyData lets calls that are started with [Conn.StartEarly] travel in the first flight of a connection to a server
	// that the client has a ticket of, which saves a round trip; on a listener it accepts such flights. Both ends must set it.
	// Whoever records a first flight can send it again: a listener takes each ticket once, but what [Conn.Confirmed] has not
	// confirmed may still be such a copy, at most one of it, sent elsewhere or before the original. What is in it also lacks forward secrecy (RFC 8446,
	// section 2.3).
	EarlyData bool

	// Tickets remembers what servers gave for the next connection of a dialer; nil remembers nothing. A
	// ClientSessionCache of TLS takes precedence.
	Tickets *Tickets

	// Methods and Schemas are announced in the hello, so that the peer may refer to them by position. Schemas
	// are the ones this side knows, most used first.
	Methods []string
	Schemas []*schema.Schema

	// Serve takes an incoming call. It is called on the goroutine that reads the stream and must not block;
	// it owns the call from then on. nil refuses every call as unimplemented.
	Serve func(*Incoming)

	// Table is what this side keeps of the peer's messages, for each principal; the hello says it.
	Table wire.TableOffer

	// Notices takes a block of notices of package dedup, which it borrows until it returns. It is called on the goroutine
	// that reads the control stream and must not block; its error, a violation by the peer, closes the connection. nil
	// refuses them.
	Notices func(c *Conn, block []byte) error

	// HostOffer returns what the hello of an acceptor offers to a peer on the same host; nil offers nothing.
	HostOffer func(*Conn) []byte

	// NewOwner is called for each connection before it carries anything; [Conn.Owner] returns the result.
	NewOwner func(*Conn) any

	// Logger receives events of the connection, never payloads; nil is silent.
	Logger *zap.Logger
}

// verifyHost makes TLS verify that the server is the host, unless it says what server it is to be.
func (c *Config) verifyHost(host string) {
	if c.TLS != nil && c.TLS.ServerName == "" {
		c.TLS = c.TLS.Clone()
		c.TLS.ServerName = host
	}
}

// Validate reports whether the configuration is in range, TLS aside.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

// withDefaults returns a validated copy of c.
func (c Config) withDefaults() (*Config, error) {
	for _, f := range []struct {
		name  string
		value *int
		def   int
		max   int
	}{
		{"MaxMessageBytes", &c.MaxMessageBytes, DefaultMaxMessageBytes, maxMessageLimit},
		{"MaxStreams", &c.MaxStreams, DefaultMaxStreams, maxStreamsLimit},
		{"MaxConnections", &c.MaxConnections, DefaultMaxConnections, maxConnectionsLimit},
		{"BulkFloor", &c.BulkFloor, DefaultBulkFloor, 1 << 30},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < 1 || *f.value > f.max {
			return nil, fmt.Errorf("streams: %s is %d, must be between 1 and %d", f.name, *f.value, f.max)
		}
	}
	if c.MaxPendingBytes == 0 {
		c.MaxPendingBytes = max(64<<20, 4*c.MaxMessageBytes)
	}
	if c.MaxPendingBytes < c.MaxMessageBytes {
		return nil, fmt.Errorf("streams: MaxPendingBytes is %d, must be at least MaxMessageBytes (%d)", c.MaxPendingBytes, c.MaxMessageBytes)
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.HandshakeTimeout < 0 || c.IdleTimeout < time.Second {
		return nil, fmt.Errorf("streams: HandshakeTimeout is %v and IdleTimeout %v, must be positive and at least 1s", c.HandshakeTimeout, c.IdleTimeout)
	}
	if c.ListenPacket == nil {
		c.ListenPacket = func(context.Context) (net.PacketConn, error) { return net.ListenUDP("udp", nil) }
	}
	if c.SilenceTimeout == 0 {
		c.SilenceTimeout = DefaultSilenceTimeout
	}
	if c.SilenceTimeout < time.Second {
		return nil, fmt.Errorf("streams: SilenceTimeout is %v, must be at least 1s", c.SilenceTimeout)
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Serve == nil {
		c.Serve = func(in *Incoming) { in.Refuse(wire.Unimplemented, "this side serves no methods") }
	}
	return &c, nil
}
