//go:build amd64 || arm64

package shm

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A rawPeer has attached like a client, and then does what the test wants.
type rawPeer struct {
	link   *Link // of the listener
	conn   *net.UnixConn
	tables *tables
}

func newRawPeer(t testing.TB, a *Arena, config LinkConfig) *rawPeer {
	t.Helper()
	ln := newListener(t, ListenerConfig{Arena: a, Link: config})
	accepted := make(chan *Link, 1)
	blob, _, err := ln.Offer(secretBinding("tls"), func(l *Link) { accepted <- l })
	if err != nil {
		t.Fatal(err)
	}
	o, err := parseOffer(blob)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), o.socket, "")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := secretOf(secretBinding("tls"), &o)
	if err != nil {
		t.Fatal(err)
	}
	_, tables, err := answer(conn, secret, &o, 8)
	if err != nil {
		t.Fatal(err)
	}
	p := &rawPeer{receive(t, accepted, "the link"), conn, tables}
	t.Cleanup(func() {
		p.conn.Close()
		p.link.Close()
		p.tables.unref()
	})
	return p
}

func TestMessagesThatEndALink(t *testing.T) {
	const n = 1 << 20
	whole := func(fd int) error { return unix.Fallocate(fd, 0, 0, n) }
	good := func(t *testing.T) int { return memfd(t, n, ownerWrites, whole) }
	segment := func(number, bytes uint64) []byte {
		b := make([]byte, messageBytes)
		b[0] = byte(messageSegment)
		binary.LittleEndian.PutUint64(b[8:], number)
		binary.LittleEndian.PutUint64(b[16:], bytes)
		return b
	}
	for _, c := range []struct {
		name    string
		packets [][]byte
		fds     func(t *testing.T) []int // sent with each
	}{
		{"short", [][]byte{{1}}, nil},
		{"long", [][]byte{make([]byte, 1000)}, nil},
		{"unknown", [][]byte{make([]byte, messageBytes)}, nil},
		{"a segment without a descriptor", [][]byte{segment(1, n)}, nil},
		{"two descriptors", [][]byte{segment(1, n)}, func(t *testing.T) []int { return []int{good(t), good(t)} }},
		{"more descriptors than there is room for", [][]byte{segment(1, n)}, func(t *testing.T) []int {
			var fds []int
			for range 50 {
				fds = append(fds, good(t))
			}
			return fds
		}},
		{"another message with a descriptor", [][]byte{append([]byte{byte(messageDrop)}, make([]byte, messageBytes-1)...)},
			func(t *testing.T) []int { return []int{good(t)} }},
		{"a wrong size", [][]byte{segment(1, n+4096)}, func(t *testing.T) []int { return []int{good(t)} }},
		{"no size", [][]byte{segment(1, 0)}, func(t *testing.T) []int { return []int{good(t)} }},
		{"a sparse file", [][]byte{segment(1, n)}, func(t *testing.T) []int {
			return []int{memfd(t, n, ownerWrites, func(int) error { return nil })}
		}},
		{"a number twice", [][]byte{segment(1, n), segment(1, n)}, func(t *testing.T) []int { return []int{good(t)} }},
		{"a number that is too large", [][]byte{segment(1<<48, n)}, func(t *testing.T) []int { return []int{good(t)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newArena(t, ArenaConfig{})
			p := newRawPeer(t, a, LinkConfig{})
			before := openDescriptors(t)
			var rights []byte
			if c.fds != nil {
				fds := c.fds(t)
				before += len(fds)
				rights = unix.UnixRights(fds...)
			}
			for _, packet := range c.packets {
				if _, _, err := p.conn.WriteMsgUnix(packet, rights, nil); err != nil {
					t.Fatal(err)
				}
			}
			receive(t, p.link.Done(), "the link to end")
			if !errors.Is(p.link.Err(), ErrPeerViolation) {
				t.Errorf("it ended with: %v", p.link.Err())
			}
			p.link.Close()
			if got := openDescriptors(t); got != before-1 { // that of the link
				t.Errorf("%d descriptors are open, should be %d", got, before-1)
			}
		})
	}
}

func TestAPeerCannotPassTooMuch(t *testing.T) {
	const n = 64 << 10
	a := newArena(t, ArenaConfig{})
	p := newRawPeer(t, a, LinkConfig{})
	fd := memfd(t, n, ownerWrites, func(fd int) error { return unix.Fallocate(fd, 0, 0, n) })
	refused := 0
	for number := range uint64(maxImports + 10) {
		m := message{kind: messageSegment, number: number, bytes: n, segment: &segment{fd: fd}}
		if err := m.send(p.conn); err != nil {
			t.Fatal(err)
		}
		answer, _, err := receiveMessage(p.conn)
		if err != nil || answer.number != number {
			t.Fatal(answer, err)
		}
		if answer.kind == messageRefused {
			refused++
		}
	}
	if refused != 10 || a.Stats().Imports != 1 || p.link.Stats().Imports != maxImports {
		t.Errorf("%d refused, %d mapped, %d known", refused, a.Stats().Imports, p.link.Stats().Imports)
	}
}

func TestAPeerThatDoesNotReadHoldsLittle(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	p := newRawPeer(t, a, LinkConfig{})
	for range 2 * maxWaiting {
		b, err := a.AllocSealed(10_000)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Seal(); err != nil {
			t.Fatal(err)
		}
		p.link.TryLease(b, 0, 1)
		b.Release()
	}
	// What is left of each is a descriptor in a queue that the kernel bounds; of ours there is nothing.
	if s := a.Stats(); s.Segments != 0 || p.link.Stats().PeerSegments != 0 {
		t.Errorf("left are %+v", s)
	}
}

// TestARefusedSegmentIsNotLeased has the peer say no.
func TestARefusedSegmentIsNotLeased(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	p := newRawPeer(t, a, LinkConfig{})
	b := newBlock(t, a, 10_000)
	defer b.Release()
	p.link.TryLease(b, 0, 1)
	m, fd, err := receiveMessage(p.conn)
	if err != nil || m.kind != messageSegment || fd < 0 {
		t.Fatal(m, fd, err)
	}
	unix.Close(fd)
	for _, kind := range []messageKind{messageRefused, messageMapped} { // the second answer is too late
		if err := (message{kind: kind, number: m.number}).send(p.conn); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.link.Lease(t.Context(), b, 0, 1); !errors.Is(err, ErrRefused) {
		t.Errorf("leasing what the peer refuses: %v", err)
	}
}

// TestHostileLeaseTable has the peer write anything into its words: that may end its leases and does nothing else.
func TestHostileLeaseTable(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	p := newRawPeer(t, a, LinkConfig{MaxLeases: 16})
	p.acceptSegments(t)
	r := rand.New(rand.NewPCG(1, 2))
	mine := newBlock(t, a, 10_000)
	defer mine.Release()
	fill(mine.Bytes(), 7)
	blocks := a.Stats().Blocks
	var granted []uint64
	for range 5000 {
		b := newBlock(t, a, 1+r.IntN(20_000))
		fill(b.Bytes(), 1)
		h, err := p.link.Lease(t.Context(), b, 0, 1)
		if err == nil {
			granted = append(granted, h.Sequence)
		} else if !errors.Is(err, ErrExhausted) {
			t.Fatal(err)
		}
		if !filled(b.Bytes(), 1) {
			t.Fatal("a block that we have has been used again")
		}
		b.Release()
		for range 3 {
			value := r.Uint64()
			if n := len(granted); n > 0 && r.IntN(2) == 0 {
				value = granted[max(0, n-1-r.IntN(20))]<<1 | uint64(r.IntN(2))
			}
			p.tables.ends[r.IntN(len(p.tables.ends))].Store(value)
		}
		if r.IntN(20) == 0 {
			p.link.Cancel(Handle{Slot: uint16(r.Uint32()), Sequence: r.Uint64()})
			p.link.Cancel(Handle{Slot: uint16(r.IntN(16)), Sequence: granted[len(granted)-1]})
		}
	}
	checkArena(t, a)
	if !filled(mine.Bytes(), 7) {
		t.Error("a block that was never leased has been used again")
	}
	if s := p.link.Stats(); s.Leases > 16 || a.Stats().Blocks-blocks > s.Leases {
		t.Errorf("left are %+v, %+v", s, a.Stats())
	}
	p.link.Close()
	if got := a.Stats().Blocks; got != blocks {
		t.Errorf("%d blocks are in use after the end of the link", got-blocks)
	}
}

// acceptSegments says yes to all segments until the connection ends, which the test waits for.
func (p *rawPeer) acceptSegments(t testing.TB) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, fd, err := receiveMessage(p.conn)
			if fd >= 0 {
				unix.Close(fd)
			}
			if err != nil {
				return
			}
			if m.kind == messageSegment && (message{kind: messageMapped, number: m.number}).send(p.conn) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		p.conn.Close()
		<-done
	})
}

