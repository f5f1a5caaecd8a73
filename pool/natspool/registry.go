package natspool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/pool"
)

const (
	defaultTTL     = 10 * time.Second
	minTTL         = time.Second
	maxTTL         = time.Hour
	defaultTimeout = 5 * time.Second
	maxTimeout     = time.Minute
	maxReplicas    = 5

	// maxEndpoints is as many as package pool takes.
	maxEndpoints = 4096
	// maxStoredBytes and maxBucketBytes are limits of a bucket that we make. The former leaves room for the headers.
	maxStoredBytes = 2 * maxValueBytes
	maxBucketBytes = 64 << 20
)

// ErrClosed is the error of a [Registry] that has been closed.
var ErrClosed = errors.New("natspool: the registry is closed")

// Config configures a [Registry]. The zero value is ready to use.
type Config struct {
	// Bucket is the name of the key-value bucket: letters, digits, "-" and "_". "" means "mycel".
	Bucket string

	// TTL is how long an entry stays after its server has died, 1 s to 1 h. 0 means that of the bucket, and 10 s for one
	// that is made. A bucket with another time to live than TTL is an error.
	TTL time.Duration

	// Replicas is how many servers of a cluster of NATS hold the bucket if it is made, 1 to 5. 0 means 1.
	Replicas int

	// NoCreate says that a bucket that does not exist is not made: it is an error, [jetstream.ErrBucketNotFound].
	NoCreate bool

	// MaxEndpoints bounds the endpoints of one service that Watch yields, 1 to 4096. 0 means 4096. More are skipped.
	MaxEndpoints int

	// Timeout bounds what Register, one renewal, or one attempt of Watch to read a service wait for the server of NATS, up to
	// 1 min. 0 means 5 s. It should be less than the DialTimeout of the clients.
	Timeout time.Duration

	// Logger receives what happens to registrations, and what is skipped. nil is silent.
	Logger *zap.Logger
}

