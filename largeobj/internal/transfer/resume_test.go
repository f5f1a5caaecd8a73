package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// destinations are the kinds of destination: each makes one for a test, and checks what is in it.
var destinations = []struct {
	name string
	make func(t *testing.T, dir string) (Destination, func(want []byte))
}{
	{"memory", func(t *testing.T, dir string) (Destination, func([]byte)) { return bufferFor(t, nil, dir) }},
	{"spill", func(t *testing.T, dir string) (Destination, func([]byte)) { return bufferFor(t, budget(t, 0, 0), dir) }},
	{"file", func(t *testing.T, dir string) (Destination, func([]byte)) {
		path := filepath.Join(dir, "object")
		return NewFile(path), func(want []byte) { t.Helper(); wantFile(t, path, want) }
	}},
}

func bufferFor(t *testing.T, b *Budget, dir string) (Destination, func([]byte)) {
	dst := NewBuffer(b, dir)
	t.Cleanup(func() {
		if err := dst.Close(); err != nil {
			t.Error(err)
		}
	})
	return dst, func(want []byte) { t.Helper(); wantBytes(t, dst, want) }
}

// toEach runs f with each kind of destination, for objects of known and unknown size.
func toEach(t *testing.T, f func(t *testing.T, dst Destination, check func(want []byte), source func(data []byte) (Source, int64))) {
	for _, d := range destinations {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/known=%v", d.name, known), func(t *testing.T) {
				nothingLeft(t)
				dst, check := d.make(t, t.TempDir())
				f(t, dst, check, func(data []byte) (Source, int64) {
					if known {
						return Bytes(data), int64(len(data))
					}
					return &streamSource{Bytes: data}, -1
				})
			})
		}
	}
}

func TestACorruptLeafIsFetchedOnceMore(t *testing.T) {
	data := random(5*testLeaf + 1)
	toEach(t, func(t *testing.T, dst Destination, check func([]byte), source func([]byte) (Source, int64)) {
		src, size := source(data)
		f := newLoopback(t, src, testLeaf)
		bad := atomic.Int64{}
		f.onChunk = func(_ context.Context, c *Chunk) error {
			if c.Offset/testLeaf == 2 && c.Offset%testLeaf == 0 && bad.Add(1) == 1 {
				c.Data = bytes.Clone(c.Data)
				c.Data[17] ^= 1
			}
			return nil
		}
		receive(t, Manifest{ID: idOf("x"), Size: size, Leaf: testLeaf}, f, dst, oneStream)
		check(data)
		again := f.sent.Load() - int64(len(data))
		if f.requests.Load() != 2 || size >= 0 && again != testLeaf || again > 3*testLeaf+1 {
			t.Errorf("%d requests, %d bytes were sent again", f.requests.Load(), again)
		}
	})
}

func TestALeafThatStaysCorruptIsAnError(t *testing.T) {
	data := random(5*testLeaf + 1)
	toEach(t, func(t *testing.T, dst Destination, check func([]byte), source func([]byte) (Source, int64)) {
		src, size := source(data)
		f := newLoopback(t, src, testLeaf)
		f.onChunk = func(_ context.Context, c *Chunk) error {
			if len(c.Leaf) > 0 && c.Offset/testLeaf == 3 {
				c.Leaf = make([]byte, HashBytes)
			}
			return nil
		}
		m := Manifest{ID: idOf("x"), Size: size, Leaf: testLeaf}
		err := Receive(t.Context(), m, f, dst, oneStream)
		var ce *CorruptError
		if !errors.As(err, &ce) || ce.ID != m.ID || ce.Leaf != 3 {
			t.Fatalf("got %v", err)
		}
		// Everything else stays: an honest sender sends the rest.
		f = newLoopback(t, src, testLeaf)
		receive(t, m, f, dst, oneStream)
		check(data)
		if sent := f.sent.Load(); sent > 3*testLeaf {
			t.Errorf("%d bytes were sent again", sent)
		}
	})
}

// TestLostConnections loses the connection every few chunks and counts what is sent more than once.
func TestLostConnections(t *testing.T) {
	const leaf = 512 << 10
	data := random(16*leaf + 5)
	toEach(t, func(t *testing.T, dst Destination, check func([]byte), source func([]byte) (Source, int64)) {
		src, size := source(data)
		f := newLoopback(t, src, leaf)
		chunks, losses := atomic.Int64{}, atomic.Int64{}
		f.onChunk = func(context.Context, *Chunk) error {
			if chunks.Add(1)%5 == 0 {
				losses.Add(1)
				return errLost
			}
			return nil
		}
		o := Options{Retry: Retry{Lost: lost, Wait: time.Millisecond, Attempts: 100}}
		receive(t, Manifest{ID: idOf("x"), Size: size, Leaf: leaf}, f, dst, o)
		check(data)
		if again := f.sent.Load() - int64(len(data)); again > losses.Load()*leaf || losses.Load() < 5 {
			t.Errorf("%d bytes were sent again after %d losses", again, losses.Load())
		}
	})
}

