package netlab

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ErrUnsupported is what [Enter] and [New] fail with where a lab is not possible: on other systems than Linux, and where the
// system forbids to make namespaces. The error says what is missing.
var ErrUnsupported = errors.New("no lab on this machine")

// Enter prepares the process for labs. Call it at the start of main or TestMain, before flags are parsed and before
// goroutines are started. It returns nil in a process that can make labs.
//
// A process without the privilege to make network namespaces is run once more, with the same arguments, as root of a user
// namespace and in a network namespace with nothing but a loopback device. Enter then does not return: it passes input,
// output and signals through and exits with the exit code of that process.
//
// A [Lab] runs the same program as its emulator, which is another use of Enter that does not return.
//
// The error wraps [ErrUnsupported] and says what is missing; the process itself is unchanged then.
func Enter() error { return enter() }

// Congestions returns the names of the TCP congestion controls that the kernel offers now, see [WithCongestion].
func Congestions() ([]string, error) { return congestions() }

// Config describes a [Lab]. The zero value is a lab that passes everything at once.
type Config struct {
	// Link is what both directions do, until [Lab.SetLink].
	Link Link

	// Seed makes what is random repeat: the n-th packet of a direction meets the same fate.
	Seed uint64

	// LeftAddresses and RightAddresses are how many addresses a host has, 1 to 16. 0 means 1.
	LeftAddresses, RightAddresses int

	// DeviceMTU is the MTU of the hosts' devices, 68 to 9000 bytes. 0 means 1500. See [Link.MTU] for one they do not know of.
	DeviceMTU int

	// MaxPackets bounds the packets that the emulator holds per direction, 1 to 1048576. 0 means 32768: with packets of
	// 1500 bytes a second of 390 Mbit/s, and 48 MiB.
	MaxPackets int
}

func (c Config) withDefaults() (Config, error) {
	c.LeftAddresses = cmp.Or(c.LeftAddresses, 1)
	c.RightAddresses = cmp.Or(c.RightAddresses, 1)
	c.DeviceMTU = cmp.Or(c.DeviceMTU, 1500)
	c.MaxPackets = cmp.Or(c.MaxPackets, 32768)
	for _, f := range []struct {
		name              string
		value, least, max int
	}{
		{"LeftAddresses", c.LeftAddresses, 1, 16},
		{"RightAddresses", c.RightAddresses, 1, 16},
		{"DeviceMTU", c.DeviceMTU, minMTU, 9000},
		{"MaxPackets", c.MaxPackets, 1, 1 << 20},
	} {
		if f.value < f.least || f.value > f.max {
			return c, fmt.Errorf("netlab: %s %d is not between %d and %d", f.name, f.value, f.least, f.max)
		}
	}
	return c, c.Link.Validate()
}

// Everything is in one network, 10.77.0.0/16, so that no host needs a route to an address that translation makes up.
const networkBits = 16

func hostAddress(net, host byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, net, host}) }

// outerAddress returns the n-th address that [NewAddress] gives the left host.
func outerAddress(n int) netip.Addr { return hostAddress(200, byte(1+n%250)) }

// A Lab is two hosts with a link between them. All methods are safe for concurrent use.
type Lab struct {
	Left, Right *Host

	emulator *exec.Cmd
	realTime bool
	ended    chan struct{} // closed when the emulator has exited; its error is in exit
	exit     error

	mu struct { // held during one exchange with the emulator
		sync.Mutex
		control net.Conn // message by message
		closed  bool
		links   [2]Link
		rebinds int // that took a new address
	}
}

