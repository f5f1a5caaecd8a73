//go:build amd64 || arm64

package shm

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Dial attaches to the listener that made an offer for the other end of b. It takes a second at most. The caller closes
// the link; a has the memory of this process. It borrows blob until it returns.
//
// Errors: *[AttachError], among them [ErrOffer], [ErrOtherHost] and the error of ctx; an option out of range.
func Dial(ctx context.Context, blob []byte, b Binding, a *Arena, config LinkConfig) (*Link, error) {
	config, err := config.withDefaults(a.config.MaxBytes)
	if err != nil {
		return nil, err
	}
	o, err := parseOffer(blob)
	if err != nil {
		return nil, &AttachError{"offer", err}
	}
	id, err := bootID()
	if err == nil && bootHash(id, o.nonce) != o.boot {
		err = ErrOtherHost
	}
	if err != nil {
		return nil, &AttachError{"host", err}
	}
	secret, err := secretOf(b, &o)
	if err != nil {
		return nil, &AttachError{"proof", err}
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultAttachTimeout)
	defer cancel()
	conn, err := connect(ctx, o.socket, config.Dir)
	if err != nil {
		return nil, &AttachError{"connect", err}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	cred, t, err := answer(conn, secret, &o, config.MaxLeases)
	if !stop() && err == nil { // the deadline may be set at any time
		t.unref()
		err = &AttachError{"proof", ctx.Err()}
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = &AttachError{err.(*AttachError).Step, context.Cause(ctx)}
		}
		return nil, err
	}
	link, err := newLink(a, config, conn, cred, t, config.Ready) // ownership of conn and t passes to it
	if err != nil {
		return nil, err
	}
	return link, nil
}

// connect tries the abstract name of the socket and then the file.
func connect(ctx context.Context, socket [16]byte, dir string) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", "@"+socketName(socket))
	if err != nil && dir != "" {
		var again error
		if conn, again = d.DialContext(ctx, "unixpacket", filepath.Join(dir, socketName(socket))); again != nil {
			return nil, errors.Join(err, again)
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// answer exchanges the packets with a listener. It borrows conn; its errors are *AttachError.
func answer(conn *net.UnixConn, secret []byte, o *offer, slots int) (*unix.Ucred, *tables, error) {
	cred, err := credentials(conn)
	if err != nil {
		return nil, nil, &AttachError{"user", err}
	}
	hello := append([]byte{version}, o.nonce[:]...)
	hello = append(hello, proof(secret, roleClient, o)...)
	hello = binary.LittleEndian.AppendUint32(hello, uint32(slots))
	if err := sendPacket(conn, hello, -1); err != nil {
		return nil, nil, &AttachError{"proof", err}
	}
	welcome, fd, err := receivePacket(conn, welcomeBytes)
	if err != nil { // the listener closes when it does not like the proof, or is busy
		return nil, nil, &AttachError{"proof", err}
	}
	if fd < 0 {
		return nil, nil, &AttachError{"table", fmt.Errorf("%w: no lease table", ErrPeerViolation)}
	}
	defer unix.Close(fd)
	if !hmac.Equal(welcome[:proofBytes], proof(secret, roleServer, o)) {
		return nil, nil, &AttachError{"proof", fmt.Errorf("%w: the listener does not know the secret", ErrPeerViolation)}
	}
	peerSlots := binary.LittleEndian.Uint32(welcome[proofBytes:])
	if peerSlots < 1 || peerSlots > maxLeaseSlots {
		return nil, nil, &AttachError{"table", fmt.Errorf("%w: a lease table of %d slots", ErrPeerViolation, peerSlots)}
	}
	tableFD, ours, err := newTable(slots, int(peerSlots))
	if err != nil {
		return nil, nil, &AttachError{"table", err}
	}
	defer unix.Close(tableFD)
	t, err := newTables(ours, fd, slots, int(peerSlots)) // ownership of ours passes to it
	if err != nil {
		return nil, nil, &AttachError{"table", err}
	}
	if err := sendPacket(conn, []byte{version}, tableFD); err != nil {
		t.unref()
		return nil, nil, &AttachError{"table", err}
	}
	return cred, t, nil
}
