package largeobj

import (
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
)

// Defaults of [Config].
const (
	DefaultArenaBytes     = 1 << 30
	DefaultMaxObjectBytes = 64 << 30
	DefaultMemoryBytes    = 512 << 20
	DefaultInMemoryBytes  = 64 << 20
	DefaultMaxLeases      = 1024
	DefaultMaxStreams     = 16
	DefaultResumeWindow   = 30 * time.Second
)

// Trust says what a receiver does with bytes in memory that the sender could still change.
type Trust int

const (
	// Borrow reads in place. The sender runs as the same user, so it could read and write this process anyway; still,
	// what was checked once must not be checked again and relied upon, because the bytes may differ by then.
	Borrow Trust = iota
	// Copy copies when an object is opened.
	Copy
)

// Config configures a [Store]. The zero value of every field is a default that suits most.
type Config struct {
	// StreamsOnly shares no memory: between processes of one host, too, objects travel as streams.
	StreamsOnly bool

	// ArenaBytes bounds the memory that this process shares with others on the host. 0 means 1 GiB.
	ArenaBytes int64

	// SocketDir is a directory for unix sockets through which containers that share it, but not a network namespace, find
	// each other; "" uses abstract sockets only.
	SocketDir string

	// Trust is what is done with the bytes of a peer on the same host. The default is [Borrow].
	Trust Trust

	// MaxLeases bounds the objects of one connection that the peer holds at the same time, separately for those in
	// shared memory and those to be fetched. 0 means 1024.
	MaxLeases int

	// MaxObjectBytes bounds one object, sent or received. 0 means 64 GiB.
	MaxObjectBytes int64

	// MemoryBytes bounds what all objects that were fetched hold in memory together, InMemoryBytes one of them; what is
	// above goes to files in SpillDir. 0 means 512 MiB and 64 MiB; SpillDir "" is the system's directory for temporary
	// files.
	MemoryBytes, InMemoryBytes int64
	SpillDir                   string

	// MaxStreams bounds the streams that fetch one object at the same time. 0 means 16.
	MaxStreams int

	// ResumeWindow is how long objects that a peer was sent are kept for it after its connection has been lost, and what
	// was fetched of an object until it is asked for again. 0 means 30 s.
	ResumeWindow time.Duration

	// Logger receives events, never content; nil is silent.
	Logger *zap.Logger
}

func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		name     string
		value    *int64
		def, max int64
	}{
		{"ArenaBytes", &c.ArenaBytes, DefaultArenaBytes, 1 << 40},
		{"MaxObjectBytes", &c.MaxObjectBytes, DefaultMaxObjectBytes, 1 << 46},
		{"MemoryBytes", &c.MemoryBytes, DefaultMemoryBytes, 1 << 40},
		{"InMemoryBytes", &c.InMemoryBytes, DefaultInMemoryBytes, 1 << 40},
	} {
		if *f.value == 0 {
			*f.value = f.def
		}
		if *f.value < 1 || *f.value > f.max {
			return c, fmt.Errorf("largeobj: %s is %d, must be between 1 and %d", f.name, *f.value, f.max)
		}
	}
	if c.MaxLeases == 0 {
		c.MaxLeases = DefaultMaxLeases
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	if c.ResumeWindow == 0 {
		c.ResumeWindow = DefaultResumeWindow
	}
	if c.MaxLeases < 1 || c.MaxLeases > 1<<20 || c.MaxStreams < 1 || c.MaxStreams > 64 || c.ResumeWindow < 0 {
		return c, fmt.Errorf("largeobj: MaxLeases is %d, MaxStreams %d and ResumeWindow %v, must be in 1 to 1048576, 1 to 64 and positive",
			c.MaxLeases, c.MaxStreams, c.ResumeWindow)
	}
	if c.Trust != Borrow && c.Trust != Copy {
		return c, fmt.Errorf("largeobj: Trust is %d, must be Borrow or Copy", c.Trust)
	}
	if c.SpillDir == "" {
		c.SpillDir = os.TempDir()
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c, nil
}