// New makes a lab. Close it. It fails when cfg is out of range, with [ErrUnsupported] when the process may not make a lab
// or has not called [Enter], and when the system refuses something.
func New(cfg Config) (lab *Lab, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ready(); err != nil {
		return nil, err
	}
	l := &Lab{ended: make(chan struct{})}
	defer func() {
		if err != nil {
			l.closeHosts()
		}
	}()
	var sockets []*os.File
	defer func() {
		for _, s := range sockets {
			_ = s.Close() // the emulator has a copy
		}
	}()
	for i, count := range []int{cfg.LeftAddresses, cfg.RightAddresses} {
		var addresses []netip.Addr
		for n := range count {
			addresses = append(addresses, hostAddress(byte(i), byte(n+1)))
		}
		ns, socket, err := newNamespace(addresses, cfg.DeviceMTU)
		if err != nil {
			return nil, fmt.Errorf("netlab: making the %s host: %w", []string{"left", "right"}[i], err)
		}
		sockets = append(sockets, socket)
		host := &Host{ns: ns, addresses: addresses}
		if i == 0 {
			l.Left = host
		} else {
			l.Right = host
		}
	}
	l.mu.links = [2]Link{cfg.Link, cfg.Link}
	if err := l.startEmulator(cfg, sockets); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Lab) startEmulator(cfg Config, sockets []*os.File) error {
	control, theirs, err := controlPair()
	if err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	defer theirs.Close()
	l.emulator, err = emulatorCommand(append(sockets, theirs))
	if err != nil {
		_ = control.Close()
		return fmt.Errorf("netlab: %w", err)
	}
	if err := l.emulator.Start(); err != nil {
		_ = control.Close()
		return fmt.Errorf("netlab: starting the emulator: %w", err)
	}
	go func() { // ends with the emulator, which ends when control is closed; Close waits for ended
		l.exit = l.emulator.Wait()
		close(l.ended)
	}()
	l.mu.control = control
	r, err := l.ask(request{Start: &start{Seed: cfg.Seed, MaxPackets: cfg.MaxPackets, MTU: cfg.DeviceMTU, Links: l.mu.links}})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	l.realTime = r.RealTime
	return nil
}

// RealTime reports whether the kernel runs the emulator as soon as there is something to do, which root may ask for.
// Otherwise it has a high priority at most, and packets are late while all cores are busy: see [Stats].LatePackets.
func (l *Lab) RealTime() bool { return l.realTime }

// A request to the emulator has one of the fields, or none to ask for figures. It is one message of JSON.
type request struct {
	Start  *start   `json:",omitempty"`
	Link   *newLink `json:",omitempty"`
	Rebind *rebind  `json:",omitempty"`
}

type start struct {
	Seed            uint64
	MaxPackets, MTU int
	Links           [2]Link
}

type newLink struct {
	Direction Direction
	Link      Link
}

type rebind struct {
	Rebinding Rebinding
	Address   netip.Addr
}

// A response has the figures after the request.
type response struct {
	Error    string
	RealTime bool
	Stats    [2]Stats
}

const (
	maxMessageBytes = 64 << 10        // of a request or response
	controlTimeout  = 5 * time.Second // of an exchange with the emulator, which answers within a batch of packets
)

// ask makes one exchange with the emulator.
func (l *Lab) ask(q request) (response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.askLocked(q)
}

