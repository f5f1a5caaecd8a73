package netlab_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

var entered error

// helperVariable makes the test program do something else, in a process that a test starts.
const helperVariable = "NETLAB_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) == "addresses" {
		printAddresses()
		return
	}
	if entered = netlab.Enter(); entered != nil {
		fmt.Fprintf(os.Stderr, "\n*** %v\n*** Everything that needs a lab is NOT TESTED.\n\n", entered)
	}
	goleak.VerifyTestMain(m)
}

// printAddresses prints the addresses of this network namespace but those of the loopback device.
func printAddresses() {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			fmt.Println(p.Addr())
		}
	}
}

// newLab returns a lab that is closed at the end of the test.
func newLab(t testing.TB, cfg netlab.Config) *netlab.Lab {
	t.Helper()
	if entered != nil {
		t.Skipf("NOT TESTED: %v", entered)
	}
	lab, err := netlab.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	return lab
}

// must returns a value, or ends the test.
func must[T any](v T, err error) func(t testing.TB, what string) T {
	return func(t testing.TB, what string) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}