func (c Config) withDefaults() (Config, error) {
	if c.Bucket == "" {
		c.Bucket = "mycel"
	}
	if !bucketName.MatchString(c.Bucket) {
		return c, fmt.Errorf("natspool: Bucket %q has others than letters, digits, - and _", c.Bucket)
	}
	if c.TTL != 0 && (c.TTL < minTTL || c.TTL > maxTTL) {
		return c, fmt.Errorf("natspool: TTL %v is not between %v and %v", c.TTL, minTTL, maxTTL)
	}
	if c.Replicas < 0 || c.Replicas > maxReplicas {
		return c, fmt.Errorf("natspool: Replicas %d is not between 1 and %d", c.Replicas, maxReplicas)
	}
	if c.MaxEndpoints < 0 || c.MaxEndpoints > maxEndpoints {
		return c, fmt.Errorf("natspool: MaxEndpoints %d is not between 1 and %d", c.MaxEndpoints, maxEndpoints)
	}
	if c.Timeout < 0 || c.Timeout > maxTimeout {
		return c, fmt.Errorf("natspool: Timeout %v is not between 0 and %v", c.Timeout, maxTimeout)
	}
	if c.MaxEndpoints == 0 {
		c.MaxEndpoints = maxEndpoints
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c, nil
}

// A Registry finds and registers the servers of services in one bucket. It is a [pool.Resolver] and a [pool.Registrar]. All
// methods are safe for concurrent use.
type Registry struct {
	js   jetstream.JetStream
	cfg  Config
	log  *zap.Logger
	life context.Context // ends with Close
	end  context.CancelCauseFunc

	registering chan struct{} // 1 token: whoever has it registers
	goroutines  sync.WaitGroup
	skipped     atomic.Int64

	mu struct {
		sync.Mutex
		closed bool
		latest map[string]*registration // by key; not those that have ended
	}
}

var (
	_ pool.Resolver  = (*Registry)(nil)
	_ pool.Registrar = (*Registry)(nil)
)

// New returns a registry in a bucket of js, whose connection stays the caller's. It fails if the configuration is out of
// range. It does not use the network: the bucket is opened, and made if needed, by Register and Watch.
func New(js jetstream.JetStream, cfg Config) (*Registry, error) {
	if js == nil {
		return nil, errors.New("natspool: js is nil")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Registry{js: js, cfg: cfg, log: cfg.Logger.With(zap.String("bucket", cfg.Bucket)), registering: make(chan struct{}, 1)}
	r.life, r.end = context.WithCancelCause(context.Background()) // the registry's own life, which Close ends
	r.registering <- struct{}{}
	r.mu.latest = map[string]*registration{}
	return r, nil
}

// Close stops the renewal of every registration and ends every Watch. It returns when the goroutines of the registry have
// ended. Entries that have not been released disappear at the end of their time to live. It is idempotent.
func (r *Registry) Close() {
	r.mu.Lock()
	r.mu.closed = true
	r.mu.Unlock()
	r.end(ErrClosed)
	r.goroutines.Wait()
}

// Skipped returns how many values Watch has skipped because they were broken, too large, or above the limit of endpoints. A value
// counts again whenever it is read again.
func (r *Registry) Skipped() int64 { return r.skipped.Load() }

// skip takes note of a value that is not used. Of floods it logs every power of two.
func (r *Registry) skip(key string, revision uint64, reason error) {
	if n := r.skipped.Add(1); n&(n-1) == 0 {
		r.log.Warn("skipped a value", zap.String("key", shorten(key)), zap.Uint64("revision", revision), zap.Error(reason), zap.Int64("skipped", n))
	}
}

// alive returns a context that ends with ctx and with the registry.
func (r *Registry) alive(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(r.life, func() { cancel(context.Cause(r.life)) })
	return ctx, func(cause error) { stop(); cancel(cause) }
}

// within returns a context that ends with ctx, with the registry, after [Config.Timeout], and when the connection is lost: nats.go
// would go on to wait for an answer then.
func (r *Registry) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := r.alive(ctx)
	ctx, stop := context.WithTimeoutCause(ctx, r.cfg.Timeout, r.late())
	conn := r.js.Conn()
	lost := conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	var watching sync.WaitGroup
	watching.Go(func() { // ends with ctx; the function that is returned waits
		select {
		case status := <-lost:
			cancel(statusError(status))
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		stop()
		cancel(nil)
		watching.Wait()
		conn.RemoveStatusListener(lost)
	}
}

// A lateError says that the server of NATS did not answer.
type lateError struct{ limit time.Duration }

func (e *lateError) Error() string { return fmt.Sprintf("no answer within %v (Timeout)", e.limit) }

// Is lets the error be the one of a deadline.
func (*lateError) Is(target error) bool { return target == context.DeadlineExceeded }

func (r *Registry) late() error { return &lateError{r.cfg.Timeout} }

// failed says what has failed, and as well as it can be known why.
func (r *Registry) failed(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		err = cause
	}
	if err == ErrClosed {
		return err
	}
	if last := r.js.Conn().LastError(); errors.Is(err, context.DeadlineExceeded) && errors.Is(last, nats.ErrPermissionViolation) {
		err = fmt.Errorf("%w; the last error of the connection: %w", err, last)
	}
	return fmt.Errorf("natspool: bucket %q: %s: %w", r.cfg.Bucket, what, err)
}

// connected returns an error if the connection is not there: nats.go would keep what is written until it is.
func (r *Registry) connected() error { return statusError(r.js.Conn().Status()) }

func statusError(status nats.Status) error {
	switch status {
	case nats.CONNECTED:
		return nil
	case nats.CLOSED, nats.DRAINING_SUBS, nats.DRAINING_PUBS:
		return nats.ErrConnectionClosed
	}
	return nats.ErrDisconnected
}

// open opens the bucket, or makes it, and returns its time to live.
func (r *Registry) open(ctx context.Context) (jetstream.KeyValue, time.Duration, error) {
	if err := r.connected(); err != nil {
		return nil, 0, err
	}
	kv, err := r.js.KeyValue(ctx, r.cfg.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) && !r.cfg.NoCreate {
		kv, err = r.create(ctx)
	}
	if errors.Is(err, nats.ErrNoResponders) {
		err = fmt.Errorf("%w, or has no leader at the moment: %w", jetstream.ErrJetStreamNotEnabled, err)
	}
	if err != nil {
		return nil, 0, err
	}
	status, err := kv.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	ttl := status.TTL()
	if ttl < minTTL || ttl > maxTTL {
		return nil, 0, fmt.Errorf("the time to live of the bucket is %v, not between %v and %v", ttl, minTTL, maxTTL)
	}
	if r.cfg.TTL != 0 && r.cfg.TTL != ttl {
		return nil, 0, fmt.Errorf("the time to live of the bucket is %v, not %v (TTL)", ttl, r.cfg.TTL)
	}
	return kv, ttl, nil
}

func (r *Registry) create(ctx context.Context) (jetstream.KeyValue, error) {
	cfg := jetstream.KeyValueConfig{
		Bucket:       r.cfg.Bucket,
		Description:  "servers of Mycel",
		MaxValueSize: maxStoredBytes,
		History:      1,
		TTL:          r.cfg.TTL,
		MaxBytes:     maxBucketBytes,
		Replicas:     r.cfg.Replicas,
	}
	if cfg.TTL == 0 {
		cfg.TTL = defaultTTL
	}
	cfg.LimitMarkerTTL = cfg.TTL.Truncate(time.Second) // of whole seconds
	kv, err := r.js.CreateKeyValue(ctx, cfg)
	if errors.Is(err, jetstream.ErrLimitMarkerTTLNotSupported) { // a server before 2.11: clients look for themselves
		cfg.LimitMarkerTTL = 0
		kv, err = r.js.CreateKeyValue(ctx, cfg)
	}
	if errors.Is(err, jetstream.ErrBucketExists) { // somebody was faster, and has another configuration
		return r.js.KeyValue(ctx, r.cfg.Bucket)
	}
	if err == nil {
		r.log.Info("made the bucket", zap.Duration("ttl", cfg.TTL), zap.Bool("markers", cfg.LimitMarkerTTL != 0))
	}
	return kv, err
}
