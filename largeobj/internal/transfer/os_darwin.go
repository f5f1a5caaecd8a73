package transfer

import "os"

func tempFile(dir string) (*os.File, error) { return unnamedFile(dir) }

// allocate makes a file at least n bytes long. The system does not tell before whether there is room for all of them.
func allocate(f *os.File, path string, n int64) error { return extend(f, path, n) }
