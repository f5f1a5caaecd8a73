package netlab_test

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

// patience bounds what must happen soon, on a machine that may have much else to do.
const patience = 20 * time.Second

// pair returns a UDP socket on the left and one on the right host that sends everything back, after it has told seen where
// it came from. The sockets and the goroutine behind them end with the test. seen may be nil.
func pair(t testing.TB, lab *netlab.Lab, seen func(netip.AddrPort)) (client *net.UDPConn, server netip.AddrPort) {
	t.Helper()
	right := must(lab.Right.ListenPacket(t.Context(), ""))(t, "socket on the right")
	left := must(lab.Left.ListenPacket(t.Context(), ""))(t, "socket on the left")
	done := make(chan struct{})
	go func() { // ends when right is closed; the cleanup waits
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, from, err := right.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if seen != nil {
				seen(from)
			}
			if _, err := right.WriteToUDPAddrPort(b[:n], from); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = left.Close()
		_ = right.Close()
		<-done
	})
	return left, addrPort(right)
}

func addrPort(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// echo sends a packet of size bytes of IP and returns how long the answer took.
func echo(t testing.TB, c *net.UDPConn, server netip.AddrPort, size int) time.Duration {
	t.Helper()
	start := time.Now()
	write(t, c, server, make([]byte, size-headers))
	read(t, c)
	return time.Since(start)
}

const headers = 28 // of IP and UDP

func write(t testing.TB, c *net.UDPConn, to netip.AddrPort, p []byte) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(p, to); err != nil {
		t.Fatalf("sending from %v to %v: %v", c.LocalAddr(), to, err)
	}
}

func read(t testing.TB, c *net.UDPConn) []byte {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	if err != nil {
		t.Fatalf("receiving at %v: %v", c.LocalAddr(), err)
	}
	return b[:n]
}

// waitFor polls the figures of a direction until they are as expected.
func waitFor(t *testing.T, lab *netlab.Lab, d netlab.Direction, what string, ok func(netlab.Stats) bool) netlab.Stats {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		s := must(lab.Stats())(t, "stats")[d]
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("%v: not %s: %+v", d, what, s)
		}
	}
}

func setLinks(t testing.TB, lab *netlab.Lab, l netlab.Link) {
	t.Helper()
	if err := lab.SetLinks(l); err != nil {
		t.Fatal(err)
	}
}

