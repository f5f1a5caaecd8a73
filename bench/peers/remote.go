package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mycel-rpc/mycel/largeobj"
)

// remoteVariable is set in the environment of a process that is the server of the scenario "connections", to its transport.
const remoteVariable = "MYCEL_BENCH_SERVER"

// remoteReadBytes is what each end of wss reads into: the default of the library, and not the 64 KiB of other scenarios, which an
// idle connection would pay for.
const remoteReadBytes = 4 << 10

// remoteSilence is how long the server may be too busy to answer a client that waits.
const remoteSilence = time.Minute

// An order to such a process is one JSON value on its standard input; a reply on the standard output follows each.
type order struct {
	Broadcast int `json:"broadcast,omitzero"` // to that many subscribers; 0 asks for the footprint
}

type reply struct {
	Address   string    `json:"address,omitzero"` // these two are the first reply, which needs no order
	Root      []byte    `json:"root,omitzero"`    // certificate that the server has
	Footprint footprint `json:"footprint,omitzero"`
	At        int64     `json:"at,omitzero"` // nanoseconds since 1970 of the broadcast
	Error     string    `json:"error,omitzero"`
}

// serveRemote is such a process. It returns when in ends, or when a reply cannot be written.
func serveRemote(transport string, in io.Reader, out io.Writer) error {
	debug.SetGCPercent(openingGC)
	var first reply
	switch transport {
	case mycelQUIC:
		s, err := newMycel(loopback, largeobj.Config{StreamsOnly: true})
		if err != nil {
			return err
		}
		first.Address, first.Root = s.addr, s.root
	case "wss":
		s, err := newWebSocket(loopback, true, direct, func(s *wsServer) { s.readBytes = remoteReadBytes })
		if err != nil {
			return err
		}
		first.Address, first.Root = s.addr, s.root
	default:
		return fmt.Errorf("bench: no server of %q", transport)
	}
	replies, orders := json.NewEncoder(out), json.NewDecoder(in)
	if err := replies.Encode(first); err != nil {
		return err
	}
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			return nil // whoever gave orders has gone
		}
		var r reply
		if o.Broadcast > 0 {
			at, err := broadcastTo(o.Broadcast, time.Minute)
			if r.At = at.UnixNano(); err != nil {
				r.Error = err.Error()
			}
		} else {
			r.Footprint = readFootprint()
		}
		if err := replies.Encode(r); err != nil {
			return err
		}
	}
}

// A remote is a server in a process of its own, as those see it who started it.
type remote struct {
	cmd    *exec.Cmd
	orders io.WriteCloser
	in     *json.Encoder
	out    *json.Decoder
	dial   func(context.Context) (caller, error)
	free   func() // what dial needs
}

// startRemote starts this program again as a server. It ends with ctx at the latest.
func startRemote(ctx context.Context, transport string) (_ *remote, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	s := &remote{cmd: exec.CommandContext(ctx, self), free: func() {}}
	s.cmd.Env = append(os.Environ(), remoteVariable+"="+transport)
	s.cmd.Stderr = os.Stderr
	if s.orders, err = s.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("bench: starting a server: %w", err)
	}
	s.in, s.out = json.NewEncoder(s.orders), json.NewDecoder(out)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	first, err := s.reply()
	if err != nil {
		return nil, err
	}
	root, err := x509.ParseCertificate(first.Root)
	if err != nil {
		return nil, fmt.Errorf("bench: certificate of the server: %w", err)
	}
	conf := clientTLSConfig(root)
	switch transport {
	case mycelQUIC:
		near, err := largeobj.New(largeobj.Config{StreamsOnly: true})
		if err != nil {
			return nil, err
		}
		s.free = near.Close
		far := &mycelServer{site: loopback, near: near, addr: first.Address, clientTLS: conf}
		far.limits.SilenceTimeout = remoteSilence
		s.dial = func(ctx context.Context) (caller, error) { return far.dial(ctx, false) }
	default:
		far := &wsServer{site: loopback, addr: first.Address, clientTLS: conf, readBytes: remoteReadBytes}
		s.dial = func(ctx context.Context) (caller, error) { return far.dial(ctx, false) }
	}
	return s, nil
}

func (s *remote) reply() (r reply, err error) {
	if err := s.out.Decode(&r); err != nil {
		return r, fmt.Errorf("bench: the server has not answered: %w", err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (s *remote) order(o order) (reply, error) {
	if err := s.in.Encode(o); err != nil {
		return reply{}, fmt.Errorf("bench: the server takes no orders: %w", err)
	}
	return s.reply()
}

// footprint returns what the process of the server holds.
func (s *remote) footprint() (footprint, error) {
	r, err := s.order(order{})
	return r.Footprint, err
}

// broadcast has the server send a tick to n subscribers once as many are waiting, and returns when that was, in nanoseconds since
// 1970.
func (s *remote) broadcast(n int) (at int64, err error) {
	r, err := s.order(order{Broadcast: n})
	return r.At, err
}

// close ends the process.
func (s *remote) close() error {
	defer s.free()
	return errors.Join(s.orders.Close(), s.cmd.Wait())
}

// broadcast is what all subscribers of this process wait for.
var broadcast struct {
	mu    sync.Mutex
	waits int
	now   chan struct{} // closed to broadcast; nil before the first wait
}

// awaitBroadcast returns at the next broadcast.
func awaitBroadcast() {
	b := &broadcast
	b.mu.Lock()
	if b.now == nil {
		b.now = make(chan struct{})
	}
	b.waits++
	now := b.now
	b.mu.Unlock()
	<-now
}

// broadcastTo releases n subscribers once as many are waiting, which has to be within the time.
func broadcastTo(n int, within time.Duration) (time.Time, error) {
	b := &broadcast
	for begun := time.Now(); ; <-time.After(10 * time.Millisecond) {
		b.mu.Lock()
		if b.waits >= n {
			at := time.Now()
			close(b.now)
			b.now, b.waits = nil, 0
			b.mu.Unlock()
			return at, nil
		}
		waits := b.waits
		b.mu.Unlock()
		if time.Since(begun) > within {
			return time.Time{}, fmt.Errorf("bench: %d of %d subscribers came within %v", waits, n, within)
		}
	}
}
