package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A netlink is a socket to configure the network namespace of the thread that opened it (rtnetlink(7)).
type netlink struct{ fd int }

func openNetlink() (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	timeout := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return &netlink{fd}, nil
}

func (n *netlink) close() { _ = unix.Close(n.fd) }

// addPair makes the pair of devices.
func (n *netlink) addPair(mtu int) error {
	describe := func(b []byte, name string, hardware []byte) []byte {
		b = appendAttribute(b, unix.IFLA_IFNAME, append([]byte(name), 0))
		b = appendAttribute(b, unix.IFLA_ADDRESS, hardware)
		return appendAttribute(b, unix.IFLA_MTU, binary.NativeEndian.AppendUint32(nil, uint32(mtu)))
	}
	const peerAttribute = 1 // VETH_INFO_PEER
	peer := describe(linkHeader(0, 0, 0), emulatorDevice, emulatorHardware)
	info := appendAttribute(nil, unix.IFLA_INFO_KIND, []byte("veth"))
	info = appendAttribute(info, unix.IFLA_INFO_DATA, appendAttribute(nil, peerAttribute, peer))
	body := describe(linkHeader(0, 0, 0), hostDevice, hostHardware)
	body = appendAttribute(body, unix.IFLA_LINKINFO, info)
	return n.do(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// setUp switches a device on, with further flags.
func (n *netlink) setUp(device int, flags uint32) error {
	return n.do(unix.RTM_NEWLINK, 0, linkHeader(device, flags|unix.IFF_UP, flags|unix.IFF_UP))
}

func (n *netlink) remove(device int) error {
	return n.do(unix.RTM_DELLINK, 0, linkHeader(device, 0, 0))
}

func (n *netlink) addAddress(device int, a netip.Addr) error {
	b := []byte{unix.AF_INET, networkBits, 0, unix.RT_SCOPE_UNIVERSE} // struct ifaddrmsg
	b = binary.NativeEndian.AppendUint32(b, uint32(device))
	b = appendAttribute(b, unix.IFA_LOCAL, a.AsSlice())
	b = appendAttribute(b, unix.IFA_ADDRESS, a.AsSlice())
	return n.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, b)
}

// linkHeader is struct ifinfomsg.
func linkHeader(device int, flags, change uint32) []byte {
	b := make([]byte, 4, unix.SizeofIfInfomsg) // of any family and type
	b = binary.NativeEndian.AppendUint32(b, uint32(device))
	b = binary.NativeEndian.AppendUint32(b, flags)
	return binary.NativeEndian.AppendUint32(b, change)
}

// appendAttribute appends struct rtattr with its value, padded to four bytes.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

// do sends one request and waits for its acknowledgement.
func (n *netlink) do(kind uint16, flags uint16, body []byte) error {
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = append(b, make([]byte, 8)...) // sequence number and port: there is one request at a time
	b = append(b, body...)
	if err := unix.Sendto(n.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 64<<10) // an error repeats the request
	size, err := unix.Read(n.fd, answer)
	if err != nil {
		return err
	}
	answer = answer[:max(0, size)]
	if len(answer) < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: an answer that is no acknowledgement")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