func (l *Lab) askLocked(q request) (r response, err error) {
	if l.mu.closed {
		return r, fmt.Errorf("netlab: lab: %w", net.ErrClosed)
	}
	message, err := json.Marshal(q)
	if err != nil {
		return r, fmt.Errorf("netlab: %w", err)
	}
	fail := func(err error) (response, error) {
		return r, fmt.Errorf("netlab: the emulator does not answer: %w", err)
	}
	if err := l.mu.control.SetDeadline(time.Now().Add(controlTimeout)); err != nil {
		return fail(err)
	}
	if _, err := l.mu.control.Write(message); err != nil {
		return fail(err)
	}
	b := make([]byte, maxMessageBytes)
	n, err := l.mu.control.Read(b)
	if err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(b[:n], &r); err != nil {
		return fail(err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("netlab: emulator: %s", r.Error)
	}
	return r, nil
}

// SetLink changes what a direction does to the packets that arrive from now on. Those that the emulator holds leave as
// they would have.
func (l *Lab) SetLink(d Direction, link Link) error {
	if d != LeftToRight && d != RightToLeft {
		return fmt.Errorf("netlab: there is no %v", d)
	}
	if err := link.Validate(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.askLocked(request{Link: &newLink{d, link}}); err != nil {
		return err
	}
	l.mu.links[d] = link
	return nil
}

// SetLinks is [Lab.SetLink] for both directions.
func (l *Lab) SetLinks(link Link) error {
	if err := l.SetLink(LeftToRight, link); err != nil {
		return err
	}
	return l.SetLink(RightToLeft, link)
}

// Link returns what a direction does now.
func (l *Lab) Link(d Direction) Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.links[d]
}

// Rebind makes the right host see the flows of the left host from other ports or another address, as after a NAT has
// forgotten them: UDP flows go on from there, TCP connections break. Packets to where the flows came from before are
// dropped. A further Rebind moves them again. While flows are translated, the left host should not be called by the
// right one.
func (l *Lab) Rebind(r Rebinding) error {
	if r < NoRebinding || r > NewAddress {
		return fmt.Errorf("netlab: there is no %v", r)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r == NewAddress {
		l.mu.rebinds++
	}
	_, err := l.askLocked(request{Rebind: &rebind{r, outerAddress(l.mu.rebinds)}})
	return err
}

// Stats returns the figures of both directions, indexed by [Direction].
func (l *Lab) Stats() ([2]Stats, error) {
	r, err := l.ask(request{})
	if err != nil {
		return r.Stats, err
	}
	for i, h := range []*Host{l.Left, l.Right} {
		from, to, err := h.ns.drops()
		if err != nil {
			return r.Stats, fmt.Errorf("netlab: %w", err)
		}
		r.Stats[i].Dropped.Kernel += from
		r.Stats[1-i].Dropped.Kernel += to
	}
	return r.Stats, nil
}

// Close ends the emulator and takes the hosts' devices away. It returns when the emulator has ended, with its error if it
// failed.
func (l *Lab) Close() error {
	l.mu.Lock()
	first := !l.mu.closed
	l.mu.closed = true
	if first {
		_ = l.mu.control.Close() // tells the emulator to end
	}
	l.mu.Unlock()
	<-l.ended
	if first {
		l.closeHosts()
	}
	if l.exit != nil {
		return fmt.Errorf("netlab: emulator: %w", l.exit)
	}
	return nil
}

func (l *Lab) closeHosts() {
	for _, h := range []*Host{l.Left, l.Right} {
		if h != nil {
			h.ns.close()
		}
	}
}

// A Host is one end of the link: a network namespace with addresses of its own. All methods are safe for concurrent use.
type Host struct {
	ns        *namespace
	addresses []netip.Addr
}

// Addr returns the first address of the host.
func (h *Host) Addr() netip.Addr { return h.addresses[0] }

// Addrs returns the addresses of the host. The result is a copy.
func (h *Host) Addrs() []netip.Addr { return append([]netip.Addr(nil), h.addresses...) }

// A SocketOption changes a TCP socket before it is connected or listens.
type SocketOption func(fd uintptr) error

// WithCongestion chooses the congestion control of a TCP socket by its name, which is one of [Congestions]: "cubic",
// "reno", "bbr". Connections that a listener accepts have its congestion control.
func WithCongestion(name string) SocketOption {
	return func(fd uintptr) error { return setCongestion(fd, name) }
}

// control applies the options to a socket.
func control(options []SocketOption) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			for _, o := range options {
				if err = o(fd); err != nil {
					return
				}
			}
		})
		return cmp.Or(failed, err)
	}
}

// address puts the host's address in front of a port alone, and any port behind nothing.
func (h *Host) address(a string) string {
	if a == "" {
		a = ":0"
	}
	if a[0] == ':' {
		a = h.Addr().String() + a
	}
	return a
}

// ListenPacket opens a UDP socket in the host's namespace. addr is "address:port"; without the address it means that of the
// host, and without the port any. The caller closes the socket.
func (h *Host) ListenPacket(ctx context.Context, addr string) (conn *net.UDPConn, err error) {
	err = h.Do(func() error {
		c, err := new(net.ListenConfig).ListenPacket(ctx, "udp4", h.address(addr))
		if err == nil {
			conn = c.(*net.UDPConn) // what package net returns for udp4
		}
		return err
	})
	return conn, err
}

// Listen opens a TCP listener in the host's namespace, at an address as of [Host.ListenPacket]. The caller closes it.
func (h *Host) Listen(ctx context.Context, addr string, options ...SocketOption) (ln *net.TCPListener, err error) {
	err = h.Do(func() error {
		l, err := (&net.ListenConfig{Control: control(options)}).Listen(ctx, "tcp4", h.address(addr))
		if err == nil {
			ln = l.(*net.TCPListener) // what package net returns for tcp4
		}
		return err
	})
	return ln, err
}

// Dial connects from the host's namespace to an address with a port, over network "tcp" or "udp". The caller closes the
// connection.
func (h *Host) Dial(ctx context.Context, network, addr string, options ...SocketOption) (conn net.Conn, err error) {
	err = h.Do(func() error {
		d := net.Dialer{Control: control(options)}
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Do runs f on a thread inside the host's namespace and returns its error, after f has returned. Sockets that f opens stay
// in the namespace, processes that f starts run in it; goroutines that f starts do not. f runs on a goroutine of its own: it
// must not end it, as t.FailNow does.
func (h *Host) Do(f func() error) error { return h.ns.do(f) }

// Start starts a process in the host's namespace, as [exec.Cmd.Start] does. The caller waits for it, and ends it before
// closing the lab. Set no Pdeathsig: the thread that starts the process may end any time.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }
