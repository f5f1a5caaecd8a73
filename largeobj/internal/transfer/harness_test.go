package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errLost = errors.New("connection lost")

func lost(err error) bool { return errors.Is(err, errLost) }

// oneStream is for tests that count what is sent: how many streams there are otherwise depends on how long it takes.
var oneStream = Options{MaxStreams: 1}

// random returns n bytes that are the same in each run.
func random(n int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(n))
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

func idOf(name string) (id [16]byte) {
	copy(id[:], name)
	return id
}

// A loopback is a Fetcher on the other side of which Serve runs.
type loopback struct {
	src    Source
	leaves *Leaves
	// onChunk, unless nil, may change or refuse a chunk before it is sent. It is called concurrently.
	onChunk func(ctx context.Context, c *Chunk) error

	sent     atomic.Int64 // bytes of chunks that were read
	requests atomic.Int64
	open     atomic.Int64
	mostOpen atomic.Int64
}

func newLoopback(t testing.TB, src Source, leaf int64) *loopback {
	t.Helper()
	leaves, err := NewLeaves(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return &loopback{src: src, leaves: leaves}
}

func (l *loopback) Fetch(ctx context.Context, ranges []Range) (Chunks, error) {
	l.requests.Add(1)
	for n := l.open.Add(1); ; {
		most := l.mostOpen.Load()
		if n <= most || l.mostOpen.CompareAndSwap(most, n) {
			break
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &answer{l: l, ctx: ctx, cancel: cancel, chunks: make(chan *Chunk), taken: make(chan struct{})}
	a.wg.Go(func() { // ends with the context, which Close cancels and then waits
		defer close(a.chunks)
		a.err = Serve(ctx, l.src, l.leaves, ranges, func(c *Chunk) error {
			c2 := *c
			if l.onChunk != nil {
				if err := l.onChunk(ctx, &c2); err != nil {
					return err
				}
			}
			select {
			case a.chunks <- &c2:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-a.taken:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	return a, nil
}

type answer struct {
	l      *loopback
	ctx    context.Context
	cancel func()
	chunks chan *Chunk
	taken  chan struct{}
	err    error
	wg     sync.WaitGroup
}

func (a *answer) Next(c *Chunk) error {
	select {
	case got, ok := <-a.chunks:
		if !ok {
			if a.err == nil {
				return io.EOF
			}
			return a.err
		}
		a.l.sent.Add(int64(len(got.Data)))
		*c = Chunk{got.Offset, append(c.Data[:0], got.Data...), append(c.Leaf[:0], got.Leaf...), got.Size}
		select {
		case a.taken <- struct{}{}:
		case <-a.ctx.Done():
		}
		return nil
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
}

func (a *answer) Close() {
	a.cancel()
	a.wg.Wait()
	a.l.open.Add(-1)
}

// receive is Receive that must succeed.
func receive(t testing.TB, m Manifest, f Fetcher, dst Destination, o Options) {
	t.Helper()
	if err := Receive(t.Context(), m, f, dst, o); err != nil {
		t.Fatalf("Receive: %v", err)
	}
}

// wantBytes checks a complete buffer.
func wantBytes(t testing.TB, b *Buffer, want []byte) {
	t.Helper()
	got, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes differ from the %d that were sent", len(got), len(want))
	}
}

func wantFile(t testing.TB, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes differ from the %d that were sent", path, len(got), len(want))
	}
}

func budget(t testing.TB, total, object int64) *Budget {
	t.Helper()
	b, err := NewBudget(total, object)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// openFiles returns the number of descriptors of the process, -1 where that is not known.
func openFiles() int {
	if runtime.GOOS != "linux" {
		return -1
	}
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(list)
}

// nothingLeft checks, at the end of the test, that buffers, budgets and descriptors are where they were at this call.
func nothingLeft(t testing.TB, budgets ...*Budget) {
	t.Helper()
	files := openFiles()
	t.Cleanup(func() {
		if n := buffersOut.Load(); n != 0 {
			t.Errorf("%d buffers were not put back", n)
		}
		for _, b := range append(budgets, ProcessBudget) {
			if n := b.Used(); n != 0 {
				t.Errorf("%d bytes of a budget were not given back", n)
			}
		}
		if n := openFiles(); n != files {
			t.Errorf("%d files are open, %d were before", n, files)
		}
	})
}
