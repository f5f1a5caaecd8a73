//go:build !linux && !darwin

package transfer

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

const openFlags = 0

// tempFile returns a file in dir, to be closed with closeTemp, which removes it.
func tempFile(dir string) (*os.File, error) { return os.CreateTemp(dir, "mycel-") }

func closeTemp(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

func allocate(f *os.File, path string, n int64) error { return extend(f, path, n) }

// spaceError returns err: which error means a full file system differs.
func spaceError(err error, path string, need int64) error { return err }

func lockFile(*os.File) error { return nil }
func syncDir(string) error    { return nil } // directories cannot be synchronized everywhere

func (b *Buffer) mapFile() ([]byte, error) {
	if b.mapped == nil {
		mem := make([]byte, b.m.Size)
		if _, err := io.ReadFull(io.NewSectionReader(b, 0, b.m.Size), mem); err != nil {
			return nil, err
		}
		b.mapped = mem
	}
	return b.mapped, nil
}

func unmapFile([]byte) error { return nil }

func deviceAndInode(fs.FileInfo) (device, inode uint64) { return 0, 0 }
