package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Conn is what a pool needs to know of a connection. All methods are safe for concurrent use, and none but Close and Retire
// blocks.
type Conn interface {
	comparable
	// Load returns the number of calls in progress, where a large one may count for several.
	Load() int
	// PeerLoad returns how many requests of others the peer works on, and when it said so; the zero time if it never has.
	PeerLoad() (requests int, at time.Time)
	// RTT returns the smoothed round trip time, 0 while it is not known.
	RTT() time.Duration
	// Draining reports whether the connection takes no new calls, also because it has ended.
	Draining() bool
	// Silent reports whether the peer does not answer although calls wait for it. That may pass.
	Silent() bool
	// GoneAway returns a channel that is closed when the peer has said that it takes no new calls.
	GoneAway() <-chan struct{}
	// Done returns a channel that is closed when the connection has ended, whoever ended it.
	Done() <-chan struct{}
	// Err returns why the connection ended.
	Err() error
	// Retire makes Draining true, waits for the calls in progress, of both sides, and closes the connection. It returns when
	// that is done, or when ctx ends.
	Retire(ctx context.Context)
	// Close ends the connection and returns when its goroutines have ended. It is idempotent.
	Close()
}

// Role says what a connection is for.
type Role uint8

const (
	Main Role = iota // control, stream and rpc traffic
	Bulk             // large transfers, apart from everything else

	numRoles = 2
)

// String returns "main" or "bulk".
func (r Role) String() string {
	if r == Bulk {
		return "bulk"
	}
	return "main"
}

// Config configures a [Pool]. Dial is required, everything else has a default for zero. It is copied by New.
type Config[C Conn] struct {
	// Dial opens a connection. ctx ends when the handshake takes longer than DialTimeout or the pool closes; Dial
	// must return soon after, and the connection must not depend on ctx. The pool takes ownership of the result. Whoever makes
	// calls on the connection tells health how they end.
	Dial func(ctx context.Context, to Endpoint, role Role, health *Health) (C, error)
	// DialTimeout bounds one handshake, and the first answer of the resolver. Default 10 s; negative is refused.
	DialTimeout time.Duration
	// Policy says which endpoint a call goes to. Default [LeastLoaded].
	Policy Policy
	// Zone is where this process is. Endpoints of the same zone are preferred to others of their priority. Default: no zone.
	Zone string
	// MaxMain is the largest number of main connections per endpoint, 1 to 4. Default 4.
	MaxMain int
	// MaxBulk is the largest number of bulk connections per endpoint, 1 to 16. Default 16.
	MaxBulk int
	// GrowAt is the load of the least loaded main connection of an endpoint from which on another one is opened. Default 128;
	// negative is refused.
	GrowAt int
	// ShrinkAfter is how long a connection may be idle before it is closed; the last main connection of an endpoint stays.
	// Default 1 min; negative is refused.
	ShrinkAfter time.Duration
	// Backoff says how long an endpoint that failed is left alone.
	Backoff Backoff
	// Ejection says when an endpoint that can be reached is left alone because its calls fail.
	Ejection Ejection
	// Resolver finds the endpoints. The target is then only a name. Default: by the target, see the package
	// documentation.
	Resolver Resolver
	// ResolveInterval is how often a [Resolver] that does not watch is asked. Default 30 s; negative is refused.
	ResolveInterval time.Duration
	// Logger receives changes of the state of endpoints; nil is silent.
	Logger *zap.Logger
}

// withDefaults returns the configuration with defaults for zero values, or an error for illegal ones.
func (c Config[C]) withDefaults() (Config[C], error) {
	if c.Dial == nil {
		return c, errors.New("pool: Config.Dial is nil")
	}
	setDefault(&c.DialTimeout, 10*time.Second)
	setDefault(&c.ResolveInterval, 30*time.Second)
	setDefault(&c.ShrinkAfter, time.Minute)
	setDefault(&c.Logger, zap.NewNop())
	setDefault(&c.MaxMain, 4)
	setDefault(&c.MaxBulk, 16)
	setDefault(&c.GrowAt, 128)
	setDefault(&c.Backoff.Base, 100*time.Millisecond)
	setDefault(&c.Backoff.Max, max(30*time.Second, c.Backoff.Base))
	setDefault(&c.Backoff.Jitter, 0.2)
	setDefault(&c.Ejection.Failures, 5)
	setDefault(&c.Ejection.Pause, 10*time.Second)
	setDefault(&c.Ejection.MaxShare, 0.5)
	for _, d := range []struct {
		name    string
		value   time.Duration
		Default time.Duration
	}{
		{"DialTimeout", c.DialTimeout, 10 * time.Second},
		{"ResolveInterval", c.ResolveInterval, 30 * time.Second},
		{"ShrinkAfter", c.ShrinkAfter, time.Minute},
		{"Backoff.Base", c.Backoff.Base, 100 * time.Millisecond},
		{"Ejection.Pause", c.Ejection.Pause, 10 * time.Second},
	} {
		if d.value < 0 {
			return c, fmt.Errorf("pool: Config.%s is %v, want a positive duration or 0 for %v", d.name, d.value, d.Default)
		}
	}
	switch {
	case c.Policy >= numPolicies:
		return c, fmt.Errorf("pool: Config.Policy is %d, want one of the policies, 0 to %d", c.Policy, numPolicies-1)
	case c.MaxMain < 1 || c.MaxMain > 4:
		return c, fmt.Errorf("pool: Config.MaxMain is %d, want 1 to 4, or 0 for 4", c.MaxMain)
	case c.MaxBulk < 1 || c.MaxBulk > 16:
		return c, fmt.Errorf("pool: Config.MaxBulk is %d, want 1 to 16, or 0 for 16", c.MaxBulk)
	case c.GrowAt < 0:
		return c, fmt.Errorf("pool: Config.GrowAt is %d, want a positive number or 0 for 128", c.GrowAt)
	case c.Backoff.Max < c.Backoff.Base:
		return c, fmt.Errorf("pool: Config.Backoff.Max is %v, less than Base of %v", c.Backoff.Max, c.Backoff.Base)
	case !(c.Backoff.Jitter >= 0 && c.Backoff.Jitter <= 1):
		return c, fmt.Errorf("pool: Config.Backoff.Jitter is %v, want 0 to 1", c.Backoff.Jitter)
	case !(c.Ejection.MaxShare >= 0 && c.Ejection.MaxShare <= 1):
		return c, fmt.Errorf("pool: Config.Ejection.MaxShare is %v, want 0 to 1, where 0 means 0.5", c.Ejection.MaxShare)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
