package framework

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
	"github.com/mycel-rpc/mycel/wire"
)

// ClientConfig configures a [Client]. The zero value of every field but TLS is ready to use.
type ClientConfig struct {
	// TLS verifies the server; it is required to dial. The server name is that of the target unless TLS sets one;
	// with static:/// and with a Resolver it is that of each endpoint.
	// [DevTLS] makes one for first steps.
	TLS *tls.Config

	// Logger receives events of connections and panics of handlers, never payloads. nil is silent; [SlogCore]
	// bridges to log/slog.
	Logger *zap.Logger

	// MaxMessageBytes is the largest message that is accepted. 0 means 4 MiB; at most 1 GiB.
	MaxMessageBytes int

	// Limits bound what the server can make the client hold.
	Limits ConnLimits

	// MaxConnections is how many connections for calls are opened to the server under load, 1 to 4. 0 means 4.
	// Bulk calls have a connection of their own besides.
	MaxConnections int

	// GrowAt is the number of calls in progress on each connection from which another one is opened. 0 means 128.
	GrowAt int

	// Policy says which server a call goes to. The default is [pool.LeastLoaded].
	Policy pool.Policy

	// Zone is where the client is: servers of the same zone are preferred, see [pool.Endpoint]. "" is no zone.
	Zone string

	// Retry says when calls are made again that may have been processed; see [RetryPolicy].
	Retry RetryPolicy

	// RetryShare is the largest share of attempts that are not the first of their call: retries after failures, and hedges. 0 means 0.2, at
	// most 1; ten a second are allowed in any case.
	RetryShare float64

	// Ejection says when servers are left alone whose calls fail.
	Ejection pool.Ejection

	// DialTimeout bounds one attempt to connect. 0 means 10 s.
	DialTimeout time.Duration

	// ListenPacket opens the UDP socket of each connection, which owns it: to bind it to an address or a network. nil means one at
	// any address.
	ListenPacket func(context.Context) (net.PacketConn, error)

	// Transport says which transports are used. The default is QUIC, and TLS over TCP where that does not work: TCP is tried
	// when QUIC has no answer after 250 ms or fails, and what works is remembered. With ListenPacket it is QUIC only.
	Transport TransportPolicy

	// Resolver finds the servers; the target is then the name that it knows them by. nil means that the target says it.
	Resolver pool.Resolver

	// EarlyData lets calls of methods that are declared [Idempotent] travel in the first packets of a connection to a server
	// that the client has been connected to before: the first response is there after one round trip instead of two. The
	// server must allow it too ([ServerConfig]). Other calls wait for the handshake. Off by default, because somebody who
	// records such packets can have the call run once more, and can read it when the session keys of the server leak later.
	EarlyData bool

	// Gates bound how many handlers of unary methods that the client serves run and wait at once, per class.
	Gates Gates

	// Compression says whether messages to the server are compressed. The default is [CompressAdaptive].
	Compression Compression

	// Objects holds the large objects that are sent and received; nil means [largeobj.Default], which a process shares.
	Objects *largeobj.Store

	// Interceptors wrap every call, the first one outermost.
	Interceptors []ClientInterceptor

	// ServeInterceptors wrap every handler that the client serves, the first one outermost.
	ServeInterceptors []ServerInterceptor
}

// A Client calls the methods of a server, and serves methods that the server may call over the connections that the
// client has opened. All methods are safe for concurrent use.
type Client struct {
	*dispatcher
	cfg   ClientConfig
	open  ClientFunc // behind the interceptors
	conns *pool.Pool[pooled]
	retry retrier

	tickets *streams.Tickets // of the servers that the client has been connected to
	dialer  *streams.Dialer

	fetches   atomic.Int64  // of large objects that are running
	fetchTurn chan struct{} // capacity 1; holds a value while a fetch chooses its connection

	mu struct {
		sync.Mutex
		last map[string]*streams.Conn // the newest main connection by address, for the name of the session
	}
}

