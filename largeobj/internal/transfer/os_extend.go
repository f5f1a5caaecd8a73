//go:build !linux

package transfer

import "os"

// extend makes a file at least n bytes long.
func extend(f *os.File, path string, n int64) error {
	info, err := f.Stat()
	if err == nil && info.Size() < n {
		err = f.Truncate(n)
	}
	return spaceError(err, path, n)
}
