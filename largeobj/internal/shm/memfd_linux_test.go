//go:build amd64 || arm64

package shm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// memfd returns a descriptor of a peer that is not like ours: n bytes long, prepared and then sealed.
func memfd(t *testing.T, n int64, seals int, prepare func(fd int) error) int {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(prepare(fd), unix.Ftruncate(fd, n)); err != nil {
		t.Fatal(err)
	}
	if seals != 0 {
		if err := seal(fd, seals); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}

func TestOnlySafeMemoryIsImported(t *testing.T) {
	const n = 1 << 20
	whole := func(fd int) error { return unix.Fallocate(fd, 0, 0, n) }
	for _, c := range []struct {
		name string
		fd   func(t *testing.T) int
		fine bool
	}{
		{"a segment like ours", func(t *testing.T) int { return memfd(t, n, ownerWrites, whole) }, true},
		{"a sealed object", func(t *testing.T) int { return memfd(t, n, immutable, whole) }, true},
		{"no seals", func(t *testing.T) int { return memfd(t, n, 0, whole) }, false},
		{"may shrink", func(t *testing.T) int { return memfd(t, n, ownerWrites&^unix.F_SEAL_SHRINK, whole) }, false},
		{"may grow", func(t *testing.T) int { return memfd(t, n, ownerWrites&^unix.F_SEAL_GROW, whole) }, false},
		{"may be written and punched by all", func(t *testing.T) int { return memfd(t, n, fixed, whole) }, false},
		{"may be sealed further", func(t *testing.T) int { return memfd(t, n, ownerWrites&^unix.F_SEAL_SEAL, whole) }, false},
		{"sparse", func(t *testing.T) int { return memfd(t, n, ownerWrites, func(int) error { return nil }) }, false},
		{"half of it", func(t *testing.T) int {
			return memfd(t, n, ownerWrites, func(fd int) error { return unix.Fallocate(fd, 0, 0, n/2) })
		}, false},
		{"shorter than announced", func(t *testing.T) int { return memfd(t, n/2, ownerWrites, whole) }, false},
		{"longer than announced", func(t *testing.T) int { return memfd(t, 2*n, ownerWrites, whole) }, false},
		{"an ordinary file", func(t *testing.T) int {
			f, err := os.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return int(f.Fd())
		}, false},
		{"a file in memory", func(t *testing.T) int {
			f, err := os.CreateTemp("/dev/shm", "mycel-test")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			os.Remove(f.Name())
			if err := whole(int(f.Fd())); err != nil {
				t.Fatal(err)
			}
			return int(f.Fd())
		}, false},
		{"a socket", func(t *testing.T) int {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
			return fds[0]
		}, false},
		{"a directory", func(t *testing.T) int {
			fd, err := unix.Open("/proc", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
			return fd
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m imports
			i, err := m.add(c.fd(t), n)
			if (err == nil) != c.fine || err != nil && !errors.Is(err, ErrPeerViolation) {
				t.Fatalf("importing says %v", err)
			}
			if i != nil {
				i.unref()
			}
			if count, _ := m.count(); count != 0 {
				t.Errorf("%d are mapped", count)
			}
		})
	}
}

// TestHiddenHoleIsFilledWhenImporting has blocks beyond the end make up for a hole in st_blocks.
func TestHiddenHoleIsFilledWhenImporting(t *testing.T) {
	const n = 1 << 20
	fd := memfd(t, n, ownerWrites, func(fd int) error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, n, n) })
	var before, after unix.Stat_t
	unix.Fstat(fd, &before)
	var m imports
	i, err := m.add(fd, n)
	if err != nil {
		t.Skip("the kernel gives back what lies beyond the end, so there is no such file: ", err)
	}
	unix.Fstat(fd, &after)
	if before.Blocks*512 != n || after.Blocks*512 != 2*n {
		t.Errorf("%d bytes were there before, %d after", before.Blocks*512, after.Blocks*512)
	}
	i.unref()
}

func TestNobodyCanChangeASegment(t *testing.T) {
	a := newArena(t, ArenaConfig{SegmentBytes: 256 << 10})
	mutable := newBlock(t, a, 10_000)
	defer mutable.Release()
	sealed, err := a.AllocSealed(10_000)
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Release()
	if err := sealed.Seal(); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Block{mutable, sealed} {
		s := b.chunk.seg
		size := int64(len(s.mem))
		for _, fresh := range []bool{false, true} {
			fd := s.fd
			if fresh {
				var err error
				if fd, err = unix.Open(fmt.Sprintf("/proc/self/fd/%d", s.fd), unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
			}
			for name, attempt := range map[string]func() error{
				"truncate": func() error { return unix.Ftruncate(fd, size/2) },
				"grow":     func() error { return unix.Ftruncate(fd, size*2) },
				"extend":   func() error { return unix.Fallocate(fd, 0, size, size) },
				"punch": func() error {
					return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, size)
				},
				"remove": func() error { return unix.Madvise(s.mem, unix.MADV_REMOVE) },
				"write":  func() error { _, err := unix.Pwrite(fd, []byte{1}, 0); return err },
				"map writable": func() error {
					m, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
					if err == nil {
						unix.Munmap(m)
					}
					return err
				},
				"make a mapping writable": func() error {
					m, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
					if err != nil {
						return err
					}
					defer unix.Munmap(m)
					return unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE)
				},
				"unseal": func() error { return seal(fd, unix.F_SEAL_SEAL) },
			} {
				if err := attempt(); err == nil {
					t.Errorf("%s works, fresh descriptor %v, sealed %v", name, fresh, b == sealed)
				}
			}
		}
	}
}

func TestMemoryOfTwoLinksIsMappedOnce(t *testing.T) {
	owner, reader := newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{})
	b := newBlock(t, owner, 10_000)
	fill(b.Bytes(), 1)
	var leases []*Lease
	for range 2 {
		from, to := newPair(t, owner, reader, LinkConfig{})
		h, err := from.Lease(t.Context(), b, 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		le, err := to.Open(h)
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, le)
	}
	if s := reader.Stats(); s.Imports != 1 || s.ImportBytes != owner.config.SegmentBytes {
		t.Errorf("mapped %d times, %d bytes", s.Imports, s.ImportBytes)
	}
	if &leases[0].bytes[0] != &leases[1].bytes[0] {
		t.Error("the leases are at different places")
	}
	for _, le := range leases {
		le.Release()
	}
	b.Release()
}