// TestResumeInAnotherReceive ends Receive in the middle and starts another one, for files as after a restart: with another
// File of the same path.
func TestResumeInAnotherReceive(t *testing.T) {
	data := random(20*testLeaf + 5)
	other := random(20*testLeaf + 6)
	toEach(t, func(t *testing.T, dst Destination, check func([]byte), source func([]byte) (Source, int64)) {
		src, size := source(data)
		m := Manifest{ID: idOf("x"), Size: size, Leaf: testLeaf}
		restart := func() {
			if file, ok := dst.(*File); ok {
				dst = NewFile(file.Path())
			}
		}
		sent, rounds := int64(0), int64(0)
		for done := false; !done; rounds++ {
			f := newLoopback(t, src, testLeaf)
			ctx, cancel := context.WithCancel(t.Context())
			chunks := atomic.Int64{}
			f.onChunk = func(context.Context, *Chunk) error {
				if chunks.Add(1) == 30 {
					cancel()
				}
				return nil
			}
			switch err := Receive(ctx, m, f, dst, oneStream); {
			case err == nil:
				done = true
			case !errors.Is(err, context.Canceled):
				t.Fatal(err)
			}
			cancel()
			sent += f.sent.Load()
			restart()
		}
		check(data)
		if again := sent - int64(len(data)); again > rounds*testLeaf || rounds < 3 {
			t.Errorf("%d bytes were sent again in %d rounds", again, rounds)
		}
		t.Logf("%d bytes of %d were sent again in %d rounds", sent-int64(len(data)), len(data), rounds)

		// The object changes in the middle: nothing of the old one stays.
		f := newLoopback(t, src, testLeaf)
		f.onChunk = func(_ context.Context, c *Chunk) error {
			if c.Offset > 7*testLeaf {
				return errLost
			}
			return nil
		}
		m.ID = idOf("y")
		if err := Receive(t.Context(), m, f, dst, oneStream); !errors.Is(err, errLost) {
			t.Fatal(err)
		}
		restart()
		src, m.Size = source(other)
		m.ID = idOf("z")
		f = newLoopback(t, src, testLeaf)
		receive(t, m, f, dst, oneStream)
		check(other)
		if f.sent.Load() != int64(len(other)) {
			t.Errorf("%d of %d bytes were sent of another object", f.sent.Load(), len(other))
		}
	})
}

func TestAJournalThatIsNotTrusted(t *testing.T) {
	nothingLeft(t)
	data := random(8*testLeaf + 5)
	m := Manifest{ID: idOf("x"), Size: int64(len(data)), Leaf: testLeaf}
	for _, c := range []struct {
		name   string
		damage func(part, journal string) error
	}{
		{"no journal", func(_, journal string) error { return os.Remove(journal) }},
		{"an empty journal", func(_, journal string) error { return os.Truncate(journal, 0) }},
		{"half a journal", func(_, journal string) error { return os.Truncate(journal, 30) }},
		{"a bit of the journal", func(_, journal string) error {
			b, err := os.ReadFile(journal)
			if err != nil {
				return err
			}
			b[40] ^= 1
			return os.WriteFile(journal, b, 0o600)
		}},
		{"a huge journal", func(_, journal string) error { return os.Truncate(journal, 1<<30) }},
		{"no file", func(part, _ string) error { return os.Remove(part) }},
		{"half a file", func(part, _ string) error { return os.Truncate(part, testLeaf) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "object")
			f := newLoopback(t, Bytes(data), testLeaf)
			f.onChunk = func(_ context.Context, c *Chunk) error {
				if c.Offset > 6*testLeaf {
					return errLost
				}
				return nil
			}
			if err := Receive(t.Context(), m, f, NewFile(path), oneStream); !errors.Is(err, errLost) {
				t.Fatal(err)
			}
			if err := c.damage(path+partSuffix, path+journalSuffix); err != nil {
				t.Fatal(err)
			}
			f = newLoopback(t, Bytes(data), testLeaf)
			receive(t, m, f, NewFile(path), oneStream)
			wantFile(t, path, data)
			if f.sent.Load() != m.Size {
				t.Errorf("%d bytes were sent", f.sent.Load())
			}
		})
	}
}

func TestDiscardAndBusy(t *testing.T) {
	nothingLeft(t)
	data := random(3 * testLeaf)
	m := Manifest{ID: idOf("x"), Size: int64(len(data)), Leaf: testLeaf}
	dir := t.TempDir()
	path := filepath.Join(dir, "object")
	f := newLoopback(t, Bytes(data), testLeaf)
	f.onChunk = func(_ context.Context, c *Chunk) error {
		if c.Offset < testLeaf {
			return nil
		}
		if err := Receive(t.Context(), m, f, NewFile(path), Options{}); !errors.Is(err, ErrBusy) {
			t.Errorf("a second receiver: %v", err)
		}
		return io.ErrUnexpectedEOF
	}
	if err := Receive(t.Context(), m, f, NewFile(path), Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	for range 2 {
		if err := NewFile(path).Discard(); err != nil {
			t.Error(err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}
