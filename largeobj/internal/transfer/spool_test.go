package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"
)

func spool(t *testing.T, r io.Reader, o SpoolOptions) *Spool {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := NewSpool(r, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSpoolsAreServedWhileTheyGrow(t *testing.T) {
	for _, n := range []int{0, 1, ChunkBytes, testLeaf, 3*testLeaf + 5} {
		for _, memory := range []int64{0, testLeaf, 64 << 20} {
			b := budget(t, 64<<20, memory)
			data := random(n)
			t.Run("", func(t *testing.T) {
				nothingLeft(t, b)
				r, w := io.Pipe()
				s := spool(t, r, SpoolOptions{Budget: b})
				f := newLoopback(t, s, testLeaf)
				var wg sync.WaitGroup
				wg.Go(func() { // ends when all is written
					if _, err := io.CopyBuffer(w, struct{ io.Reader }{bytes.NewReader(data)}, make([]byte, 70000)); err != nil {
						t.Error(err)
					}
					w.Close()
				})
				for range 3 {
					wg.Go(func() { // ends with its Receive
						dst := NewBuffer(nil, "")
						defer dst.Close()
						if err := Receive(t.Context(), Manifest{Size: -1, Leaf: testLeaf}, f, dst, Options{}); err != nil {
							t.Error(err)
							return
						}
						wantBytes(t, dst, data)
					})
				}
				wg.Wait()
				// Late, by size, with several ranges.
				dst := NewBuffer(nil, "")
				defer dst.Close()
				receive(t, Manifest{Size: int64(n), Leaf: testLeaf}, f, dst, Options{})
				wantBytes(t, dst, data)
				if size, known := s.Size(); size != int64(n) || !known || s.Err() != nil {
					t.Errorf("size %d, %v, %v", size, known, s.Err())
				}
				if n <= 1 { // it reads byte by byte
					if err := iotest.TestReader(io.NewSectionReader(s, 0, int64(n)), data); err != nil {
						t.Error(err)
					}
				}
				if inMemory := s.mu.store.file == nil; inMemory != (int64(n)+ChunkBytes <= memory) {
					t.Errorf("%d bytes in memory: %v", n, inMemory)
				}
			})
		}
	}
}

func TestSpoolsEnd(t *testing.T) {
	nothingLeft(t)
	boom := errors.New("boom")
	for _, c := range []struct {
		name string
		r    io.Reader
		want error // nil: a LimitError
	}{
		{"with the error of the reader", io.MultiReader(bytes.NewReader(random(ChunkBytes)), iotest.ErrReader(boom)), boom},
		{"at the limit", bytes.NewReader(random(ChunkBytes + 1)), nil},
		{"with a reader that reads nothing", stuck{}, io.ErrNoProgress},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spool(t, c.r, SpoolOptions{MaxBytes: ChunkBytes})
			dst := NewBuffer(nil, "")
			defer dst.Close()
			err := Receive(t.Context(), Manifest{Size: -1}, newLoopback(t, s, 0), dst, Options{})
			if c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, new(*LimitError)) {
				t.Errorf("receiver: %v", err)
			}
			if !errors.Is(err, s.Err()) {
				t.Errorf("spool: %v", s.Err())
			}
			if _, known := s.Size(); known {
				t.Error("the size is known")
			}
		})
	}
	t.Run("exactly at the limit", func(t *testing.T) {
		s := spool(t, bytes.NewReader(random(ChunkBytes)), SpoolOptions{MaxBytes: ChunkBytes})
		if _, err := io.Copy(io.Discard, io.NewSectionReader(s, 0, ChunkBytes+1)); err != nil {
			t.Error(err)
		}
	})
	t.Run("with Close and with contexts", func(t *testing.T) {
		r, _ := io.Pipe()
		s := spool(t, r, SpoolOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // ends with the context
			if _, err := s.ReadAtContext(ctx, make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled: %v", err)
			}
		})
		cancel()
		wg.Wait()
		wg.Go(func() { // ends with Close
			if _, err := s.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		})
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
	t.Run("with Close, for those who wait, while Read does not return", func(t *testing.T) {
		end := make(hanging)
		s := spool(t, end, SpoolOptions{})
		var wg sync.WaitGroup
		wg.Go(func() { // ends with its Read
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		if _, err := s.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		close(end)
		wg.Wait()
	})
	if _, err := NewSpool(nil, SpoolOptions{MaxBytes: -1}); err == nil {
		t.Error("accepted a negative limit")
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// hanging is a reader that does not return before it is closed.
type hanging chan struct{}

func (h hanging) Read([]byte) (int, error) {
	<-h
	return 0, io.EOF
}
