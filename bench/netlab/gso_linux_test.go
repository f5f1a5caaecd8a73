package netlab_test

import (
	"errors"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

func TestASuperPacketIsCutBeforeTheLink(t *testing.T) {
	lab := newLab(t, netlab.Config{})
	client, server := pair(t, lab, nil)
	const segment, count = 1000, 20
	control := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&control[unix.CmsgLen(0)])) = segment
	_, _, err := client.WriteMsgUDPAddrPort(make([]byte, segment*count), control, server)
	if errors.Is(err, unix.EIO) {
		t.Skipf("NOT TESTED: this kernel cuts no UDP packets for devices without checksum offload (before Linux 6.11): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range count {
		if got := len(read(t, client)); got != segment {
			t.Errorf("a packet of %d bytes arrives", got)
		}
	}
	if s := must(lab.Stats())(t, "stats")[netlab.LeftToRight]; s.Packets != count || s.Bytes != count*(segment+headers) {
		t.Errorf("stats: %+v", s)
	}
}