// NewClient returns a client of the target; it never dials, see [Client.Connect]. Targets are
// "host:port", "static:///a:1,b:2" (a fixed list), "dns:///host:port" (every address of the host), "srv:///example.org" (the
// SRV records of _mycel._udp.example.org), or the name of a service that ClientConfig.Resolver knows. It fails if the target or the
// configuration is out of range.
func NewClient(target string, cfg ClientConfig) (*Client, error) {
	if cfg.TLS == nil {
		return nil, errors.New("framework: client: TLS is required (DevTLS makes a pair for first steps)")
	}
	return newClient(target, cfg, nil)
}

// defaultRetryShare is that of ClientConfig.RetryShare.
const defaultRetryShare = 0.2

// A dialFunc opens a connection instead of the dialer of a client.
type dialFunc func(ctx context.Context, address string, conf streams.Config) (*streams.Conn, error)

func newClient(target string, cfg ClientConfig, dial dialFunc) (*Client, error) {
	c := &Client{cfg: cfg, tickets: streams.NewTickets(), fetchTurn: make(chan struct{}, 1)}
	c.mu.last = map[string]*streams.Conn{}
	d, err := newDispatcher(dispatcherConfig{
		interceptors: cfg.ServeInterceptors, gates: cfg.Gates, maxMessage: cfg.MaxMessageBytes,
		limits: cfg.Limits, objects: cfg.Objects, compression: cfg.Compression, log: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	c.dispatcher = d
	if err := c.connConfig().Validate(); err != nil {
		return nil, fmt.Errorf("framework: client: %w", err)
	}
	if c.dialer, err = streams.NewDialer(cfg.Transport, c.log); err != nil {
		return nil, fmt.Errorf("framework: client: %w", err)
	}
	if dial == nil {
		dial = c.dialer.Dial
	}
	if cfg.TLS != nil && cfg.TLS.ServerName == "" && cfg.Resolver == nil {
		c.cfg.TLS = cfg.TLS.Clone()
		c.cfg.TLS.ServerName = pool.ServerName(target)
	}
	if err := cfg.Retry.check(); err != nil {
		return nil, fmt.Errorf("framework: client: %w", err)
	}
	if !(cfg.RetryShare >= 0 && cfg.RetryShare <= 1) {
		return nil, fmt.Errorf("framework: client: RetryShare is %v, want 0 to 1, where 0 means %v", cfg.RetryShare, defaultRetryShare)
	}
	c.retry.client, c.retry.policy, c.retry.budget.share = c, cfg.Retry, cmp.Or(cfg.RetryShare, defaultRetryShare)
	c.conns, err = pool.New(target, pool.Config[pooled]{
		Dial: func(ctx context.Context, e pool.Endpoint, role pool.Role, health *pool.Health) (pooled, error) {
			conn, err := c.dial(ctx, e.Address, role, health, dial)
			return pooled{conn}, err
		},
		Policy: cfg.Policy, Zone: cfg.Zone, Ejection: cfg.Ejection,
		MaxMain: cfg.MaxConnections, GrowAt: cfg.GrowAt, DialTimeout: cfg.DialTimeout,
		Resolver: cfg.Resolver, Logger: c.log,
	})
	if err != nil {
		return nil, fmt.Errorf("framework: client: %w", err)
	}
	c.open = chain(c.openOne, cfg.Interceptors)
	return c, nil
}

func (c *Client) connConfig() streams.Config {
	conf := c.dispatcher.connConfig(c.cfg.TLS, c.cfg.Interceptors)
	conf.Tickets, conf.EarlyData, conf.ListenPacket = c.tickets, c.cfg.EarlyData, c.cfg.ListenPacket
	newOwner := conf.NewOwner
	conf.NewOwner = func(conn *streams.Conn) any {
		peer := newOwner(conn).(*Peer)
		peer.client = c
		return peer
	}
	return conf
}

// dial opens one connection, into the session of those that are open already.
func (c *Client) dial(ctx context.Context, address string, role pool.Role, health *pool.Health, dial dialFunc) (*streams.Conn, error) {
	conf := c.connConfig()
	newOwner := conf.NewOwner
	conf.NewOwner = func(conn *streams.Conn) any {
		peer := newOwner(conn).(*Peer)
		peer.health = health
		return peer
	}
	conf.Silent = func(conn *streams.Conn) {
		if c.elsewhere(conn) {
			conn.LetGo()
		}
	}
	conf.Crowded = func(ctx context.Context, conn *streams.Conn, load int) bool {
		return c.conns.Relieve(ctx, role, health, load)
	}
	if role == pool.Bulk {
		conf.Role = wire.RoleBulk
	}
	c.mu.Lock()
	last := c.mu.last[address]
	c.mu.Unlock()
	if last != nil && last.Err() == nil {
		if h := last.PeerHello(); h != nil {
			conf.Session = h.Session
		}
	}
	conn, err := dial(ctx, address, conf)
	if err == nil && role == pool.Main {
		c.mu.Lock()
		c.mu.last[address] = conn
		c.mu.Unlock()
	}
	return conn, err
}

// Connect opens a connection unless there is one, waits until the server has introduced itself, and says why not
// when that fails. Calls connect by themselves; Connect is for finding out early.
func (c *Client) Connect(ctx context.Context) error {
	conn, err := c.conns.Get(ctx, pool.Main, pool.Pick{})
	if err == nil {
		err = conn.Ready(ctx)
	}
	return convert(ctx, err)
}

// Open implements [Caller].
func (c *Client) Open(ctx context.Context, info *CallInfo) (Stream, error) { return c.open(ctx, info) }

// openOne is the ClientFunc behind the interceptors.
func (c *Client) openOne(ctx context.Context, info *CallInfo) (Stream, error) {
	c.retry.budget.calls.Add(1)
	if info.hedge != nil && info.Kind == KindUnary && info.Idempotent && !info.spec.linked {
		return openHedged(ctx, info, c)
	}
	return openCall(ctx, info, c)
}

func roleOf(class Class) pool.Role {
	if class == ClassBulk {
		return pool.Bulk
	}
	return pool.Main
}

func (c *Client) conn(ctx context.Context, info *CallInfo, avoid []*pool.Health) (*streams.Conn, error) {
	l, err := c.conns.Get(ctx, roleOf(info.Class), pool.Pick{Key: info.key, Avoid: avoid, Wait: info.wait})
	return l.Conn, err
}

func (c *Client) retries() *retrier { return &c.retry }

// elsewhere reports whether calls on conn could be made at another server at once.
func (c *Client) elsewhere(conn *streams.Conn) bool {
	role := pool.Main
	if conn.Role() == wire.RoleBulk {
		role = pool.Bulk
	}
	return c.conns.Elsewhere(role, healthOf(conn))
}

// Endpoints returns what the client knows of each server: its state and since when, connections, load, round trip, failures.
func (c *Client) Endpoints() []pool.Status { return c.conns.Endpoints() }

func (c *Client) limit() int { return c.maxMessage }

func (c *Client) plain() bool { return len(c.cfg.Interceptors) == 0 }

// SetCompression changes at run time whether the messages that the client sends are made smaller, on all connections.
func (c *Client) SetCompression(to Compression) {
	c.uncompressed.Store(to == CompressOff)
	for _, role := range []pool.Role{pool.Main, pool.Bulk} {
		for _, conn := range c.conns.Conns(role) {
			peerOf(conn.Conn).SetCompression(to)
		}
	}
}

// Close ends every connection at once; calls in progress fail. It returns when the handlers that the client serves
// have returned, or with an error when some have not after five seconds. It is idempotent.
func (c *Client) Close() error {
	c.stop()
	c.conns.Close()
	c.dialer.Close()
	return c.waitHandlers(closeGrace)
}
