//go:build amd64 || arm64

package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Messages between the two ends of a link, one in a packet of the socket:
//
//	kind (1)  zero (7)  segment number (8)  length of the segment in bytes (8)      little-endian
const messageBytes = 24

type messageKind uint8

const (
	messageSegment messageKind = 1 + iota // with a descriptor: map this
	messageMapped                         // the answer: leases may be granted
	messageRefused                        // the answer: it cannot be mapped here
	messageDrop                           // no more leases will be granted: unmap it
)

type message struct {
	kind    messageKind
	number  uint64
	bytes   uint64
	segment *segment // whose descriptor is sent along, and held until it is
}

// done is called once for each message, sent or not.
func (m message) done() {
	if m.segment != nil {
		m.segment.unref()
	}
}

func (m message) send(conn *net.UnixConn) error {
	b := make([]byte, messageBytes)
	b[0] = byte(m.kind)
	binary.LittleEndian.PutUint64(b[8:], m.number)
	binary.LittleEndian.PutUint64(b[16:], m.bytes)
	fd := -1
	if m.segment != nil {
		fd = m.segment.fd
	}
	return sendPacket(conn, b, fd)
}

// receiveMessage reads a message and the descriptor with it, -1 for none, which the caller closes.
func receiveMessage(conn *net.UnixConn) (message, int, error) {
	b, fd, err := receivePacket(conn, messageBytes)
	if err != nil {
		return message{}, -1, err
	}
	return message{
		kind:   messageKind(b[0]),
		number: binary.LittleEndian.Uint64(b[8:]),
		bytes:  binary.LittleEndian.Uint64(b[16:]),
	}, fd, nil
}

// sendPacket sends b, and a descriptor unless it is -1. It borrows both.
func sendPacket(conn *net.UnixConn, b []byte, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err := conn.WriteMsgUnix(b, rights, nil)
	return err
}

// receivePacket reads a packet of exactly n bytes with at most one descriptor, -1 for none, which the caller closes.
func receivePacket(conn *net.UnixConn, n int) (b []byte, fd int, err error) {
	b = make([]byte, n+1) // one more, to see what is too long
	control := make([]byte, unix.CmsgSpace(4*4))
	got, controlBytes, flags, _, err := conn.ReadMsgUnix(b, control)
	fds := descriptors(control[:controlBytes])
	switch {
	case err != nil:
	case got == 0 && len(fds) == 0:
		err = io.EOF
	case got != n || len(fds) > 1 || flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0:
		err = fmt.Errorf("%w: a packet of %d bytes and %d descriptors", ErrPeerViolation, got, len(fds))
	case len(fds) == 1:
		return b[:n], fds[0], nil
	default:
		return b[:n], -1, nil
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	return nil, -1, err
}

// descriptors returns all descriptors in control messages.
func descriptors(control []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		rights, err := unix.ParseUnixRights(&messages[i])
		if err != nil && !errors.Is(err, unix.EINVAL) {
			continue
		}
		fds = append(fds, rights...)
	}
	return fds
}