func TestAPacketTakesTheDelayOfBothDirections(t *testing.T) {
	lab := newLab(t, netlab.Config{Link: netlab.Link{Delay: 2 * time.Millisecond}})
	if err := lab.SetLink(netlab.RightToLeft, netlab.Link{Delay: 3 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	client, server := pair(t, lab, nil)
	const delay, n = 5 * time.Millisecond, 100
	var times []time.Duration
	for range n {
		took := echo(t, client, server, 128)
		if took < delay {
			t.Errorf("an echo took %v", took)
		}
		times = append(times, took)
	}
	slices.Sort(times)
	stats := must(lab.Stats())(t, "stats")
	t.Logf("an echo over %v: least %v, median %v, most %v; real time: %v", delay, times[0], times[n/2], times[n-1], lab.RealTime())
	for i, s := range stats {
		t.Logf("%v: late by %v in the mean, %v at most", netlab.Direction(i), s.Lateness, s.MaxLateness)
		if s.Packets != n || s.PassedPackets != n || s.Bytes != n*128 || s.PassedBytes != n*128 || s.Dropped.Total() != 0 || s.HeldPackets != 0 {
			t.Errorf("%v: %+v", netlab.Direction(i), s)
		}
	}
}

func TestTheSameSeedLosesTheSamePackets(t *testing.T) {
	const n = 200 // so few that they fit the buffer of a socket
	run := func(seed uint64) (arrived []uint16) {
		lab := newLab(t, netlab.Config{Seed: seed, Link: netlab.Link{Loss: 0.2}})
		right := must(lab.Right.ListenPacket(t.Context(), ""))(t, "socket on the right")
		defer right.Close()
		left := must(lab.Left.ListenPacket(t.Context(), ""))(t, "socket on the left")
		defer left.Close()
		for i := range n {
			write(t, left, addrPort(right), binary.BigEndian.AppendUint16(nil, uint16(i)))
		}
		s := waitFor(t, lab, netlab.LeftToRight, "all have passed", func(s netlab.Stats) bool {
			return s.PassedPackets+s.Dropped.Total() == n
		})
		if s.Dropped != (netlab.Dropped{Loss: s.Dropped.Loss}) {
			t.Fatalf("dropped: %+v", s.Dropped)
		}
		for range s.PassedPackets {
			arrived = append(arrived, binary.BigEndian.Uint16(read(t, right)))
		}
		return arrived
	}
	first := run(1)
	if lost := n - len(first); lost < n/10 || lost > n*3/10 {
		t.Errorf("%d of %d packets are lost", lost, n)
	}
	if !slices.Equal(first, run(1)) {
		t.Error("the same seed loses other packets")
	}
	if slices.Equal(first, run(2)) {
		t.Error("another seed loses the same packets")
	}
}

func TestTheQueueIsBoundedInBytesAndSoInTime(t *testing.T) {
	const size, rate, queue, n = 1000, 8_000_000, 10_000, 50 // a millisecond for each packet
	lab := newLab(t, netlab.Config{Link: netlab.Link{Rate: rate, QueueBytes: queue}})
	right := must(lab.Right.ListenPacket(t.Context(), ""))(t, "socket on the right")
	defer right.Close()
	left := must(lab.Left.ListenPacket(t.Context(), ""))(t, "socket on the left")
	defer left.Close()
	start := time.Now()
	for range n {
		write(t, left, addrPort(right), make([]byte, size-headers))
	}
	waitFor(t, lab, netlab.LeftToRight, "all have arrived", func(s netlab.Stats) bool { return s.Packets == n })
	arrived := time.Since(start)
	s := waitFor(t, lab, netlab.LeftToRight, "all have passed", func(s netlab.Stats) bool { return s.PassedPackets+s.Dropped.Queue == n })
	took := time.Since(start)
	if took < time.Duration(s.PassedPackets)*time.Millisecond {
		t.Errorf("%d packets passed in %v", s.PassedPackets, took)
	}
	if most := queue/size + uint64(arrived/time.Millisecond) + 1; s.PassedPackets < queue/size || s.PassedPackets > most {
		t.Errorf("%d packets passed, want %d to %d", s.PassedPackets, queue/size, most)
	}
	if s.MaxQueueBytes > queue || s.MaxQueueDelay > queue/size*time.Millisecond || s.QueueBytes > queue {
		t.Errorf("stats: %+v", s)
	}
	if s.PassedPackets < n && s.MaxQueueBytes != queue {
		t.Errorf("dropped before the queue was full: %+v", s)
	}
}

func TestAPacketLongerThanTheMTUVanishes(t *testing.T) {
	lab := newLab(t, netlab.Config{Link: netlab.Link{MTU: 1300}})
	client, server := pair(t, lab, nil)
	echo(t, client, server, 1300)
	write(t, client, server, make([]byte, 1301-headers))
	echo(t, client, server, 100) // whose answer is the next one
	s := must(lab.Stats())(t, "stats")[netlab.LeftToRight]
	if s.Dropped != (netlab.Dropped{MTU: 1}) || s.PassedPackets != 2 {
		t.Errorf("stats: %+v", s)
	}
}

func TestLargePacketsPassAnUnusualDevice(t *testing.T) {
	lab := newLab(t, netlab.Config{DeviceMTU: 9000})
	client, server := pair(t, lab, nil)
	echo(t, client, server, 9000)
	if s := must(lab.Stats())(t, "stats")[netlab.LeftToRight]; s.Packets != 1 || s.Bytes != 9000 {
		t.Errorf("stats: %+v", s)
	}
	write(t, client, server, make([]byte, 9001-headers)) // in two fragments
	if got := len(read(t, client)); got != 9001-headers {
		t.Errorf("%d bytes came back", got)
	}
}

func TestABlackHolePassesNothingUntilItEnds(t *testing.T) {
	lab := newLab(t, netlab.Config{})
	client, server := pair(t, lab, nil)
	echo(t, client, server, 100)
	setLinks(t, lab, netlab.Link{BlackHole: true})
	if !lab.Link(netlab.RightToLeft).BlackHole {
		t.Error("the link does not know what it does")
	}
	write(t, client, server, []byte("into the hole"))
	s := waitFor(t, lab, netlab.LeftToRight, "dropped", func(s netlab.Stats) bool { return s.Dropped.BlackHole == 1 })
	if s.PassedPackets != 1 {
		t.Errorf("stats: %+v", s)
	}
	setLinks(t, lab, netlab.Link{})
	echo(t, client, server, 100)
}

func TestDuplicatesAndReorderedPacketsArrive(t *testing.T) {
	t.Parallel()
	lab := newLab(t, netlab.Config{Link: netlab.Link{Duplicate: 1}})
	client, server := pair(t, lab, nil)
	write(t, client, server, []byte{1})
	for range 4 { // two go there, each of which comes back twice
		if got := read(t, client); !slices.Equal(got, []byte{1}) {
			t.Errorf("received %x", got)
		}
	}
	if err := lab.SetLink(netlab.RightToLeft, netlab.Link{}); err != nil {
		t.Fatal(err)
	}
	for i, delay := range []time.Duration{10 * time.Millisecond, time.Minute} {
		if err := lab.SetLink(netlab.LeftToRight, netlab.Link{Reorder: 1, ReorderDelay: delay}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		write(t, client, server, []byte{byte(i)})
		waitFor(t, lab, netlab.LeftToRight, "held back", func(s netlab.Stats) bool { return s.HeldBack == uint64(i+1) })
		if delay < time.Minute {
			if got, took := read(t, client), time.Since(start); got[0] != 0 || took < delay {
				t.Errorf("packet %d arrives after %v, although it is held back for %v", got[0], took, delay)
			}
		}
	}
	if err := lab.SetLink(netlab.LeftToRight, netlab.Link{}); err != nil {
		t.Fatal(err)
	}
	write(t, client, server, []byte{2})
	if got := read(t, client); got[0] != 2 {
		t.Errorf("packet %d overtakes the one that is held back", got[0])
	}
}

func TestARebindingMovesARunningFlow(t *testing.T) {
	lab := newLab(t, netlab.Config{})
	from := make(chan netip.AddrPort, 1)
	client, server := pair(t, lab, func(a netip.AddrPort) { from <- a })
	where := func() netip.AddrPort {
		t.Helper()
		echo(t, client, server, 100) // so the way back is translated, too
		return <-from
	}
	own := addrPort(client)
	if got := where(); got != own {
		t.Errorf("before: seen at %v, want %v", got, own)
	}
	last := own
	for _, r := range []netlab.Rebinding{netlab.NewPorts, netlab.NewAddress, netlab.NewAddress, netlab.NewPorts} {
		if err := lab.Rebind(r); err != nil {
			t.Fatal(err)
		}
		got := where()
		moved := got.Addr() != last.Addr()
		if got.Port() == last.Port() || r == netlab.NewAddress && !moved || r == netlab.NewPorts && got.Addr() != own.Addr() {
			t.Errorf("%v: seen at %v, before at %v", r, got, last)
		}
		if again := where(); again != got {
			t.Errorf("%v: seen at %v and then at %v", r, got, again)
		}
		last = got
	}
	if err := lab.Rebind(netlab.NoRebinding); err != nil {
		t.Fatal(err)
	}
	if got := where(); got != own {
		t.Errorf("after: seen at %v, want %v", got, own)
	}
}

func TestWhatIsSentToTheAddressFromBeforeIsDropped(t *testing.T) {
	lab := newLab(t, netlab.Config{})
	right := must(lab.Right.ListenPacket(t.Context(), ""))(t, "socket on the right")
	defer right.Close()
	client := must(lab.Left.ListenPacket(t.Context(), ""))(t, "socket on the left")
	defer client.Close()
	if err := lab.Rebind(netlab.NewPorts); err != nil {
		t.Fatal(err)
	}
	write(t, client, addrPort(right), []byte("moves"))
	read(t, right)
	write(t, right, addrPort(client), []byte("too late"))
	waitFor(t, lab, netlab.RightToLeft, "dropped", func(s netlab.Stats) bool { return s.Dropped.NAT == 1 })
}

func TestAHostHasTheAddressesItIsAskedFor(t *testing.T) {
	lab := newLab(t, netlab.Config{RightAddresses: 3})
	if len(lab.Left.Addrs()) != 1 || len(lab.Right.Addrs()) != 3 {
		t.Fatalf("addresses: %v and %v", lab.Left.Addrs(), lab.Right.Addrs())
	}
	client := must(lab.Left.ListenPacket(t.Context(), ""))(t, "socket on the left")
	defer client.Close()
	for _, a := range lab.Right.Addrs() {
		right := must(lab.Right.ListenPacket(t.Context(), a.String()+":0"))(t, "socket on the right")
		write(t, client, addrPort(right), []byte("hello"))
		read(t, right)
		_ = right.Close()
	}
}

func TestMoreThanTheEmulatorHoldsIsDropped(t *testing.T) {
	lab := newLab(t, netlab.Config{MaxPackets: 10, Link: netlab.Link{Delay: time.Minute}})
	client, server := pair(t, lab, nil)
	for range 50 {
		write(t, client, server, []byte("hello"))
	}
	s := waitFor(t, lab, netlab.LeftToRight, "all arrived", func(s netlab.Stats) bool { return s.Packets == 50 })
	// The slots for the next packets to be received are besides.
	if s.Dropped != (netlab.Dropped{Overflow: 40}) || s.HeldPackets != 10 {
		t.Errorf("stats: %+v", s)
	}
}

func TestABadRequestIsRefused(t *testing.T) {
	for _, cfg := range []netlab.Config{
		{LeftAddresses: 17}, {RightAddresses: -1}, {DeviceMTU: 60}, {MaxPackets: -1}, {MaxPackets: 1<<20 + 1}, {Link: netlab.Link{Loss: 2}},
	} {
		if lab, err := netlab.New(cfg); err == nil || lab != nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	lab := newLab(t, netlab.Config{})
	if err := lab.SetLinks(netlab.Link{Loss: 2}); err == nil {
		t.Error("a link out of range is taken")
	}
	if err := lab.SetLink(2, netlab.Link{}); err == nil {
		t.Error("a direction out of range is taken")
	}
	if err := lab.Rebind(3); err == nil {
		t.Error("a rebinding out of range is taken")
	}
}

func TestAFunctionAndAProcessRunInTheHost(t *testing.T) {
	lab := newLab(t, netlab.Config{})
	failure := errors.New("no")
	if err := lab.Left.Do(func() error { return failure }); !errors.Is(err, failure) {
		t.Errorf("Do returns %v", err)
	}
	for _, h := range []*netlab.Host{lab.Left, lab.Right} {
		var out strings.Builder
		cmd := helper(t, "addresses", false)
		cmd.Stdout = &out
		if err := h.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.TrimSpace(out.String()), h.Addr().String(); got != want {
			t.Errorf("a process in the host has the address %q, want %q", got, want)
		}
	}
	for _, a := range must(net.InterfaceAddrs())(t, "addresses") {
		if strings.HasPrefix(a.String(), "10.77.") {
			t.Errorf("the test itself is in a host, with %v", a)
		}
	}
}

func TestCloseGivesEverythingBack(t *testing.T) {
	if entered != nil {
		t.Skipf("NOT TESTED: %v", entered)
	}
	open := func() int { return len(must(os.ReadDir("/proc/self/fd"))(t, "descriptors")) }
	cycle := func() {
		lab := must(netlab.New(netlab.Config{Link: netlab.Link{Delay: time.Hour / 100}}))(t, "lab")
		client := must(lab.Left.ListenPacket(t.Context(), ""))(t, "socket")
		defer client.Close()
		write(t, client, netip.AddrPortFrom(lab.Right.Addr(), 9), []byte("on its way"))
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := lab.Close(); err != nil {
					t.Errorf("closing: %v", err)
				}
			})
		}
		wg.Wait()
		for what, err := range map[string]error{
			"Stats": second(lab.Stats()), "SetLinks": lab.SetLinks(netlab.Link{}), "Rebind": lab.Rebind(netlab.NewPorts),
			"Do": lab.Left.Do(func() error { return nil }), "Listen": second(lab.Right.Listen(t.Context(), "")),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if _, err := client.WriteToUDPAddrPort([]byte("nobody"), netip.AddrPortFrom(lab.Right.Addr(), 9)); err == nil {
			t.Error("a socket that was left open can still send")
		}
	}
	cycle() // what package net and the runtime open once
	before := open()
	for range 3 {
		cycle()
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors are open, before there were %d", after, before)
	}
	// Goroutines are counted at the end of all tests, in TestMain.
}

func second[T any](_ T, err error) error { return err }
