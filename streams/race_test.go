package streams

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

var errNoAnswer, errPort = errors.New("no answer"), errors.New("port unreachable")

// A network is what a Dialer dials, in a bubble: a handshake over each transport takes some time, or fails after that time.
type network struct {
	t      *testing.T
	dialer *Dialer
	logs   *observer.ObservedLogs
	mu     struct {
		sync.Mutex
		quic, tcp   handshake
		unreachable time.Duration // after which the network says that the UDP port is; 0 if it does not
		local       string        // address of this side
		begun       []string      // transports, in the order in which they were tried
		conns       map[*Conn]string
	}
}

type handshake struct {
	takes time.Duration
	err   error
}

func newNetwork(t *testing.T, quic, tcp handshake) *network {
	core, logs := observer.New(zap.InfoLevel)
	d, err := NewDialer(PreferQUIC, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	n := &network{t: t, dialer: d, logs: logs}
	n.mu.quic, n.mu.tcp, n.mu.local, n.mu.conns = quic, tcp, "192.0.2.1:1", map[*Conn]string{}
	d.quic, d.tcp = n.dial("quic", &n.mu.quic), n.dial("tcp", &n.mu.tcp)
	d.udp = func(context.Context, string, string) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		return &deafSocket{local: n.mu.local, unreachable: n.mu.unreachable, closed: make(chan struct{})}, nil
	}
	t.Cleanup(d.Close)
	return n
}

func (n *network) dial(name string, how *handshake) func(context.Context, string, Config) (*Conn, error) {
	return func(ctx context.Context, _ string, cfg Config) (*Conn, error) {
		n.mu.Lock()
		how := *how
		n.mu.begun = append(n.mu.begun, name)
		n.mu.Unlock()
		select {
		case <-time.After(how.takes):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if how.err != nil {
			return nil, how.err
		}
		near, far, err := Pipe(cfg, Config{})
		if err != nil {
			n.t.Error(err)
		}
		n.mu.Lock()
		n.mu.conns[near], n.mu.conns[far] = name, ""
		n.mu.Unlock()
		return near, nil
	}
}

func (n *network) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// wantDial dials and checks what the connection is over, how long that took, and what has been tried.
func (n *network) wantDial(over string, takes time.Duration, tried ...string) {
	n.t.Helper()
	begun := time.Now()
	n.set(func() { n.mu.begun = nil })
	c, err := n.dialer.Dial(n.t.Context(), "203.0.113.1:443", Config{})
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if got := n.mu.conns[c]; got != over || time.Since(begun) != takes {
		n.t.Errorf("connected over %s after %v, want %s after %v", got, time.Since(begun), over, takes)
	}
	if slices.Sort(n.mu.begun); !slices.Equal(n.mu.begun, tried) {
		n.t.Errorf("tried %q, want %q", n.mu.begun, tried)
	}
}

// wantLogs checks how many lines have been logged.
func (n *network) wantLogs(want int) {
	n.t.Helper()
	if got := n.logs.Len(); got != want {
		n.t.Errorf("%d lines were logged, want %d: %v", got, want, n.logs.All())
	}
}

// inNetwork runs f in a bubble, and checks that connections which were not returned have been closed.
func inNetwork(t *testing.T, quic, tcp handshake, f func(n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, quic, tcp)
		f(n)
		n.set(func() {
			for c := range n.mu.conns {
				c.t.close(0, "")
			}
		})
		synctest.Wait()
	})
}

// A deafSocket is connected, and learns at most that the other port is unreachable.
type deafSocket struct {
	net.Conn
	local       string
	unreachable time.Duration
	closed      chan struct{}
}

func (s *deafSocket) Write(p []byte) (int, error) { return len(p), nil }
func (s *deafSocket) Close() error                { close(s.closed); return nil }
func (s *deafSocket) LocalAddr() net.Addr         { return textAddr(s.local) }

func (s *deafSocket) Read([]byte) (int, error) {
	var after <-chan time.Time
	if s.unreachable > 0 {
		after = time.After(s.unreachable)
	}
	select {
	case <-after:
		return 0, errPort
	case <-s.closed:
		return 0, net.ErrClosed
	}
}

type textAddr string

func (textAddr) Network() string  { return "udp" }
func (a textAddr) String() string { return string(a) }

const (
	quicTime  = 20 * time.Millisecond
	tcpTime   = 40 * time.Millisecond
	givesUpAt = 5 * time.Second
)

func TestTCPIsNotTriedWhereQUICWorks(t *testing.T) {
	inNetwork(t, handshake{takes: quicTime}, handshake{takes: tcpTime}, func(n *network) {
		for range 2 {
			n.wantDial("quic", quicTime, "quic")
		}
		n.wantLogs(0)
	})
}

// TestBlockedUDPIsRemembered: only the first dial waits, and QUIC is tried again from time to time without anybody waiting.
func TestBlockedUDPIsRemembered(t *testing.T) {
	inNetwork(t, handshake{givesUpAt, errNoAnswer}, handshake{takes: tcpTime}, func(n *network) {
		n.wantDial("tcp", raceDelay+tcpTime, "quic", "tcp")
		for range 3 {
			n.wantDial("tcp", tcpTime, "tcp")
		}
		for wait := firstProbe; wait <= 2*lastProbe; wait *= 2 {
			time.Sleep(min(wait, lastProbe))
			n.wantDial("tcp", tcpTime, "quic", "tcp")
			n.wantDial("tcp", tcpTime, "tcp")
		}
		n.wantLogs(1)
		n.set(func() { n.mu.quic = handshake{takes: quicTime} })
		time.Sleep(lastProbe)
		n.wantDial("quic", quicTime, "quic", "tcp")
		n.wantDial("quic", quicTime, "quic")
		n.wantLogs(2)
	})
}

