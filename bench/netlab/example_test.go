package netlab_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

// ExampleNew sends a packet over a link with a delay of 10 ms. It has no output that is compared, so that it can be
// left out where there are no namespaces: TestExamples runs it.
func ExampleNew() {
	// The program has called netlab.Enter at its start.
	lab, err := netlab.New(netlab.Config{Link: netlab.Link{Delay: 10 * time.Millisecond}})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()

	ctx := context.Background()
	server, err := lab.Right.ListenPacket(ctx, ":4433")
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := lab.Left.ListenPacket(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	start := time.Now()
	if _, err := client.WriteToUDPAddrPort([]byte("hello"), netip.AddrPortFrom(lab.Right.Addr(), 4433)); err != nil {
		log.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := server.Read(b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s, at least 10 ms later: %v\n", b[:n], time.Since(start) >= 10*time.Millisecond)
}

// ExampleLab_SetLink changes a running link, and looks at what it did.
func ExampleLab_SetLink() {
	lab, err := netlab.New(netlab.Config{Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	if err := lab.SetLink(netlab.LeftToRight, netlab.Link{Rate: 100e6, QueueBytes: 1 << 20, Loss: 0.01}); err != nil {
		log.Fatal(err)
	}
	if err := lab.Rebind(netlab.NewAddress); err != nil {
		log.Fatal(err)
	}
	stats, err := lab.Stats()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stats[netlab.LeftToRight].Packets, "packets,", stats[netlab.LeftToRight].Dropped.Total(), "dropped")
}

// ExampleHost_Dial connects with TCP and chooses the congestion control.
func ExampleHost_Dial() {
	lab, err := netlab.New(netlab.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer lab.Close()
	ctx := context.Background()
	ln, err := lab.Right.Listen(ctx, ":80")
	if err != nil {
		log.Fatal(err)
	}
	defer ln.Close()
	offered, err := netlab.Congestions()
	if err != nil {
		log.Fatal(err)
	}
	conn, err := lab.Left.Dial(ctx, "tcp", net.JoinHostPort(lab.Right.Addr().String(), "80"), netlab.WithCongestion(offered[0]))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Println("connected to", conn.RemoteAddr())
}

// ExampleLink_Validate shows that what is out of range is an error, not silently something else.
func ExampleLink_Validate() {
	fmt.Println(netlab.Link{Loss: 3}.Validate())
	// Output: netlab: link: Loss 3 is not between 0 and 1
}

// ExampleEnter begins a program that makes labs.
func ExampleEnter() {
	if err := netlab.Enter(); errors.Is(err, netlab.ErrUnsupported) {
		fmt.Println("no measurement:", strings.ToLower(err.Error()))
	}
}

func TestExamples(t *testing.T) {
	if entered != nil {
		t.Skipf("NOT TESTED: %v", entered)
	}
	for _, example := range []func(){ExampleNew, ExampleLab_SetLink, ExampleHost_Dial, ExampleEnter} {
		example()
	}
}
