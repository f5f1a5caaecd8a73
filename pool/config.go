package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Conn is what a pool needs to know of a connection. All methods are safe for concurrent use, and none but Close
// blocks.
type Conn interface {
	comparable
	// Load returns the number of calls in progress, where a large one may count for several.
	Load() int
	// Draining reports whether the connection takes no new calls, also because it has ended.
	Draining() bool
	// Done returns a channel that is closed when the connection has ended, whoever ended it.
	Done() <-chan struct{}
	// Err returns why the connection ended.
	Err() error
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
	// must return soon after, and the connection must not depend on ctx. The pool takes ownership of the result.
	Dial func(ctx context.Context, to Endpoint, role Role) (C, error)
	// DialTimeout bounds one handshake, and one resolution of the target. Default 10 s; negative is refused.
	DialTimeout time.Duration
	// MaxMain is the largest number of main connections per endpoint, 1 to 4. Default 4.
	MaxMain int
	// MaxBulk is the largest number of bulk connections per endpoint, 1 to 8. Default 4.
	MaxBulk int
	// GrowAt is the load of the least loaded main connection from which on another one is opened. Default 128; negative is refused.
	GrowAt int
	// Backoff says how long an endpoint that failed is left alone.
	Backoff Backoff
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
	setDefault(&c.Logger, zap.NewNop())
	setDefault(&c.MaxMain, 4)
	setDefault(&c.MaxBulk, 4)
	setDefault(&c.GrowAt, 128)
	setDefault(&c.Backoff.Base, 100*time.Millisecond)
	setDefault(&c.Backoff.Max, max(30*time.Second, c.Backoff.Base))
	setDefault(&c.Backoff.Jitter, 0.2)
	switch {
	case c.DialTimeout < 0:
		return c, fmt.Errorf("pool: Config.DialTimeout is %v, want a positive duration or 0 for 10s", c.DialTimeout)
	case c.ResolveInterval < 0:
		return c, fmt.Errorf("pool: Config.ResolveInterval is %v, want a positive duration or 0 for 30s", c.ResolveInterval)
	case c.MaxMain < 1 || c.MaxMain > 4:
		return c, fmt.Errorf("pool: Config.MaxMain is %d, want 1 to 4, or 0 for 4", c.MaxMain)
	case c.MaxBulk < 1 || c.MaxBulk > 8:
		return c, fmt.Errorf("pool: Config.MaxBulk is %d, want 1 to 8, or 0 for 4", c.MaxBulk)
	case c.GrowAt < 0:
		return c, fmt.Errorf("pool: Config.GrowAt is %d, want a positive number or 0 for 128", c.GrowAt)
	case c.Backoff.Base < 0:
		return c, fmt.Errorf("pool: Config.Backoff.Base is %v, want a positive duration or 0 for 100ms", c.Backoff.Base)
	case c.Backoff.Max < c.Backoff.Base:
		return c, fmt.Errorf("pool: Config.Backoff.Max is %v, less than Base of %v", c.Backoff.Max, c.Backoff.Base)
	case !(c.Backoff.Jitter >= 0 && c.Backoff.Jitter <= 1):
		return c, fmt.Errorf("pool: Config.Backoff.Jitter is %v, want 0 to 1", c.Backoff.Jitter)
	}
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
