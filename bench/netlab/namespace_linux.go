package netlab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The devices of a host's namespace: a pair, of which the host has one end and the emulator the other.
const (
	hostDevice     = "host0"
	emulatorDevice = "wire0"
)

// The devices of hosts all have the same hardware address. They do not ask for others (IFF_NOARP): then the kernel sends to the
// address of the device itself, and the emulator can hand frames on as they are. Its own devices have another one,
// so that the namespace takes no packet that arrives there for its own.
var (
	hostHardware     = []byte{2, 0, 0, 0, 0, 1}
	emulatorHardware = []byte{2, 0, 0, 0, 0, 2}
)

// A namespace is the network of a host.
type namespace struct {
	mu struct {
		sync.Mutex
		file *os.File // nil when closed
	}
}

// newNamespace makes a namespace with the addresses, and the packet socket of the emulator in it.
func newNamespace(addresses []netip.Addr, mtu int) (ns *namespace, socket *os.File, err error) {
	err = outside(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		// IPv6 would send on its own, which would be measured. Where this cannot be written there is no IPv6, or little noise.
		for _, which := range []string{"default", "all"} {
			_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
		}
		index, err := setUpDevices(addresses, mtu)
		if err != nil {
			return err
		}
		file, err := os.Open(threadNamespace)
		if err != nil {
			return err
		}
		if socket, err = packetSocket(index); err != nil {
			_ = file.Close()
			return err
		}
		ns = &namespace{}
		ns.mu.file = file
		return nil
	})
	return ns, socket, err
}

// setUpDevices returns the index of the emulator's device.
func setUpDevices(addresses []netip.Addr, mtu int) (emulator int, err error) {
	n, err := openNetlink()
	if err != nil {
		return 0, err
	}
	defer n.close()
	if err := n.addPair(mtu); err != nil {
		return 0, fmt.Errorf("new pair of virtual Ethernet devices: %w", err)
	}
	index := map[string]int{}
	for _, name := range []string{"lo", hostDevice, emulatorDevice} {
		if index[name], err = deviceIndex(name); err != nil {
			return 0, fmt.Errorf("index of %s: %w", name, err)
		}
	}
	for _, a := range addresses {
		if err := n.addAddress(index[hostDevice], a); err != nil {
			return 0, fmt.Errorf("address %v: %w", a, err)
		}
	}
	if err := n.setUp(index["lo"], 0); err != nil {
		return 0, fmt.Errorf("switching on lo: %w", err)
	}
	pair := []string{hostDevice, emulatorDevice}
	for _, name := range pair {
		// Checksums are computed and super packets cut before the device has them.
		if _, err := ethtool(name, setTxChecksum, 0); err != nil {
			return 0, fmt.Errorf("checksum offload of %s: %w", name, err)
		}
		if err := n.setUp(index[name], unix.IFF_NOARP); err != nil {
			return 0, fmt.Errorf("switching on %s: %w", name, err)
		}
	}
	for _, name := range pair {
		// A device takes no packets before the kernel has noticed, in the background, that the other end is on; asking
		// makes it notice.
		switch up, err := ethtool(name, getLink, 0); {
		case err != nil:
			return 0, fmt.Errorf("state of %s: %w", name, err)
		case up == 0:
			return 0, fmt.Errorf("%s has no carrier", name)
		}
	}
	return index[emulatorDevice], nil
}

func setUpLoopback() error {
	n, err := openNetlink()
	if err != nil {
		return err
	}
	defer n.close()
	index, err := deviceIndex("lo")
	if err != nil {
		return err
	}
	return n.setUp(index, 0)
}

// deviceIndex asks the kernel; package net would keep a list.
func deviceIndex(name string) (int, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = withSocket(func(fd int) error { return unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r) })
	return int(r.Uint32()), err
}

func withSocket(f func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd)
}

// Commands of ethtool.
const (
	getLink       = 0x0a // ETHTOOL_GLINK
	setTxChecksum = 0x17 // ETHTOOL_STXCSUM
)

// ethtool asks a device for a value, or sets it.
func ethtool(device string, command, data uint32) (uint32, error) {
	value := struct{ command, data uint32 }{command, data}
	request := struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], device)
	err := withSocket(func(fd int) error {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
		if errno != 0 {
			return errno
		}
		return nil
	})
	return value.data, err
}

// socketBufferBytes is what the kernel may hold for the emulator while that does not run, and accounts for each packet:
// some 7000 of them.
const socketBufferBytes = 16 << 20

// packetSocket returns a socket that receives and sends the IPv4 frames of a device.
func packetSocket(device int) (*os.File, error) {
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP)) // in network order
	// Without a protocol it receives nothing before it is bound to the device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	fail := func(what string, err error) (*os.File, error) {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("packet socket: %s: %w", what, err)
	}
	for _, o := range []struct{ forced, asked int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.forced, socketBufferBytes) == nil {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.asked, socketBufferBytes); err != nil { // as much as is allowed
			return fail("buffer", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fail("time stamps", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1) // only saves time
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: device}); err != nil {
		return fail("bind", err)
	}
	return os.NewFile(uintptr(fd), "packets"), nil
}

func (ns *namespace) do(f func() error) error {
	ns.mu.Lock()
	if ns.mu.file == nil {
		ns.mu.Unlock()
		return fmt.Errorf("netlab: host: %w", net.ErrClosed)
	}
	fd, err := unix.FcntlInt(ns.mu.file.Fd(), unix.F_DUPFD_CLOEXEC, 0) // so that close need not wait for f
	ns.mu.Unlock()
	if err != nil {
		return fmt.Errorf("netlab: %w", err)
	}
	return outside(func() error {
		err := unix.Setns(fd, unix.CLONE_NEWNET)
		_ = unix.Close(fd)
		if err != nil {
			return fmt.Errorf("netlab: entering the namespace of the host: %w", err)
		}
		return f()
	})
}

// drops returns how many packets from and to the host its devices have dropped.
func (ns *namespace) drops() (from, to uint64, err error) {
	var b []byte
	err = ns.do(func() error {
		b, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		name, figures, _ := strings.Cut(line, ":")
		f := strings.Fields(figures)
		const transmitDrop = 11 // after eight figures of reception: bytes, packets, errors, dropped
		if len(f) <= transmitDrop {
			continue
		}
		n, err := strconv.ParseUint(f[transmitDrop], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("netlab: figures of %s: %w", name, err)
		}
		switch strings.TrimSpace(name) {
		case hostDevice:
			from = n
		case emulatorDevice:
			to = n
		}
	}
	return from, to, nil
}

// close gives the namespace back. Sockets and processes that are in it keep it, but without the device.
func (ns *namespace) close() {
	_ = ns.do(func() error { // fails only when it is closed already
		n, err := openNetlink()
		if err != nil {
			return err
		}
		defer n.close()
		index, err := deviceIndex(hostDevice)
		if err != nil {
			return err
		}
		return n.remove(index)
	})
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.mu.file != nil {
		_ = ns.mu.file.Close() // it was only read
		ns.mu.file = nil
	}
}

func setCongestion(fd uintptr, name string) error {
	err := unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
	if err != nil {
		return fmt.Errorf("netlab: congestion control %q: %w", name, err)
	}
	return nil
}

func congestions() ([]string, error) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		return nil, fmt.Errorf("netlab: %w", err)
	}
	return strings.Fields(string(b)), nil
}
