//go:build amd64 || arm64

package shm

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// These variables make the test binary a peer process, and tell it what to attach to.
const (
	childRole  = "MYCEL_SHM_CHILD"
	childOffer = "MYCEL_SHM_OFFER"
	childDir   = "MYCEL_SHM_DIR"
)

// testBinding is the connection of the test and its peer processes.
const testBinding = secretBinding("the connection")

// A handed block is on its way to the other process, as a line of text.
type handed struct {
	h    Handle
	seed uint64
}

func (m handed) String() string {
	return fmt.Sprintf("%x %d\n", AppendHandle(nil, m.h), m.seed)
}

func parseHanded(line string) (m handed, err error) {
	var b []byte
	if _, err = fmt.Sscanf(line, "%x %d\n", &b, &m.seed); err == nil {
		m.h, _, err = ParseHandle(b)
	}
	return m, err
}

// readHanded opens a block that was handed over, checks its content and returns it.
func readHanded(l *Link, m handed) (*Lease, error) {
	le, err := l.Open(m.h)
	if err != nil {
		return nil, err
	}
	if !filled(le.Bytes(), m.seed) || !le.Valid() {
		le.Release()
		return nil, fmt.Errorf("the content of %d is wrong", m.seed)
	}
	return le, nil
}

// handOver makes a block and hands it to the peer.
func handOver(ctx context.Context, l *Link, w io.Writer, seed uint64) error {
	n := 1 + int(seed*7919%50_000)
	alloc := l.arena.Alloc
	switch seed % 16 {
	case 0:
		n = 200_000 // a segment of its own
	case 1:
		alloc = l.arena.AllocSealed
	}
	b, err := alloc(n)
	if full := (*FullError)(nil); errors.As(err, &full) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.Release()
	fill(b.Bytes(), seed)
	if seed%16 == 1 {
		if err := b.Seal(); err != nil {
			return err
		}
	}
	h, err := l.Lease(ctx, b, 0, n)
	if errors.Is(err, ErrExhausted) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, handed{h, seed}.String())
	return err
}

// childArena is an arena whose segments come and go.
var childArena = ArenaConfig{SegmentBytes: 256 << 10, MaxBytes: 4 << 20, IdleAfter: 5 * time.Millisecond}

func runChild(role string) int {
	a, err := NewArena(childArena)
	if err == nil {
		err = map[string]func(*Arena) error{
			"dialer": dialerChild, "listener": listenerChild, "echo": echoChild,
			"other user": otherUserChild, "other network": otherNetworkChild,
		}[role](a)
	}
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	return 0
}

func childDial(a *Arena, config LinkConfig) (*Link, error) {
	blob, err := hex.DecodeString(os.Getenv(childOffer))
	if err != nil {
		return nil, err
	}
	return Dial(context.Background(), blob, testBinding, a, config)
}

func dialerChild(a *Arena) error {
	l, err := childDial(a, LinkConfig{})
	if err != nil {
		return err
	}
	return exchange(l)
}

func listenerChild(a *Arena) error {
	ln, err := Listen(ListenerConfig{Arena: a})
	if err != nil {
		return err
	}
	accepted := make(chan *Link, 1)
	blob, _, err := ln.Offer(testBinding, func(l *Link) { accepted <- l })
	if err != nil {
		return err
	}
	fmt.Printf("%x\n", blob)
	return exchange(<-accepted)
}

