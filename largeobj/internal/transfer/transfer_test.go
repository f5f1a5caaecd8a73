package transfer

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

const testLeaf = 1 << 20

var sizes = []int{0, 1, ChunkBytes - 1, ChunkBytes, testLeaf - 1, testLeaf, testLeaf + 1, 9*testLeaf + 12345}

// A stream is a source of which the size is known when its end was read.
type streamSource struct {
	Bytes
	known atomic.Bool
}

func (s *streamSource) Size() (int64, bool) { return int64(len(s.Bytes)), s.known.Load() }
func (s *streamSource) Slice(off, n int64) []byte {
	return nil
}

func (s *streamSource) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.Bytes.ReadAt(p, off)
	if err != nil {
		s.known.Store(true)
	}
	return n, err
}

func TestObjectsArrive(t *testing.T) {
	small := budget(t, 8<<20, 1<<20)
	nothingLeft(t, small)
	for _, known := range []bool{true, false} {
		for _, n := range sizes {
			for _, to := range []string{"memory", "spill", "file"} {
				t.Run(fmt.Sprintf("known=%v/%d/%s", known, n, to), func(t *testing.T) {
					want := random(n)
					m := Manifest{ID: idOf("x"), Size: int64(n), Leaf: testLeaf}
					var src Source = Bytes(want)
					if !known {
						m.Size, src = -1, &streamSource{Bytes: want}
					}
					f := newLoopback(t, src, testLeaf)
					last := Progress{}
					o := Options{MaxStreams: 1, Progress: func(p Progress) { last = p }}
					switch to {
					case "file":
						path := filepath.Join(t.TempDir(), "object")
						receive(t, m, f, NewFile(path), o)
						wantFile(t, path, want)
						if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
							t.Errorf("left behind: %v", list)
						}
					default:
						b := NewBuffer(nil, t.TempDir())
						if to == "spill" {
							b = NewBuffer(small, t.TempDir())
						}
						defer b.Close()
						receive(t, m, f, b, o)
						wantBytes(t, b, want)
						if fits := to == "memory" || n <= 1<<20; b.InMemory() != fits && n != 1<<20 { // room for one chunk more is made while the size is unknown
							t.Errorf("in memory: %v", b.InMemory())
						}
					}
					if last.Done != int64(n) || last.Total != int64(n) {
						t.Errorf("progress at the end: %+v", last)
					}
					if f.sent.Load() != int64(n) {
						t.Errorf("%d bytes were sent", f.sent.Load())
					}
				})
			}
		}
	}
}

func TestServeAllocatesLittle(t *testing.T) {
	data := Bytes(random(4 * testLeaf))
	for name, src := range map[string]Source{"slices": data, "a buffer": &streamSource{Bytes: data}} {
		l := newLoopback(t, src, testLeaf)
		serve := func() {
			chunks := 0
			err := Serve(t.Context(), src, l.leaves, []Range{{0, -1}}, func(c *Chunk) error { chunks++; return nil })
			if err != nil || chunks < 16 {
				t.Errorf("%d chunks, %v", chunks, err)
			}
		}
		if n := testing.AllocsPerRun(10, serve); n > 16 { // one for each chunk
			t.Errorf("with %s: %v allocations for 16 chunks whose hashes are known", name, n)
		}
	}
}
