package netlab_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

var entered error

func TestMain(m *testing.M) {
	if entered = netlab.Enter(); entered != nil {
		fmt.Fprintf(os.Stderr, "\n*** %v\n*** Everything that needs a lab is NOT TESTED.\n\n", entered)
	}
	goleak.VerifyTestMain(m)
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
