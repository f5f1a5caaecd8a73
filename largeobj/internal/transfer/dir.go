package transfer

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/zeebo/blake3"
)

// ErrNotRegular means that a name is that of something other than a regular file.
var ErrNotRegular = errors.New("transfer: not a regular file")

const (
	// dirLeaves is of how many files a Dir keeps leaf hashes.
	dirLeaves = 256
	// settleTime is longer than a step of the clock by which a file system dates changes. Two changes within one look
	// like one.
	settleTime = 20 * time.Millisecond
)

// A Dir serves the files of a directory as objects. It is safe for concurrent use.
//
// Names are paths with slashes, relative to the directory. No name leads out of it: not with "..", not from the root, not
// through a symbolic link. Only regular files are opened.
type Dir struct {
	root   *os.Root
	leaves *lru.Cache[[16]byte, *Leaves] // of the files that were opened last
}

// OpenDir opens a directory. Close closes it.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	leaves, err := lru.New[[16]byte, *Leaves](dirLeaves)
	if err != nil {
		root.Close()
		return nil, err
	}
	return &Dir{root, leaves}, nil
}

// Close closes the directory. Files that are open stay so.
func (d *Dir) Close() error { return d.root.Close() }

// A DirFile is an open file of a [Dir], a [Source]. It is safe for concurrent use.
type DirFile struct {
	file   *os.File
	opened identity
	leaves *Leaves
}

// An identity changes when a file does.
type identity struct {
	size  int64
	mtime time.Time
}

func identityOf(info fs.FileInfo) identity { return identity{info.Size(), info.ModTime()} }

func (a identity) equal(b identity) bool { return a.size == b.size && a.mtime.Equal(b.mtime) }

// Open opens a file. The ID of its manifest is made of device, inode, size, time of the last change and name: it is the
// same as long as the file is, also for another process, and another one when the file has changed. The caller closes the
// file. A file that was written to within the last 20 ms is opened when they are over.
//
// Errors: *[fs.PathError], with [fs.ErrInvalid] for a name that is not a relative path, [fs.ErrNotExist], [ErrNotRegular],
// or what the system says of a name that leads out of the directory.
func (d *Dir) Open(name string) (*DirFile, Manifest, error) {
	fail := func(err error) (*DirFile, Manifest, error) {
		return nil, Manifest{}, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	local, err := filepath.Localize(name)
	if err != nil || name == "." {
		return fail(fs.ErrInvalid)
	}
	info, err := d.root.Stat(local)
	if err != nil {
		return nil, Manifest{}, err
	}
	if !info.Mode().IsRegular() { // opening a device may do something
		return fail(ErrNotRegular)
	}
	file, err := d.root.OpenFile(local, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, Manifest{}, err
	}
	info, err = settled(file)
	if err == nil && !info.Mode().IsRegular() { // it was another one a moment ago
		err = ErrNotRegular
	}
	if err != nil {
		file.Close()
		return fail(err)
	}
	m := Manifest{ID: fileID(name, info), Size: info.Size(), Leaf: DefaultLeafBytes}
	leaves, err := NewLeaves(m.Leaf)
	if err != nil {
		file.Close()
		return fail(err)
	}
	if kept, ok, _ := d.leaves.PeekOrAdd(m.ID, leaves); ok {
		leaves = kept
		d.leaves.Get(m.ID) // used
	}
	return &DirFile{file, identityOf(info), leaves}, m, nil
}

// settled returns the state of a file that was not changed just now, so that the next change will have another time.
func settled(file *os.File) (fs.FileInfo, error) {
	info, err := file.Stat()
	for range 5 { // what changes all the time will change while it is served
		if err != nil {
			return nil, err
		}
		if age := time.Since(info.ModTime()); age < 0 || age >= settleTime {
			break
		}
		time.Sleep(settleTime)
		info, err = file.Stat()
	}
	return info, err
}

func fileID(name string, info fs.FileInfo) (id [16]byte) {
	device, inode := deviceAndInode(info)
	b := []byte("mycel file 1")
	for _, v := range []uint64{device, inode, uint64(info.Size()), uint64(info.ModTime().UnixNano())} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	sum := blake3.Sum256(append(b, name...))
	return [16]byte(sum[:])
}

// Size returns the size the file had when it was opened.
func (f *DirFile) Size() (int64, bool) { return f.opened.size, true }

// ReadAt reads from the file.
func (f *DirFile) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// Check returns [ErrChanged] when the file is not as it was when it was opened. Another file that has taken its name is no
// change: this one is served to the end.
func (f *DirFile) Check() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if !f.opened.equal(identityOf(info)) {
		return ErrChanged
	}
	return nil
}

// Leaves returns the leaf hashes, which all who have opened the unchanged file share.
func (f *DirFile) Leaves() *Leaves { return f.leaves }

// Close closes the file.
func (f *DirFile) Close() error { return f.file.Close() }
