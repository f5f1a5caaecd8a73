//go:build !linux

package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
)

func unsupported() error {
	return fmt.Errorf("netlab: %w: it needs the network namespaces of Linux, this is %s", ErrUnsupported, runtime.GOOS)
}

func enter() error                             { return unsupported() }
func ready() error                             { return unsupported() }
func congestions() ([]string, error)           { return nil, unsupported() }
func setCongestion(uintptr, string) error      { return unsupported() }
func controlPair() (net.Conn, *os.File, error) { return nil, nil, unsupported() }

func emulatorCommand([]*os.File) (*exec.Cmd, error) { return nil, unsupported() }

type namespace struct{}

func newNamespace([]netip.Addr, int) (*namespace, *os.File, error) { return nil, nil, unsupported() }

func (*namespace) do(func() error) error               { return unsupported() }
func (*namespace) drops() (from, to uint64, err error) { return 0, 0, unsupported() }
func (*namespace) close()                              {}
