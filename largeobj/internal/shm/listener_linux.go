//go:build amd64 || arm64

package shm

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxAttaching is how many clients may be proving themselves at once; further ones are sent away.
const maxAttaching = 64

// Attaching takes three packets:
//
//	client   version (1)  nonce of the offer (16)  proof (32)  its lease slots (4)
//	server   proof (32)  its lease slots (4)                                         and its lease table
//	client   version (1)                                                             and its lease table
const (
	helloBytes   = 1 + 16 + proofBytes + 4
	welcomeBytes = proofBytes + 4
	readyBytes   = 1
)

// A Listener lets peers attach that hold an offer. It is safe for concurrent use.
type Listener struct {
	config    ListenerConfig
	bootID    []byte
	socket    [16]byte
	sockets   []*net.UnixListener
	attaching chan struct{} // has an element for each client that is proving itself

	mu struct {
		sync.Mutex
		closed bool
		offers map[[16]byte]*pendingOffer // not used yet, by nonce
		conns  map[*net.UnixConn]struct{} // of clients that are proving themselves
	}
	wg sync.WaitGroup
}

type pendingOffer struct {
	offer
	secret []byte
	accept func(*Link)
}

func bootID() ([]byte, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) == 0 {
		return nil, fmt.Errorf("shm: this host cannot be identified: %w", errors.Join(err, errors.ErrUnsupported))
	}
	return id, nil
}

// Listen makes a socket with a random name. Close ends it.
//
// Errors: an option out of range; what the system says; errors.ErrUnsupported where memory cannot be shared like this.
func Listen(config ListenerConfig) (*Listener, error) {
	if config.Arena == nil {
		return nil, errors.New("shm: ListenerConfig.Arena is missing")
	}
	var err error
	if config.Link, err = config.Link.withDefaults(config.Arena.config.MaxBytes); err != nil {
		return nil, err
	}
	if config.AttachTimeout == 0 {
		config.AttachTimeout = DefaultAttachTimeout
	}
	if config.AttachTimeout < 0 {
		return nil, fmt.Errorf("shm: AttachTimeout is %v, must not be negative", config.AttachTimeout)
	}
	l := &Listener{config: config, attaching: make(chan struct{}, maxAttaching)}
	l.mu.offers = map[[16]byte]*pendingOffer{}
	l.mu.conns = map[*net.UnixConn]struct{}{}
	if l.bootID, err = bootID(); err != nil {
		return nil, err
	}
	rand.Read(l.socket[:])
	names := []string{"@" + socketName(l.socket)}
	if config.Dir != "" {
		names = append(names, filepath.Join(config.Dir, socketName(l.socket)))
	}
	for _, name := range names {
		s, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: name})
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("shm: listening: %w", err)
		}
		l.sockets = append(l.sockets, s)
		l.wg.Go(func() { l.serve(s) }) // ends when s closes; Close waits
	}
	return l, nil
}

// Offer makes an offer that the peer on the other end of b may use once; it is at most 256 bytes, and no secret to others.
// accept is called when the peer has used it, on a goroutine that Close waits for, before the peer can send handles: it owns
// the link and should return soon.
//
// withdraw ends an offer that has not been used; nothing else does. accept may be under way when it returns.
// Errors: what the export of the secret says; [ErrClosed].
func (l *Listener) Offer(b Binding, accept func(*Link)) (blob []byte, withdraw func(), err error) {
	p := &pendingOffer{accept: accept}
	rand.Read(p.nonce[:])
	p.boot, p.socket = bootHash(l.bootID, p.nonce), l.socket
	if p.secret, err = secretOf(b, &p.offer); err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return nil, nil, ErrClosed
	}
	l.mu.offers[p.nonce] = p
	withdraw = func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.mu.offers, p.nonce)
	}
	return p.append(nil), withdraw, nil
}

// Close ends all offers, also those that are being used. Links live on. It returns after the last goroutine of the
// listener; calls after the first wait as well.
func (l *Listener) Close() {
	l.mu.Lock()
	l.mu.closed = true
	clear(l.mu.offers)
	for conn := range l.mu.conns {
		conn.Close()
	}
	l.mu.Unlock()
	for _, s := range l.sockets {
		s.Close()
	}
	l.wg.Wait()
}

