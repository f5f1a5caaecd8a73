//go:build linux || darwin

package transfer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// openFlags keep an open of a fifo from waiting for its other end.
const openFlags = syscall.O_NONBLOCK

// unnamedFile returns a file in dir of which the name is removed at once.
func unnamedFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "mycel-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func closeTemp(f *os.File) error { return f.Close() }

// spaceError makes a *[SpaceError] of the error of a full file system.
func spaceError(err error, path string, need int64) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	free := int64(-1)
	var st syscall.Statfs_t
	for dir := path; ; dir = filepath.Dir(dir) { // the file may not be there
		if syscall.Statfs(dir, &st) == nil {
			free = int64(st.Bavail) * int64(st.Bsize)
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return &SpaceError{path, need, free, err}
}

// lockFile keeps others from writing to a file until it is closed. Error: [ErrBusy].
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}

// syncDir makes renames in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (b *Buffer) mapFile() ([]byte, error) {
	if b.mapped == nil {
		mem, err := syscall.Mmap(int(b.store.file.Fd()), 0, int(b.m.Size), syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			return nil, os.NewSyscallError("mmap", err)
		}
		b.mapped = mem
	}
	return b.mapped, nil
}

func unmapFile(mem []byte) error {
	if mem == nil {
		return nil
	}
	return syscall.Munmap(mem)
}

// deviceAndInode returns what distinguishes files of a system, whatever their names.
func deviceAndInode(info fs.FileInfo) (device, inode uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), st.Ino
	}
	return 0, 0
}
