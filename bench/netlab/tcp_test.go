package netlab_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

// transfer sends data over a TCP connection from left to right and returns how long it took until the right has all of it.
func transfer(t *testing.T, lab *netlab.Lab, data []byte, options ...netlab.SocketOption) time.Duration {
	t.Helper()
	ln := must(lab.Right.Listen(t.Context(), "", options...))(t, "listening")
	defer ln.Close()
	type result struct {
		data []byte
		err  error
	}
	received := make(chan result, 1)
	go func() { // ends with the connection, or when ln is closed; received has a place for its result
		c, err := ln.Accept()
		if err != nil {
			received <- result{err: err}
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		b, err := io.ReadAll(c)
		received <- result{b, err}
	}()
	start := time.Now()
	c := must(lab.Left.Dial(t.Context(), "tcp", ln.Addr().String(), options...))(t, "dialing")
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	r := <-received
	took := time.Since(start)
	if r.err != nil || sha256.Sum256(r.data) != sha256.Sum256(data) {
		t.Fatalf("%d of %d bytes arrived: %v", len(r.data), len(data), r.err)
	}
	return took
}

func TestTCPPassesTheLinkWithEachCongestionControl(t *testing.T) {
	t.Parallel()
	lab := newLab(t, netlab.Config{Link: netlab.Link{
		Delay: 2 * time.Millisecond, Rate: 50e6, QueueBytes: 100_000, Loss: 0.002, Jitter: time.Millisecond, Reorder: 0.002, ReorderDelay: time.Millisecond,
	}})
	offered := must(netlab.Congestions())(t, "congestion controls")
	t.Logf("the kernel offers %v", offered)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	for _, name := range []string{"cubic", "bbr", "reno"} {
		if !slices.Contains(offered, name) {
			t.Logf("NOT TESTED: the kernel does not offer %s", name)
			continue
		}
		before := must(lab.Stats())(t, "stats")[netlab.LeftToRight]
		took := transfer(t, lab, data, netlab.WithCongestion(name))
		s := must(lab.Stats())(t, "stats")[netlab.LeftToRight]
		if least := time.Duration(len(data)) * 8 * time.Second / 50e6; took < least {
			t.Errorf("%s: %d bytes took %v, want at least %v", name, len(data), took, least)
		}
		if s.PassedBytes-before.PassedBytes < uint64(len(data)) {
			t.Errorf("%s: stats: %+v", name, s)
		}
		t.Logf("%s: %v, %.1f Mbit/s", name, took, float64(len(data))*8/took.Seconds()/1e6)
	}
	if _, err := lab.Left.Dial(t.Context(), "tcp", netipString(lab), netlab.WithCongestion("no-such-control")); err == nil {
		t.Error("a congestion control that does not exist is taken")
	}
}

func netipString(lab *netlab.Lab) string { return lab.Right.Addr().String() + ":9" }

func TestABottleneckIsFilled(t *testing.T) {
	t.Parallel()
	const rate = 100e6
	lab := newLab(t, netlab.Config{Link: netlab.Link{Delay: time.Millisecond, Rate: rate}})
	data := make([]byte, 4<<20)
	took := transfer(t, lab, data)
	s := must(lab.Stats())(t, "stats")
	least := time.Duration(s[0].PassedBytes) * 8 * time.Second / rate
	t.Logf("%v, of which the link was busy for %v; %+v", took, least, s[0])
	if took < least-time.Second/1000 { // how much longer it takes depends on what else the machine does
		t.Errorf("it took %v, want at least %v", took, least)
	}
}