// serve accepts clients.
func (l *Listener) serve(s *net.UnixListener) {
	for {
		conn, err := s.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, perhaps; it is no loss to try less often
			if !l.pause() {
				return
			}
			continue
		}
		// Others come first, so that only our own user can keep us busy.
		cred, err := credentials(conn)
		if err != nil {
			conn.Close()
			continue
		}
		select {
		case l.attaching <- struct{}{}:
			l.wg.Go(func() { // ends with the deadline of conn, or when Close closes it, and accept has returned; Close waits
				l.attach(conn, cred)
				<-l.attaching
			})
		default:
			conn.Close()
		}
	}
}

// pause waits for a moment and reports whether the listener is still open.
func (l *Listener) pause() bool {
	<-time.After(10 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.mu.closed
}

// attach lets a client prove itself. It takes ownership of conn.
func (l *Listener) attach(conn *net.UnixConn, cred *unix.Ucred) {
	if conn.SetDeadline(time.Now().Add(l.config.AttachTimeout)) != nil || !l.track(conn) {
		conn.Close()
		return
	}
	p, t := l.prove(conn)
	if !l.untrack(conn) || t == nil || conn.SetDeadline(time.Time{}) != nil {
		if t != nil {
			t.unref()
		}
		conn.Close()
		return
	}
	_, _ = newLink(l.config.Arena, l.config.Link, conn, cred, t, p.accept) // fails when the arena is closed
}

// prove exchanges the packets with a client; the tables are nil when it has failed.
func (l *Listener) prove(conn *net.UnixConn) (*pendingOffer, *tables) {
	hello, fd, err := receivePacket(conn, helloBytes)
	if fd >= 0 {
		unix.Close(fd)
	}
	if err != nil || fd >= 0 || hello[0] != version {
		return nil, nil
	}
	peerSlots := int(binary.LittleEndian.Uint32(hello[17+proofBytes:]))
	p := l.use([16]byte(hello[1:17]), hello[17:17+proofBytes])
	if p == nil || peerSlots < 1 || peerSlots > maxLeaseSlots {
		return nil, nil
	}
	slots := l.config.Link.MaxLeases
	tableFD, ours, err := newTable(slots, peerSlots)
	if err != nil {
		return nil, nil
	}
	welcome := binary.LittleEndian.AppendUint32(proof(p.secret, roleServer, &p.offer), uint32(slots))
	err = sendPacket(conn, welcome, tableFD)
	unix.Close(tableFD)
	if err != nil {
		unmap(ours)
		return nil, nil
	}
	ready, fd, err := receivePacket(conn, readyBytes)
	if err != nil || fd < 0 || ready[0] != version {
		if fd >= 0 {
			unix.Close(fd)
		}
		unmap(ours)
		return nil, nil
	}
	t, err := newTables(ours, fd, slots, peerSlots) // ownership of ours passes to it
	unix.Close(fd)
	if err != nil {
		return nil, nil
	}
	return p, t
}

// use finds the offer that a client proves to hold, and uses it up. A wrong proof leaves it to whoever has the right one.
func (l *Listener) use(nonce [16]byte, given []byte) *pendingOffer {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.mu.offers[nonce]
	if p == nil || !hmac.Equal(given, proof(p.secret, roleClient, &p.offer)) {
		return nil
	}
	delete(l.mu.offers, nonce)
	return p
}

// track lets Close end the proof on conn; false when it is too late.
func (l *Listener) track(conn *net.UnixConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.closed {
		l.mu.conns[conn] = struct{}{}
	}
	return !l.mu.closed
}

func (l *Listener) untrack(conn *net.UnixConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.mu.conns, conn)
	return !l.mu.closed
}

// credentials asks the kernel who the peer is, and refuses other users.
func credentials(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	if int(cred.Uid) != unix.Geteuid() {
		return nil, fmt.Errorf("shm: the peer is user %d, not %d", cred.Uid, unix.Geteuid())
	}
	return cred, nil
}
