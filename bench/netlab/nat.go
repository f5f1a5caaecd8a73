package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Rebinding says what the right host sees of the left host's flows, see [Lab.Rebind].
type Rebinding int

const (
	// NoRebinding ends the translation of addresses: the left host is seen as it is.
	NoRebinding Rebinding = iota
	// NewPorts gives each flow of the left host another source port.
	NewPorts
	// NewAddress gives the flows of the left host another source address, and other ports.
	NewAddress
)

// String returns the rebinding in words.
func (r Rebinding) String() string {
	switch r {
	case NoRebinding:
		return "no rebinding"
	case NewPorts:
		return "new ports"
	case NewAddress:
		return "new address"
	}
	return fmt.Sprintf("rebinding %d", int(r))
}

// The ports that translated flows get, one after another.
const (
	firstOuterPort = 20000
	outerPorts     = 40000
)

// maxFlows bounds the table of translations. When it is full, packets of further flows are dropped.
const maxFlows = 16384

const (
	protocolTCP = 6
	protocolUDP = 17
)

// A flow is one end of TCP connections or UDP flows.
type flow struct {
	protocol byte
	addr     netip.AddrPort
}

// A nat translates the source of packets that leave the left host, and the destination of packets that come back.
// One goroutine owns it. The zero value translates nothing.
type nat struct {
	on      bool
	address netip.Addr // the outer one; the zero address keeps the inner one
	next    int        // the next port, counted from firstOuterPort
	outer   map[flow]netip.AddrPort
	inner   map[flow]netip.AddrPort
}

// rebind forgets all translations and begins new ones. Ports go on from where they were, so that a flow gets another one.
func (n *nat) rebind(r Rebinding, address netip.Addr) {
	*n = nat{on: r != NoRebinding, next: n.next}
	if !n.on {
		return
	}
	if r == NewAddress {
		n.address = address
	}
	n.outer, n.inner = map[flow]netip.AddrPort{}, map[flow]netip.AddrPort{}
}

// out translates a packet of the left host in place. It reports false when the packet has to be dropped.
func (n *nat) out(p []byte) bool {
	if !n.on {
		return true
	}
	h, ok := parseIPv4(p)
	if !ok {
		return !h.fragment
	}
	from := flow{h.protocol, h.source(p)}
	to, known := n.outer[from]
	if !known {
		if to, ok = n.allocate(from); !ok {
			return false
		}
	}
	h.rewrite(p, sourceAt, h.ports, to)
	return true
}

// in translates a packet towards the left host back. It reports false when the packet has to be dropped.
func (n *nat) in(p []byte) bool {
	if !n.on {
		return true
	}
	h, ok := parseIPv4(p)
	if !ok {
		return !h.fragment
	}
	to := flow{h.protocol, h.destination(p)}
	if inner, known := n.inner[to]; known {
		h.rewrite(p, destinationAt, h.ports+2, inner)
		return true
	}
	_, taken := n.outer[to] // the address from before, which is no longer that of the flow
	return !taken
}

// allocate finds a free outer address for a flow.
func (n *nat) allocate(from flow) (netip.AddrPort, bool) {
	if len(n.outer) >= maxFlows {
		return netip.AddrPort{}, false
	}
	address := n.address
	if !address.IsValid() {
		address = from.addr.Addr()
	}
	for { // ends: there are more ports than flows
		outer := netip.AddrPortFrom(address, uint16(firstOuterPort+n.next))
		n.next = (n.next + 1) % outerPorts
		key := flow{from.protocol, outer}
		if _, used := n.inner[key]; !used && key != from {
			n.outer[from], n.inner[key] = outer, from.addr
			return outer, true
		}
	}
}

// Offsets in an IPv4 header (RFC 791).
const (
	fragmentAt    = 6
	protocolAt    = 9
	ipChecksumAt  = 10
	sourceAt      = 12
	destinationAt = 16
	minIPv4Header = 20
)

// Offsets of the checksums of TCP (RFC 9293) and UDP (RFC 768) behind the ports, which come first in both.
const (
	udpChecksumAt = 6
	tcpChecksumAt = 16
)

// An ipv4 is where the fields of a TCP or UDP packet are that are translated.
type ipv4 struct {
	protocol byte
	ports    int // offset of the source port; that of the destination follows
	checksum int // offset of the checksum of TCP or UDP
	fragment bool
}

// parseIPv4 finds the fields in a packet. It reports false for packets that are neither TCP nor UDP, are cut short, or
// are fragments, of which all but the first have no ports.
func parseIPv4(p []byte) (h ipv4, ok bool) {
	if len(p) < minIPv4Header || p[0]>>4 != 4 {
		return h, false
	}
	header := int(p[0]&0xf) * 4
	h.protocol = p[protocolAt]
	h.ports = header
	h.fragment = binary.BigEndian.Uint16(p[fragmentAt:])&0x3fff != 0 // offset, or more fragments
	switch h.protocol {
	case protocolUDP:
		h.checksum = header + udpChecksumAt
	case protocolTCP:
		h.checksum = header + tcpChecksumAt
	default:
		return h, false
	}
	return h, header >= minIPv4Header && len(p) >= h.checksum+2 && !h.fragment
}

func (h ipv4) source(p []byte) netip.AddrPort      { return addrPort(p[sourceAt:], p[h.ports:]) }
func (h ipv4) destination(p []byte) netip.AddrPort { return addrPort(p[destinationAt:], p[h.ports+2:]) }

func addrPort(address, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(address)), binary.BigEndian.Uint16(port))
}

// rewrite puts another address and port at their offsets and corrects the checksums.
func (h ipv4) rewrite(p []byte, addressAt, portAt int, to netip.AddrPort) {
	address := to.Addr().As4()
	hasChecksum := h.protocol != protocolUDP || binary.BigEndian.Uint16(p[h.checksum:]) != 0 // RFC 768: 0 is none
	for i := 0; i < len(address); i += 2 {
		word := binary.BigEndian.Uint16(address[i:])
		old := binary.BigEndian.Uint16(p[addressAt+i:])
		updateChecksum(p[ipChecksumAt:], old, word)
		if hasChecksum {
			updateChecksum(p[h.checksum:], old, word) // the address is part of the pseudo header
		}
		binary.BigEndian.PutUint16(p[addressAt+i:], word)
	}
	if hasChecksum {
		updateChecksum(p[h.checksum:], binary.BigEndian.Uint16(p[portAt:]), to.Port())
		if h.protocol == protocolUDP && binary.BigEndian.Uint16(p[h.checksum:]) == 0 {
			binary.BigEndian.PutUint16(p[h.checksum:], 0xffff)
		}
	}
	binary.BigEndian.PutUint16(p[portAt:], to.Port())
}

// updateChecksum corrects the checksum at the start of p for a word that changed from old to word (RFC 1624, equation 3).
func updateChecksum(p []byte, old, word uint16) {
	sum := uint32(^binary.BigEndian.Uint16(p)) + uint32(^old) + uint32(word)
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(p, ^uint16(sum))
}