// TestAnotherNetworkIsAnotherPath: what is known of one is not believed of another.
func TestAnotherNetworkIsAnotherPath(t *testing.T) {
	inNetwork(t, handshake{givesUpAt, errNoAnswer}, handshake{takes: tcpTime}, func(n *network) {
		n.wantDial("tcp", raceDelay+tcpTime, "quic", "tcp")
		n.set(func() { n.mu.local, n.mu.quic = "198.51.100.1:1", handshake{takes: quicTime} })
		n.wantDial("quic", quicTime, "quic")
		n.set(func() { n.mu.local = "192.0.2.1:7" })
		n.wantDial("tcp", tcpTime, "tcp")
	})
}

func TestUnreachablePortsAreNotWaitedFor(t *testing.T) {
	inNetwork(t, handshake{givesUpAt, errNoAnswer}, handshake{takes: tcpTime}, func(n *network) {
		n.set(func() { n.mu.unreachable = 5 * time.Millisecond })
		n.wantDial("tcp", 5*time.Millisecond+tcpTime, "quic", "tcp")
	})
}

func TestFailedHandshakesAreNotWaitedFor(t *testing.T) {
	inNetwork(t, handshake{quicTime, errNoAnswer}, handshake{takes: tcpTime}, func(n *network) {
		n.wantDial("tcp", quicTime+tcpTime, "quic", "tcp")
	})
}

// TestSlowQUICMayWin, and then TCP is not remembered, and also not when it won only because it was faster.
func TestSlowQUICMayWin(t *testing.T) {
	const slow = 2 * raceDelay
	inNetwork(t, handshake{takes: slow}, handshake{takes: slow}, func(n *network) {
		n.wantDial("quic", slow, "quic", "tcp")
		n.set(func() { n.mu.tcp.takes = tcpTime })
		n.wantDial("tcp", raceDelay+tcpTime, "quic", "tcp")
		time.Sleep(slow)
		n.wantDial("tcp", raceDelay+tcpTime, "quic", "tcp")
	})
}

// TestTCPThatFailsIsNotTrusted: where it is remembered, QUIC is tried when TCP fails.
func TestTCPThatFailsIsNotTrusted(t *testing.T) {
	inNetwork(t, handshake{givesUpAt, errNoAnswer}, handshake{takes: tcpTime}, func(n *network) {
		n.wantDial("tcp", raceDelay+tcpTime, "quic", "tcp")
		time.Sleep(givesUpAt)
		n.set(func() { n.mu.quic, n.mu.tcp = handshake{takes: quicTime}, handshake{tcpTime, errPort} })
		n.wantDial("quic", tcpTime+quicTime, "quic", "tcp")
		n.wantDial("quic", quicTime, "quic")
	})
}

// TestFailureNamesBoth transports, and comes when both have failed or the context ends.
func TestFailureNamesBoth(t *testing.T) {
	tooLate := errors.New("too late")
	for _, c := range []struct {
		name  string
		tcp   handshake
		limit time.Duration // of the context
		takes time.Duration
		is    []error
	}{
		{"one after the other", handshake{tcpTime, errPort}, time.Minute, givesUpAt, []error{errNoAnswer, errPort}},
		{"within the context", handshake{takes: time.Hour}, time.Second, time.Second, []error{tooLate}},
		{"before TCP is tried", handshake{takes: time.Hour}, time.Millisecond, time.Millisecond, []error{tooLate, errNotTried}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inNetwork(t, handshake{givesUpAt, errNoAnswer}, c.tcp, func(n *network) {
				begun := time.Now()
				ctx, cancel := context.WithTimeoutCause(n.t.Context(), c.limit, tooLate)
				defer cancel()
				_, err := n.dialer.Dial(ctx, "203.0.113.1:443", Config{})
				if took := time.Since(begun); took != c.takes {
					t.Errorf("failed after %v, want %v", took, c.takes)
				}
				for _, want := range c.is {
					if !errors.Is(err, want) {
						t.Errorf("got %v, want it to be %v too", err, want)
					}
				}
				for _, word := range []string{"203.0.113.1:443", "QUIC", "TCP"} {
					if err == nil || !strings.Contains(err.Error(), word) {
						t.Errorf("%v does not mention %s", err, word)
					}
				}
			})
		})
	}
}

// TestClosedDialerDialsNothing, and gives up what it was dialing.
func TestClosedDialerDialsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := NewDialer(PreferQUIC, nil)
		if err != nil {
			t.Fatal(err)
		}
		hang := func(ctx context.Context, _ string, _ Config) (*Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		d.quic, d.tcp = hang, hang
		d.udp = func(context.Context, string, string) (net.Conn, error) { return nil, errPort }
		failed := make(chan error, 2)
		dial := func() {
			_, err := d.Dial(t.Context(), "203.0.113.1:443", Config{})
			failed <- err
		}
		go dial()
		synctest.Wait()
		d.Close()
		dial()
		for range 2 {
			if err := <-failed; !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		}
	})
}

func TestDialerRefusesUnknownPolicies(t *testing.T) {
	if _, err := NewDialer(3, nil); err == nil {
		t.Error("accepted")
	}
	for p, want := range map[Policy]string{PreferQUIC: "prefer QUIC", OnlyQUIC: "only QUIC", OnlyTCP: "only TCP", 3: "unknown policy"} {
		if p.String() != want || p.Valid() != (p < 3) {
			t.Errorf("policy %d is %q", p, p)
		}
	}
}
