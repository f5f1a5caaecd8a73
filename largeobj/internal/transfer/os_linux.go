package transfer

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tempFile returns a file in dir that has no name, to be closed with closeTemp.
func tempFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(temporary)"), nil
	}
	return unnamedFile(dir) // not every file system has O_TMPFILE
}

// allocate makes a file at least n bytes long with blocks for them, as far as the file system can.
// Error: *[SpaceError] that names path.
func allocate(f *os.File, path string, n int64) error {
	if n == 0 {
		return nil
	}
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, n)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil
		}
		return spaceError(err, path, n)
	}
}
