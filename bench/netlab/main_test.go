package netlab_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

var entered error

// helperVariable makes the test program do something else, in a process that a test starts.
const helperVariable = "NETLAB_TEST_HELPER"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperVariable); role != "" {
		os.Exit(help(role))
	}
	if entered = netlab.Enter(); entered != nil {
		fmt.Fprintf(os.Stderr, "\n*** %v\n*** Everything that needs a lab is NOT TESTED.\n\n", entered)
	}
	goleak.VerifyTestMain(m)
}

// help is the main function of a helper process. It returns the exit code.
func help(role string) int {
	switch role {
	case "addresses":
		printAddresses()
		return 0
	case "no Enter":
		_, err := netlab.New(netlab.Config{})
		fmt.Println(errors.Is(err, netlab.ErrUnsupported), err)
		return 0
	}
	if err := netlab.Enter(); err != nil {
		fmt.Println(err)
		return 1
	}
	lab, err := netlab.New(netlab.Config{})
	if err != nil {
		fmt.Println(err)
		return 2
	}
	defer lab.Close()
	switch role {
	case "signal":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Println("ready")
		<-signals
		return 8
	case "input":
		b, err := io.ReadAll(os.Stdin)
		fmt.Printf("%s %q %v\n", b, os.Args[1:], err)
	}
	return 7
}

// helper returns the test program as a helper, as another user if credential is true.
func helper(t *testing.T, role string, credential bool) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "one", "two")
	if exe, err := os.Executable(); err == nil && !credential { // the other user may not reach the file by its name
		cmd.Path = exe
	}
	cmd.Env = append(os.Environ(), helperVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	if credential {
		cmd.Dir = "/"
		cmd.SysProcAttr = otherUser()
	}
	return cmd
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
