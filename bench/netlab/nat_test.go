package netlab

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// checksum is that of RFC 1071, over the words one after another.
func checksum(sum uint32, p []byte) uint16 {
	for len(p) > 1 {
		sum += uint32(binary.BigEndian.Uint16(p))
		p = p[2:]
	}
	if len(p) == 1 {
		sum += uint32(p[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// transportSum is the sum over the pseudo header, the header and the payload: 0 when the checksum in it is right.
func transportSum(p []byte) uint16 {
	body := p[int(p[0]&0xf)*4:]
	pseudo := uint32(p[protocolAt]) + uint32(len(body))
	for i := sourceAt; i < sourceAt+8; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	return checksum(pseudo, body)
}

// packet makes a UDP or TCP packet with right checksums.
func packet(protocol byte, from, to netip.AddrPort, options int, payload []byte) []byte {
	header, checksumAt := minIPv4Header+4*options, udpChecksumAt
	transport := make([]byte, 8)
	if protocol == protocolTCP {
		transport, checksumAt = make([]byte, 20), tcpChecksumAt
		transport[12] = 5 << 4
	}
	binary.BigEndian.PutUint16(transport, from.Port())
	binary.BigEndian.PutUint16(transport[2:], to.Port())
	if protocol == protocolUDP {
		binary.BigEndian.PutUint16(transport[4:], uint16(8+len(payload)))
	}
	p := make([]byte, header, header+len(transport)+len(payload))
	p[0] = 4<<4 | byte(header/4)
	binary.BigEndian.PutUint16(p[2:], uint16(cap(p)))
	p[8], p[protocolAt] = 64, protocol
	copy(p[sourceAt:], from.Addr().AsSlice())
	copy(p[destinationAt:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[ipChecksumAt:], checksum(0, p))
	p = append(append(p, transport...), payload...)
	sum := transportSum(p)
	if sum == 0 && protocol == protocolUDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(p[header+checksumAt:], sum)
	return p
}

func valid(p []byte) bool {
	return checksum(0, p[:int(p[0]&0xf)*4]) == 0 && transportSum(p) == 0
}

var (
	leftEnd  = netip.MustParseAddrPort("10.77.0.1:4000")
	rightEnd = netip.MustParseAddrPort("10.77.1.1:4433")
	outer    = netip.MustParseAddr("10.77.200.9")
)

func TestAFlowIsTranslatedAndBack(t *testing.T) {
	for _, protocol := range []byte{protocolUDP, protocolTCP} {
		for _, r := range []Rebinding{NewPorts, NewAddress} {
			var n nat
			n.rebind(r, outer)
			p := packet(protocol, leftEnd, rightEnd, 1, []byte("hello"))
			if !n.out(p) || !valid(p) {
				t.Fatalf("%v of protocol %d: the translated packet is dropped or wrong: %x", r, protocol, p)
			}
			h, _ := parseIPv4(p)
			seen := h.source(p)
			if seen.Port() == leftEnd.Port() || (seen.Addr() == outer) != (r == NewAddress) || h.destination(p) != rightEnd {
				t.Errorf("%v of protocol %d: from %v to %v", r, protocol, seen, h.destination(p))
			}
			answer := packet(protocol, rightEnd, seen, 0, []byte("hi!"))
			if !n.in(answer) || !valid(answer) {
				t.Fatalf("%v of protocol %d: the answer is dropped or wrong: %x", r, protocol, answer)
			}
			if !bytes.Equal(answer, packet(protocol, rightEnd, leftEnd, 0, []byte("hi!"))) {
				t.Errorf("%v of protocol %d: the answer is %x", r, protocol, answer)
			}
			if n.in(packet(protocol, rightEnd, leftEnd, 0, nil)) {
				t.Errorf("%v of protocol %d: the old address still works", r, protocol)
			}
			again := packet(protocol, leftEnd, rightEnd, 0, nil)
			n.out(again)
			if h, _ := parseIPv4(again); h.source(again) != seen {
				t.Errorf("%v of protocol %d: the flow moved to %v", r, protocol, h.source(again))
			}
			n.rebind(r, outer)
			later := packet(protocol, leftEnd, rightEnd, 0, nil)
			n.out(later)
			if h, _ := parseIPv4(later); h.source(later) == seen {
				t.Errorf("%v of protocol %d: a second rebinding changes nothing", r, protocol)
			}
		}
	}
}

func TestWithoutRebindingNothingIsTranslated(t *testing.T) {
	var n nat
	n.rebind(NewAddress, outer)
	n.rebind(NoRebinding, netip.Addr{})
	p := packet(protocolUDP, leftEnd, rightEnd, 0, nil)
	if !n.out(p) || !n.in(p) || !bytes.Equal(p, packet(protocolUDP, leftEnd, rightEnd, 0, nil)) {
		t.Error("a packet changed")
	}
}

func TestWhatHasNoPortsIsHandled(t *testing.T) {
	var n nat
	n.rebind(NewPorts, outer)
	icmp := packet(protocolUDP, leftEnd, rightEnd, 0, nil)
	icmp[protocolAt] = 1
	before := bytes.Clone(icmp)
	if !n.out(icmp) || !n.in(icmp) || !bytes.Equal(icmp, before) {
		t.Error("ICMP is not passed as it is")
	}
	fragment := packet(protocolUDP, leftEnd, rightEnd, 0, nil)
	fragment[fragmentAt] = 0x20
	if n.out(fragment) || n.in(fragment) {
		t.Error("a fragment is passed")
	}
	plain := packet(protocolUDP, leftEnd, rightEnd, 0, nil)
	h, _ := parseIPv4(plain)
	binary.BigEndian.PutUint16(plain[h.checksum:], 0)
	if !n.out(plain) || binary.BigEndian.Uint16(plain[h.checksum:]) != 0 {
		t.Error("a packet without a checksum got one")
	}
}

func TestTheFlowsOfATranslationAreBounded(t *testing.T) {
	var n nat
	n.rebind(NewPorts, outer)
	ports := map[netip.AddrPort]bool{}
	for i := range maxFlows + 1 {
		from := netip.AddrPortFrom(leftEnd.Addr(), uint16(1+i))
		p := packet(protocolUDP, from, rightEnd, 0, nil)
		if n.out(p) != (i < maxFlows) {
			t.Fatalf("flow %d", i)
		}
		h, _ := parseIPv4(p)
		if ports[h.source(p)] {
			t.Fatalf("flow %d has the address of another one", i)
		}
		ports[h.source(p)] = true
	}
}

// FuzzTranslate translates any packet: nothing panics, and one with right checksums comes back as it was.
func FuzzTranslate(f *testing.F) {
	f.Add(packet(protocolUDP, leftEnd, rightEnd, 0, []byte("hello")), true)
	f.Add(packet(protocolTCP, leftEnd, rightEnd, 3, []byte("hello!")), false)
	f.Add([]byte{0x4f, 0, 0}, true)
	f.Fuzz(func(t *testing.T, p []byte, address bool) {
		r := NewPorts
		if address {
			r = NewAddress
		}
		var n nat
		n.rebind(r, outer)
		before := bytes.Clone(p)
		translated := n.out(p)
		h, ok := parseIPv4(before)
		if !translated || !ok {
			if !bytes.Equal(p, before) {
				t.Fatal("a packet that is not translated changed")
			}
			n.in(p)
			return
		}
		was := valid(before)
		if was && binary.BigEndian.Uint16(before[h.checksum:]) != 0 && !valid(p) {
			t.Fatalf("checksum of %x", p)
		}
		// Turn it around: the source becomes the destination, which changes no sum.
		turn := func(p []byte) {
			a, b := bytes.Clone(p[sourceAt:destinationAt]), bytes.Clone(p[destinationAt:destinationAt+4])
			copy(p[sourceAt:], b)
			copy(p[destinationAt:], a)
			a, b = bytes.Clone(p[h.ports:h.ports+2]), bytes.Clone(p[h.ports+2:h.ports+4])
			copy(p[h.ports:], b)
			copy(p[h.ports+2:], a)
		}
		turn(p)
		if !n.in(p) {
			t.Fatal("the answer is dropped")
		}
		turn(p)
		if was && !bytes.Equal(p, before) {
			t.Fatalf("came back as %x, was %x", p, before)
		}
	})
}
