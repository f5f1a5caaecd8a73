//go:build amd64 || arm64

package shm

// childRole is the variable that makes the test binary a peer process.
const childRole = "MYCEL_SHM_CHILD"

func runChild(role string) int { return 2 }
