package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// TestCancelAtEveryStage cancels at each event of a transfer in turn.
func TestCancelAtEveryStage(t *testing.T) {
	data := random(2*MinLeafBytes + 5)
	cause := errors.New("enough")
	toEach(t, func(t *testing.T, dst Destination, check func([]byte), source func([]byte) (Source, int64)) {
		src, size := source(data)
		for at, finished := int64(0), false; !finished; at++ {
			ctx, cancel := context.WithCancelCause(t.Context())
			events := atomic.Int64{}
			event := func() {
				if events.Add(1) == at {
					cancel(cause)
				}
			}
			f := newLoopback(t, src, MinLeafBytes)
			f.onChunk = func(context.Context, *Chunk) error { event(); return nil }
			if at == 0 {
				cancel(cause)
			}
			m := Manifest{ID: idOf(fmt.Sprint(at)), Size: size, Leaf: MinLeafBytes}
			err := Receive(ctx, m, &eventFetcher{f, event}, dst, Options{Progress: func(Progress) { event() }})
			finished = err == nil && ctx.Err() == nil
			if err == nil && at == 0 || err != nil && !errors.Is(err, cause) {
				t.Errorf("event %d: %v", at, err)
			}
			if n := f.open.Load(); n != 0 {
				t.Errorf("event %d: %d requests are open", at, n)
			}
			if n := len(f.leaves.mu.started); n != 0 {
				t.Errorf("event %d: %d hashes are begun", at, n)
			}
			cancel(nil)
		}
		check(data)
	})
}

// eventFetcher calls event before and after each call.
type eventFetcher struct {
	Fetcher
	event func()
}

func (e *eventFetcher) Fetch(ctx context.Context, ranges []Range) (Chunks, error) {
	e.event()
	c, err := e.Fetcher.Fetch(ctx, ranges)
	e.event()
	return &eventChunks{c, e.event}, err
}

type eventChunks struct {
	Chunks
	event func()
}

func (e *eventChunks) Next(c *Chunk) error {
	e.event()
	err := e.Chunks.Next(c)
	e.event()
	return err
}

func TestServeEndsWithItsContext(t *testing.T) {
	nothingLeft(t)
	r, w := io.Pipe()
	s, err := NewSpool(r, SpoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := w.Write(random(ChunkBytes + 1)); err != nil {
		t.Fatal(err)
	}
	leaves, err := NewLeaves(testLeaf)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	sent := int64(0)
	err = Serve(ctx, s, leaves, []Range{{0, -1}}, func(c *Chunk) error { // blocks for the second chunk
		sent += int64(len(c.Data))
		cancel(cause)
		return nil
	})
	if !errors.Is(err, cause) || sent != ChunkBytes {
		t.Errorf("%v after %d bytes", err, sent)
	}
	if err := Serve(ctx, Bytes("abc"), leaves, []Range{{0, -1}}, func(*Chunk) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("canceled before, with a send that does not look: %v", err)
	}
	if err := Serve(t.Context(), Bytes("abc"), leaves, []Range{{0, -1}}, func(*Chunk) error { return errLost }); !errors.Is(err, errLost) {
		t.Errorf("an error of send: %v", err)
	}
}

// TestManyObjectsShareABudget receives 200 objects at once, of which the budget holds a few.
func TestManyObjectsShareABudget(t *testing.T) {
	const objects, size = 200, 256 << 10
	b := budget(t, 16*size, 2*size)
	nothingLeft(t, b)
	dir := t.TempDir()
	data := random(size + objects)
	var wg sync.WaitGroup
	buffers := make([]*Buffer, objects)
	most := atomic.Int64{}
	for i := range objects {
		buffers[i] = NewBuffer(b, dir)
		wg.Go(func() { // ends with its Receive
			want := data[i : i+size]
			m := Manifest{ID: idOf(fmt.Sprint(i)), Size: size, Leaf: MinLeafBytes}
			var src Source = Bytes(want)
			if i%2 == 0 {
				m.Size, src = -1, &streamSource{Bytes: want}
			}
			o := Options{Progress: func(Progress) {
				for used := b.Used(); used > most.Load(); {
					most.Store(used)
				}
			}}
			if err := Receive(t.Context(), m, newLoopback(t, src, MinLeafBytes), buffers[i], o); err != nil {
				t.Errorf("object %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	inMemory := 0
	for i, buf := range buffers {
		wantBytes(t, buf, data[i:i+size])
		if buf.InMemory() {
			inMemory++
		}
		if err := buf.Close(); err != nil {
			t.Error(err)
		}
	}
	if most.Load() > 16*size || inMemory == 0 || inMemory > 16 {
		t.Errorf("%d bytes of the budget were in use, %d objects in memory", most.Load(), inMemory)
	}
}

// TestReceiversShareHashes lets many receivers of one object come at once and later.
func TestReceiversShareHashes(t *testing.T) {
	nothingLeft(t)
	data := random(3*testLeaf + 5)
	src := &streamSource{Bytes: data}
	src.known.Store(true)
	f := newLoopback(t, src, testLeaf)
	m := Manifest{ID: idOf("x"), Size: int64(len(data)), Leaf: testLeaf}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { // ends with its Receive
			b := NewBuffer(nil, "")
			defer b.Close()
			if err := Receive(t.Context(), m, f, b, Options{}); err != nil {
				t.Error(err)
			}
			wantBytes(t, b, data)
		})
	}
	wg.Wait()
	if len(f.leaves.mu.sums) != 4 || len(f.leaves.mu.started) != 0 {
		t.Errorf("%d hashes, %d begun", len(f.leaves.mu.sums), len(f.leaves.mu.started))
	}
	h := f.leaves.enter(1)
	defer h.leave()
	if !h.done() {
		t.Error("a hash that is known is computed again")
	}
}