// TestHostileOwnerCannotMoveOpenLeases has the owner write anything into its words while leases are open.
func TestHostileOwnerCannotMoveOpenLeases(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	p := newRawPeer(t, a, LinkConfig{})
	const n = 64 << 10
	fd := memfd(t, n, ownerWrites, func(fd int) error { return unix.Fallocate(fd, 0, 0, n) })
	if err := (message{kind: messageSegment, number: 1, bytes: n, segment: &segment{fd: fd}}).send(p.conn); err != nil {
		t.Fatal(err)
	}
	if m, _, err := receiveMessage(p.conn); err != nil || m.kind != messageMapped {
		t.Fatal(m, err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var leases []*Lease
	for range 5000 {
		slot, sequence := r.IntN(8), uint64(r.IntN(30))
		p.tables.grants[slot].Store(uint64(r.IntN(60)))
		if le, err := p.link.Open(Handle{Segment: 1, Slot: uint16(slot), Sequence: sequence, Bytes: n}); err == nil {
			leases = append(leases, le)
		}
		if len(leases) > 5 {
			i := r.IntN(len(leases))
			leases[i].Valid()
			_ = leases[i].Bytes()[n-1]
			leases[i].Release()
			leases = append(leases[:i], leases[i+1:]...)
		}
		if r.IntN(100) == 0 { // dropped under a reader, and passed again
			for _, m := range []message{{kind: messageDrop, number: 1}, {kind: messageSegment, number: 1, bytes: n, segment: &segment{fd: fd}}} {
				if err := m.send(p.conn); err != nil {
					t.Fatal(err)
				}
			}
			if m, _, err := receiveMessage(p.conn); err != nil || m.kind != messageMapped {
				t.Fatal(m, err)
			}
		}
	}
	p.link.Close()
	for _, le := range leases {
		_ = le.Bytes()[n-1]
		le.Release()
	}
}

func TestSlowAndGarbageClientsAreSentAway(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	ln := newListener(t, ListenerConfig{Arena: a, AttachTimeout: 50 * time.Millisecond})
	accepted := make(chan *Link, 1)
	blob, _, err := ln.Offer(secretBinding("tls"), func(l *Link) { accepted <- l })
	if err != nil {
		t.Fatal(err)
	}
	o, _ := parseOffer(blob)
	secret, _ := secretOf(secretBinding("tls"), &o)
	hello := func(proof []byte, slots uint32) []byte {
		b := append(append([]byte{version}, o.nonce[:]...), proof...)
		return binary.LittleEndian.AppendUint32(b, slots)
	}
	right := proof(secret, roleClient, &o)
	for _, c := range []struct {
		name   string
		packet []byte
		rights []int
	}{
		{"nothing", nil, nil},
		{"garbage", []byte("GET / HTTP/1.1\r\n"), nil},
		{"an offer that is not known", append([]byte{version}, make([]byte, helloBytes-1)...), nil},
		{"the proof of the other role", hello(proof(secret, roleServer, &o), 8), nil},
		{"another version", append([]byte{9}, hello(right, 8)[1:]...), nil},
		{"a descriptor too early", hello(right, 8), []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := connect(t.Context(), o.socket, "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if c.packet != nil {
				if _, _, err := conn.WriteMsgUnix(c.packet, unix.UnixRights(c.rights...), nil); err != nil {
					t.Fatal(err)
				}
			}
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, unix.ETIMEDOUT) || isTimeout(err) {
				t.Errorf("it reads %d bytes, %v", n, err)
			}
		})
	}
	// None of them has used the offer up, and none of the following is let in with it.
	for _, slots := range []uint32{0, maxLeaseSlots + 1} {
		blob, _, err := ln.Offer(secretBinding("tls"), func(l *Link) { accepted <- l })
		if err != nil {
			t.Fatal(err)
		}
		o, _ := parseOffer(blob)
		secret, _ := secretOf(secretBinding("tls"), &o)
		conn, err := connect(t.Context(), o.socket, "")
		if err != nil {
			t.Fatal(err)
		}
		b := append(append([]byte{version}, o.nonce[:]...), proof(secret, roleClient, &o)...)
		if err := sendPacket(conn, binary.LittleEndian.AppendUint32(b, slots), -1); err != nil {
			t.Fatal(err)
		}
		if n, _ := conn.Read(make([]byte, 1)); n != 0 {
			t.Errorf("%d slots are fine", slots)
		}
		conn.Close()
	}
	link, err := Dial(t.Context(), blob, secretBinding("tls"), a, LinkConfig{})
	if err != nil {
		t.Fatal(err)
	}
	receive(t, accepted, "the link").Close()
	link.Close()
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// TestHostileTables has a client prove itself and then pass a table that is none.
func TestHostileTables(t *testing.T) {
	size := tableBytes(DefaultMaxLeases, 8)
	whole := func(fd int) error { return unix.Fallocate(fd, 0, 0, size) }
	for name, fd := range map[string]func() int{
		"none":       func() int { return -1 },
		"no seals":   func() int { return memfd(t, size, 0, whole) },
		"punchable":  func() int { return memfd(t, size, fixed, whole) },
		"too short":  func() int { return memfd(t, size-4096, ownerWrites, whole) },
		"sparse":     func() int { return memfd(t, size, ownerWrites, func(int) error { return nil }) },
		"no memory":  func() int { return 0 },
		"shrinkable": func() int { return memfd(t, size, ownerWrites&^unix.F_SEAL_SHRINK, whole) },
	} {
		t.Run(name, func(t *testing.T) {
			ln := newListener(t, ListenerConfig{Arena: newArena(t, ArenaConfig{})})
			blob, _, err := ln.Offer(secretBinding("tls"), func(l *Link) {
				t.Error("the client is accepted")
				l.Close()
			})
			if err != nil {
				t.Fatal(err)
			}
			o, _ := parseOffer(blob)
			secret, _ := secretOf(secretBinding("tls"), &o)
			conn, err := connect(t.Context(), o.socket, "")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			hello := append(append([]byte{version}, o.nonce[:]...), proof(secret, roleClient, &o)...)
			if err := sendPacket(conn, binary.LittleEndian.AppendUint32(hello, 8), -1); err != nil {
				t.Fatal(err)
			}
			if _, table, err := receivePacket(conn, welcomeBytes); err != nil {
				t.Fatal(err)
			} else {
				unix.Close(table)
			}
			if err := sendPacket(conn, []byte{version}, fd()); err != nil {
				t.Fatal(err)
			}
			if n, _ := conn.Read(make([]byte, 1)); n != 0 {
				t.Error("the listener goes on")
			}
			ln.Close()
		})
	}
}
