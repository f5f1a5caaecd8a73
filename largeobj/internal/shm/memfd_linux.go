//go:build amd64 || arm64

package shm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// fixed is what every memfd has that a peer maps: its size and its seals do not change any more.
	fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	// ownerWrites lets the mapping of the owner go on writing, and no other.
	ownerWrites = fixed | unix.F_SEAL_FUTURE_WRITE
	// immutable lets nobody write.
	immutable = fixed | unix.F_SEAL_WRITE
)

var pageBytes = int64(os.Getpagesize())

func roundToPages(n int64) int64 { return (n + pageBytes - 1) &^ (pageBytes - 1) }

// newMemfd returns a descriptor of n bytes of memory, all of it there, and its writable mapping.
func newMemfd(name string, n int64) (fd int, mem []byte, err error) {
	if n > math.MaxInt {
		return -1, nil, fmt.Errorf("shm: %d bytes of memory: %w", n, unix.ENOMEM)
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return -1, nil, fmt.Errorf("shm: creating a memfd: %w", err)
	}
	// Not ftruncate: a hole is a promise of memory that may not be there when it is touched, which is a SIGBUS.
	if err := retry(func() error { return unix.Fallocate(fd, 0, 0, n) }); err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("shm: allocating %d bytes: %w", n, err)
	}
	if mem, err = unix.Mmap(fd, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		unix.Close(fd)
		return -1, nil, fmt.Errorf("shm: mapping %d bytes: %w", n, err)
	}
	// A fault for each page costs five times as much. Before Linux 5.14 that is how it is.
	if err := retry(func() error { return unix.Madvise(mem, unix.MADV_POPULATE_WRITE) }); err != nil && !errors.Is(err, unix.EINVAL) {
		unmap(mem)
		unix.Close(fd)
		return -1, nil, fmt.Errorf("shm: allocating %d bytes: %w", n, err)
	}
	return fd, mem, nil
}

func seal(fd, seals int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("shm: sealing: %w", err)
	}
	return nil
}

// A memfdID tells memfds apart. The kernel counts inodes with 32 bits, so a long life may see two that are alike; the time
// of the last change, which a sealed one does not move any more, tells them apart. A wrong difference costs a second mapping.
type memfdID struct {
	dev, ino      uint64
	size          int64
	changed, nsec int64
}

// checkMemfd tells whether a descriptor from a peer is memory of exactly size bytes that can be mapped without fear of a
// SIGBUS: with at least the seals wanted, and nothing missing in between. It returns the seals.
func checkMemfd(fd int, size int64, wanted int) (id memfdID, seals int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return id, 0, err
	}
	// Only memory has seals that make it fixed: a file of a tmpfs has SEAL alone, and any other has none.
	seals, err = unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return id, 0, errors.New("not a memfd")
	}
	if seals&wanted != wanted {
		return id, 0, fmt.Errorf("seals are %#x, must include %#x", seals, wanted)
	}
	var fs unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return id, 0, err
	}
	switch {
	case fs.Type != unix.TMPFS_MAGIC: // huge pages of another file system, which may be missing
		return id, 0, errors.New("not a memfd of ordinary pages")
	case st.Size != size:
		return id, 0, fmt.Errorf("%d bytes long, announced were %d", st.Size, size)
	case size <= 0 || size%pageBytes != 0 || size > math.MaxInt:
		return id, 0, fmt.Errorf("%d bytes are not a number of pages", size)
	case st.Blocks*512 < size:
		return id, 0, fmt.Errorf("%d bytes long, of which %d exist", size, st.Blocks*512)
	}
	return memfdID{uint64(st.Dev), st.Ino, size, st.Ctim.Sec, st.Ctim.Nsec}, seals, nil
}

// mapRead maps memory of a peer that has been checked.
func mapRead(fd int, size int64, seals int) ([]byte, error) {
	flags := unix.MAP_SHARED
	if seals&unix.F_SEAL_WRITE != 0 {
		flags = unix.MAP_PRIVATE // the same, as nobody writes; before Linux 6.7 the other is refused
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, flags)
	if err != nil {
		return nil, err
	}
	// st_blocks counts what lies beyond the end, too. This is where a hole would fail, not as a signal later.
	if err := retry(func() error { return unix.Madvise(mem, unix.MADV_POPULATE_READ) }); err != nil && !errors.Is(err, unix.EINVAL) {
		unmap(mem)
		return nil, err
	}
	return mem, nil
}

// makeReadOnly maps an immutable memfd over its former, writable mapping, which has been replaced by nothing for the time
// in which the seal is set.
func makeReadOnly(fd int, mem []byte) error {
	at, n := unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem))
	if _, err := unix.MmapPtr(-1, 0, at, n, unix.PROT_NONE, unix.MAP_FIXED|unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE); err != nil {
		return fmt.Errorf("shm: sealing: %w", err)
	}
	// The kernel refuses, after 160 ms, while anything refers to a page: a device that writes to it, but also, once in ten
	// thousand times, a list of its own that a second attempt finds empty.
	sealed := seal(fd, immutable)
	for tries := 0; errors.Is(sealed, unix.EBUSY) && tries < 3; tries++ {
		sealed = seal(fd, immutable)
	}
	prot, flags := unix.PROT_READ, unix.MAP_PRIVATE
	if sealed != nil {
		prot, flags = unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED
	}
	if _, err := unix.MmapPtr(fd, 0, at, n, prot, unix.MAP_FIXED|flags); err != nil {
		return errors.Join(sealed, fmt.Errorf("shm: sealing: %w", err))
	}
	return sealed
}

func unmap(mem []byte) {
	if err := unix.Munmap(mem); err != nil {
		panic("shm: unmapping what is not mapped: " + err.Error())
	}
}

// words is the memory as atomic words.
func words(mem []byte) []atomic.Uint64 {
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem))), len(mem)/8)
}

func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
