//go:build amd64 || arm64

package shm

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(runChild(role))
	}
	goleak.VerifyTestMain(m)
}

// secretBinding is a connection whose secret is known.
type secretBinding string

func (s secretBinding) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	m := hmac.New(sha256.New, []byte(s))
	m.Write([]byte(label))
	m.Write(context)
	return m.Sum(nil)[:length], nil
}

// newArena returns an arena that ends with the test, and must have no blocks, links and imports then.
func newArena(t testing.TB, config ArenaConfig) *Arena {
	t.Helper()
	a, err := NewArena(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		if s := a.Stats(); s.Segments != 0 || s.SegmentBytes != 0 || s.Blocks != 0 || s.BlockBytes != 0 || s.Imports != 0 || s.Links != 0 {
			t.Errorf("closed with %+v", s)
		}
		checkArena(t, a)
	})
	return a
}

// checkArena checks what must be so in an arena at any time.
func checkArena(t testing.TB, a *Arena) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	free, blocks := map[*chunk]bool{}, 0
	var bytes, inUse int64
	for _, s := range a.mu.segments {
		bytes += int64(len(s.mem))
		at := int64(0)
		var before *chunk
		for c := s.first; c != nil; c = c.next {
			if c.off != at || c.before != before || c.seg != s || c.size <= 0 || c.off%64 != 0 {
				t.Fatalf("chunk %+v, should be at %d", c, at)
			}
			if before != nil && before.free && c.free {
				t.Fatalf("two free chunks beside each other at %d", at)
			}
			switch {
			case !c.free:
				blocks++
				inUse += c.size
			case s.kind == shared:
				free[c] = true
			}
			at, before = at+c.size, c
		}
		if at != int64(len(s.mem)) {
			t.Fatalf("chunks of %d bytes in a segment of %d", at, len(s.mem))
		}
	}
	for class, c := range a.mu.free.top {
		if (c != nil) != (a.mu.free.filled&(1<<class) != 0) {
			t.Fatalf("class %d is marked wrong", class)
		}
		for ; c != nil; c = c.older {
			if !free[c] || classIn(c.size) != class {
				t.Fatalf("chunk of %d bytes in class %d, free %v", c.size, class, free[c])
			}
			delete(free, c)
		}
	}
	if len(free) != 0 {
		t.Fatalf("%d free chunks are in no list", len(free))
	}
	if bytes != a.mu.bytes || blocks != a.mu.blocks || inUse != a.mu.blockBytes {
		t.Fatalf("counted %d bytes, %d blocks of %d, should be %d, %d, %d", a.mu.bytes, a.mu.blocks, a.mu.blockBytes, bytes, blocks, inUse)
	}
}

func newBlock(t testing.TB, a *Arena, n int) *Block {
	t.Helper()
	b, err := a.Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newListener(t testing.TB, config ListenerConfig) *Listener {
	t.Helper()
	l, err := Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// newPair links two arenas as if they were of two processes. The links end with the test.
func newPair(t testing.TB, client, server *Arena, config LinkConfig) (c, s *Link) {
	t.Helper()
	ln := newListener(t, ListenerConfig{Arena: server, Link: config})
	accepted := make(chan *Link, 1)
	blob, _, err := ln.Offer(secretBinding("tls"), func(l *Link) { accepted <- l })
	if err != nil {
		t.Fatal(err)
	}
	if c, err = Dial(t.Context(), blob, secretBinding("tls"), client, config); err != nil {
		t.Fatal(err)
	}
	s = receive(t, accepted, "the link of the listener")
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c, s
}

// receive fails the test when nothing comes.
func receive[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	hung := time.NewTimer(20 * time.Second)
	defer hung.Stop()
	select {
	case v := <-c:
		return v
	case <-hung.C:
		t.Fatalf("waited in vain for %s", what)
		panic("not reached")
	}
}

// until fails the test when a state is not reached that nothing signals.
func until(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !reached(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// fill writes a content that depends on all bits of seed.
func fill(b []byte, seed uint64) {
	block := sha256.Sum256([]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), byte(seed >> 32), byte(seed >> 40)})
	for n := copy(b, block[:]); n < len(b); {
		n += copy(b[n:], b[:n])
	}
}

// filled reports whether b has the content of [fill].
func filled(b []byte, seed uint64) bool {
	want := make([]byte, min(len(b), 32))
	fill(want, seed)
	if !bytes.Equal(b[:len(want)], want) {
		return false
	}
	return len(b) <= 32 || bytes.Equal(b[32:], b[:len(b)-32])
}
