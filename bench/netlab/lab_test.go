package netlab_test

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

// pair returns a UDP socket on the left and one on the right host that sends everything back. The sockets and the
// goroutine behind them end with the test.
func pair(t testing.TB, lab *netlab.Lab) (client *net.UDPConn, server net.Addr) {
	t.Helper()
	right := must(lab.Right.ListenPacket(t.Context(), ""))(t, "socket on the right")
	left := must(lab.Left.ListenPacket(t.Context(), ""))(t, "socket on the left")
	done := make(chan struct{})
	go func() { // ends when right is closed; the cleanup waits
		defer close(done)
		b := make([]byte, 64<<10)
		for {
			n, from, err := right.ReadFrom(b)
			if err != nil {
				return
			}
			if _, err := right.WriteTo(b[:n], from); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = left.Close()
		_ = right.Close()
		<-done
	})
	return left, right.LocalAddr()
}

// echo sends a packet and returns how long the answer took.
func echo(t testing.TB, c *net.UDPConn, server net.Addr) time.Duration {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	start := time.Now()
	if _, err := c.WriteTo(b, server); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func TestAPacketTakesTheDelayOfBothDirections(t *testing.T) {
	lab := newLab(t, netlab.Config{Link: netlab.Link{Delay: 5 * time.Millisecond}})
	if err := lab.SetLink(netlab.RightToLeft, netlab.Link{Delay: 10 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	client, server := pair(t, lab)
	var times []time.Duration
	for range 50 {
		took := echo(t, client, server)
		if took < 15*time.Millisecond {
			t.Errorf("an echo took %v", took)
		}
		times = append(times, took)
	}
	slices.Sort(times)
	s := must(lab.Stats())(t, "stats")
	t.Logf("echo over 15 ms: min %v, median %v, max %v; late: %v", times[0], times[25], times[49], s)
	for _, s := range s {
		if s.Packets != 50 || s.PassedPackets != 50 || s.Dropped.Total() != 0 {
			t.Errorf("stats: %+v", s)
		}
	}
}
