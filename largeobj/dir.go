package largeobj

import (
	"context"
	"fmt"

	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// A Dir serves the files of a directory as objects, by name and read-only. It is safe for concurrent use.
//
// Names are paths with slashes, relative to the directory; nothing leads out of it, neither ".." nor a symbolic link, and only
// regular files are served.
type Dir struct {
	store *Store
	d     *transfer.Dir
}

// OpenDir opens a directory of [Default].
func OpenDir(path string) (*Dir, error) { return Default().OpenDir(path) }

// OpenDir is the function [OpenDir] for a store.
func (s *Store) OpenDir(path string) (*Dir, error) {
	d, err := transfer.OpenDir(path)
	if err != nil {
		return nil, fmt.Errorf("largeobj: %w", err)
	}
	return &Dir{store: s, d: d}, nil
}

// Ref returns a reference to the content of a file. As long as the file does not change it has the same ID, also after a
// restart, so that a [Ref.Download] of it goes on; a change while it is read is an error for the receiver.
//
// Errors wrap *[io/fs.PathError] with [io/fs.ErrNotExist], [io/fs.ErrInvalid] or what the system says of a name that leads
// out of the directory.
func (d *Dir) Ref(ctx context.Context, name string) (Ref, error) {
	f, m, err := d.d.Open(name)
	if err != nil {
		return Ref{}, fmt.Errorf("largeobj: %w", err)
	}
	return d.store.fromSource(ctx, f, m)
}

// Close closes the directory; references made before stay valid.
func (d *Dir) Close() error { return d.d.Close() }