// exchange hands blocks over to the parent, and reads those of the parent, until it is killed.
func exchange(l *Link) error {
	failed := make(chan error, 2)
	go func() {
		var err error
		for seed := uint64(0); err == nil; seed++ {
			err = handOver(context.Background(), l, os.Stdout, seed)
		}
		failed <- err
	}()
	go func() {
		in := bufio.NewReader(os.Stdin)
		for {
			line, err := in.ReadString('\n')
			var m handed
			if err == nil {
				m, err = parseHanded(line)
			}
			if err == nil {
				var le *Lease
				if le, err = readHanded(l, m); err == nil {
					le.Release()
				}
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

// echoChild answers each handle with a byte of what it names.
func echoChild(a *Arena) error {
	l, err := childDial(a, LinkConfig{})
	if err != nil {
		return err
	}
	b := make([]byte, HandleBytes)
	for {
		if _, err := io.ReadFull(os.Stdin, b); err != nil {
			return err
		}
		h, _, err := ParseHandle(b)
		if err != nil {
			return err
		}
		le, err := l.Open(h)
		if err != nil {
			return err
		}
		answer := le.Bytes()[:1]
		_, err = os.Stdout.Write(answer)
		le.Release()
		if err != nil {
			return err
		}
	}
}

// otherUserChild has all that a client needs, except for the user.
func otherUserChild(a *Arena) error {
	var attach *AttachError
	if _, err := childDial(a, LinkConfig{}); !errors.As(err, &attach) || attach.Step != "user" {
		return fmt.Errorf("dialing as another user: %v", err)
	}
	blob, _ := hex.DecodeString(os.Getenv(childOffer))
	o, err := parseOffer(blob)
	if err != nil {
		return err
	}
	secret, _ := secretOf(testBinding, &o)
	conn, err := connect(context.Background(), o.socket, "")
	if err != nil {
		return err
	}
	hello := append(append([]byte{version}, o.nonce[:]...), proof(secret, roleClient, &o)...)
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := sendPacket(conn, append(hello, 8, 0, 0, 0), -1); err == nil {
		var b []byte
		if b, _, err = receivePacket(conn, welcomeBytes); err == nil {
			return fmt.Errorf("the listener welcomes another user with %x", b)
		}
		if isTimeout(err) {
			return err
		}
	}
	return nil
}

// otherNetworkChild sees no abstract socket, but perhaps the directory.
func otherNetworkChild(a *Arena) error {
	var attach *AttachError
	_, err := childDial(a, LinkConfig{})
	if !errors.As(err, &attach) || attach.Step != "connect" || !errors.Is(err, unix.ECONNREFUSED) { // at once, and not too late
		return fmt.Errorf("dialing from another network: %v", err)
	}
	dir := os.Getenv(childDir)
	if dir == "" {
		return nil
	}
	l, err := childDial(a, LinkConfig{Dir: dir})
	if err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	m, err := parseHanded(line)
	if err != nil {
		return err
	}
	_, err = readHanded(l, m)
	return err
}

// A child is a peer process.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts a peer process, killed at the end of the test.
func startChild(t testing.TB, role string, blob []byte, dir string, attr *syscall.SysProcAttr) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // which other users reach, too
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childRole+"="+role, childOffer+"="+hex.EncodeToString(blob), childDir+"="+dir, "GOCOVERDIR=")
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		if attr != nil && errors.Is(err, unix.EPERM) {
			t.Skipf("NOT TESTED: this needs the right to start a process as %+v: %v", attr, err)
		}
		t.Fatal(err)
	}
	c := &child{cmd, in, bufio.NewReader(out)}
	t.Cleanup(c.kill)
	return c
}

// kill ends the process at once, wherever it is. Calls after the first do nothing.
func (c *child) kill() {
	c.Process.Kill()
	c.Wait() // also closes the pipes
}

// succeed waits for the process to end by itself.
func (c *child) succeed(t testing.TB) {
	t.Helper()
	said, _ := io.ReadAll(c.out)
	if err := c.Wait(); err != nil {
		t.Errorf("the child ends with %v: %s", err, said)
	}
}

func newOffer(t testing.TB, a *Arena, dir string) (blob []byte, accepted <-chan *Link) {
	t.Helper()
	ln := newListener(t, ListenerConfig{Arena: a, Dir: dir})
	links := make(chan *Link, 1)
	blob, _, err := ln.Offer(testBinding, func(l *Link) { links <- l })
	if err != nil {
		t.Fatal(err)
	}
	return blob, links
}

func TestAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can start a process of another user")
	}
	blob, accepted := newOffer(t, newArena(t, ArenaConfig{}), "")
	startChild(t, "other user", blob, "", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}).succeed(t)
	select {
	case l := <-accepted:
		l.Close()
		t.Error("another user is accepted")
	default:
	}
}

func TestAnotherNetworkIsAnotherHostUnlessItSharesADirectory(t *testing.T) {
	shared, err := os.MkdirTemp("", "mycel") // a short name: that of a socket ends at 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	for _, dir := range []string{"", shared} {
		a := newArena(t, childArena)
		blob, accepted := newOffer(t, a, dir)
		c := startChild(t, "other network", blob, dir, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET})
		if dir == "" {
			c.succeed(t)
			continue
		}
		l := receive(t, accepted, "the link")
		if err := handOver(t.Context(), l, c.in, 2); err != nil {
			t.Error(err)
		}
		c.succeed(t)
		l.Close()
	}
}

// memory is what this process holds of the kernel.
type memory struct{ descriptors, memfds, mappings int }

func heldMemory(t testing.TB) memory {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return memory{openDescriptors(t), strings.Count(string(maps), "memfd:mycel"), strings.Count(string(maps), "\n")}
}

func openDescriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// TestKilledPeersLeaveNothing kills a process in the middle of handing over, again and again. It is the owner of what we
// read and the reader of what we own. MYCEL_KILL_CYCLES says how often.
func TestKilledPeersLeaveNothing(t *testing.T) {
	cycles := 25
	if s := os.Getenv("MYCEL_KILL_CYCLES"); s != "" {
		if _, err := fmt.Sscan(s, &cycles); err != nil {
			t.Fatal(err)
		}
	}
	a := newArena(t, childArena)
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	var before memory
	given, taken, kept := uint64(0), 0, 0
	for cycle := range cycles {
		if cycle == 3 {
			before = heldMemory(t)
		}
		g, n, k := killCycle(t, a, cycle%2 == 0, 1+r.IntN(200), given)
		given, taken, kept = given+g, taken+n, kept+k
		if t.Failed() {
			t.Fatalf("in cycle %d", cycle)
		}
		checkArena(t, a)
	}
	until(t, "idle memory to be given back", func() bool { return a.Stats().Segments == 0 && heldMemory(t).memfds == 0 })
	after := heldMemory(t)
	t.Logf("%d cycles, gave %d blocks, took %d, kept %d of dead owners: %+v before, %+v after", cycles, given, taken, kept, before, after)
	if after.descriptors > before.descriptors || after.memfds > 0 || after.mappings > before.mappings+64 {
		t.Errorf("held are %+v, before %+v", after, before)
	}
}

// killCycle kills a process after it has handed n blocks over. It returns how many were given, taken, and kept beyond its end.
func killCycle(t *testing.T, a *Arena, weListen bool, n int, seed uint64) (given uint64, taken, kept int) {
	var c *child
	var l *Link
	if weListen {
		ln, err := Listen(ListenerConfig{Arena: a})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		accepted := make(chan *Link, 1)
		blob, _, err := ln.Offer(testBinding, func(l *Link) { accepted <- l })
		if err != nil {
			t.Fatal(err)
		}
		c = startChild(t, "dialer", blob, "", nil)
		l = receive(t, accepted, "the link")
	} else {
		c = startChild(t, "listener", nil, "", nil)
		line, err := c.out.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		blob, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(line, err)
		}
		if l, err = Dial(t.Context(), blob, testBinding, a, LinkConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	defer l.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		for handOver(context.Background(), l, c.in, seed+given) == nil { // ends when the pipe or the link does
			given++
		}
	})
	var leases []*Lease
	var seeds []uint64
	for {
		line, err := c.out.ReadString('\n')
		if err != nil {
			break // all that it has written has been read
		}
		m, err := parseHanded(line)
		if err != nil {
			t.Fatalf("the child says %q", line)
		}
		le, err := readHanded(l, m)
		switch {
		case err == nil:
			if taken++; len(leases) < 10 && taken%3 == 0 {
				leases, seeds = append(leases, le), append(seeds, m.seed)
			} else {
				le.Release()
			}
		case taken < n: // alive
			t.Fatalf("opening what a living child has handed over: %v", err)
		case l.Err() == nil:
			t.Fatalf("opening what a dead child has handed over: %v", err)
		}
		if taken == n {
			c.Process.Kill()
		}
	}
	c.kill()
	receive(t, l.Done(), "the end of the link")
	wg.Wait()
	for i, le := range leases {
		if !filled(le.Bytes(), seeds[i]) || !le.Valid() {
			t.Errorf("what a dead process has left to us is wrong")
		}
		le.Release()
	}
	l.Close()
	if s := a.Stats(); s.Blocks != 0 || s.Imports != 0 || s.Links != 0 {
		t.Errorf("left are %+v", s)
	}
	return given, taken, len(leases)
}

func BenchmarkHandOverToAnotherProcess(b *testing.B) {
	for _, n := range []int{8 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			a := newArena(b, ArenaConfig{})
			blob, accepted := newOffer(b, a, "")
			c := startChild(b, "echo", blob, "", nil)
			l := receive(b, accepted, "the link")
			defer l.Close()
			first := newBlock(b, a, n)
			if _, err := l.Lease(b.Context(), first, 0, 1); err != nil {
				b.Fatal(err)
			}
			first.Release()
			buf := make([]byte, 0, HandleBytes)
			for b.Loop() {
				block, err := a.Alloc(n)
				if err != nil {
					b.Fatal(err)
				}
				block.Bytes()[0] = 1
				h, ok := l.TryLease(block, 0, n)
				if !ok {
					b.Fatal("no lease")
				}
				block.Release()
				if _, err := c.in.Write(AppendHandle(buf, h)); err != nil {
					b.Fatal(err)
				}
				if v, err := c.out.ReadByte(); err != nil || v != 1 {
					b.Fatal(v, err)
				}
			}
			c.kill()
		})
	}
}
