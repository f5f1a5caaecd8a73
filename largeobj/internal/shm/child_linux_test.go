//go:build amd64 || arm64

package shm

import (
	"os"
	"testing"
)

// childRole is the variable that makes the test binary a peer process.
const childRole = "MYCEL_SHM_CHILD"

func runChild(role string) int { return 2 }

func openDescriptors(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}
