package transfer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

const (
	partSuffix    = ".part"
	journalSuffix = ".part.have"
)

// A File is a [Destination] that is a named file. The bytes go to path.part, and path.part.have says which of them are
// verified and on disk; when all are, path.part becomes path, over a file that may be there. A process that ends, in
// whatever way, leaves both, and another Receive of the same object goes on. If they belong to another object or cannot be
// read, it starts again.
//
// While Receive runs, one goroutine writes the journal: as soon as the last one is written, after the data it speaks of.
// After a Receive that failed or was canceled, every verified leaf is in it; after a process that was killed, all but those
// of the last one or two writes.
type File struct {
	path string
	m    Manifest
	part *os.File

	written chan struct{} // closed when the goroutine that writes the journal has returned
	changed chan struct{} // room for one: have has grown since the last write; closed by end
	mu      struct {
		sync.Mutex
		have RangeSet
		size int64
		err  error // of a write of the journal
	}
}

// NewFile returns the destination for a path. Nothing is touched before Receive.
func NewFile(path string) *File { return &File{path: path} }

// Path returns the path of the complete file.
func (f *File) Path() string { return f.path }

// Discard removes what an unfinished Receive has left.
func (f *File) Discard() error {
	err := os.Remove(f.path + journalSuffix) // first: without it, the other is nothing
	if err2 := os.Remove(f.path + partSuffix); !errors.Is(err2, fs.ErrNotExist) {
		return err2
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f *File) begin(m Manifest) (have RangeSet, size int64, err error) {
	part, err := os.OpenFile(f.path+partSuffix, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return RangeSet{}, 0, err
	}
	fresh := false
	defer func() {
		if err == nil {
			return
		}
		part.Close()
		if fresh { // a part of the space may be allocated, and nothing is in it
			f.Discard()
		}
	}()
	if err := f.lock(part); err != nil {
		return RangeSet{}, 0, err
	}
	f.part, f.m = part, m
	have, f.m.Size, err = f.resume(m)
	if err != nil {
		return RangeSet{}, 0, err
	}
	fresh = have.Bytes() == 0
	if f.m.Size >= 0 {
		if err := allocate(part, f.path, f.m.Size); err != nil {
			return RangeSet{}, 0, err
		}
	}
	f.mu.have, f.mu.size, f.mu.err = have.Clone(), f.m.Size, nil
	f.changed, f.written = make(chan struct{}, 1), make(chan struct{})
	go f.write() // ends when end closes changed, which waits for it
	return have, f.m.Size, nil
}

// lock takes the lock of path.part, which may have become path since it was opened.
func (f *File) lock(part *os.File) error {
	if err := lockFile(part); err != nil {
		return err
	}
	ours, err := part.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Stat(f.path + partSuffix); err != nil || !os.SameFile(ours, named) {
		return ErrBusy
	}
	return nil
}

// resume returns what the journal says, or makes an empty one.
func (f *File) resume(m Manifest) (RangeSet, int64, error) {
	j, err := readJournal(f.path + journalSuffix)
	if err != nil && !errors.Is(err, errJournal) && !errors.Is(err, fs.ErrNotExist) {
		return RangeSet{}, 0, err
	}
	info, statErr := f.part.Stat()
	if statErr != nil {
		return RangeSet{}, 0, statErr
	}
	same := err == nil && j.m.ID == m.ID && j.m.Leaf == m.Leaf && (m.Size < 0 || j.m.Size < 0 || j.m.Size == m.Size)
	if same {
		j.m.Size = max(j.m.Size, m.Size)
		same = j.leavesOnly() && (len(j.have.list) == 0 || j.have.list[len(j.have.list)-1].end() <= info.Size())
	}
	if same {
		return j.have, j.m.Size, nil
	}
	// The journal of the other object must be gone from the disk before its bytes are.
	if err := f.writeJournal(journal{m: m}); err != nil {
		return RangeSet{}, 0, err
	}
	return RangeSet{}, m.Size, f.part.Truncate(0)
}

func readJournal(path string) (journal, error) {
	file, err := os.Open(path)
	if err != nil {
		return journal{}, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxJournalBytes+1))
	if err != nil {
		return journal{}, err
	}
	return parseJournal(b)
}

// writeJournal replaces the journal: there is the old one or the new one at any time.
func (f *File) writeJournal(j journal) error {
	path := f.path + journalSuffix
	file, err := os.OpenFile(path+"~", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = file.Write(j.append(nil))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(path+"~", path)
	}
	if err != nil {
		os.Remove(path + "~")
		return spaceError(err, path, maxJournalBytes)
	}
	return syncDir(filepath.Dir(path))
}

// write writes the journal whenever something has changed, until changed is closed.
func (f *File) write() {
	defer close(f.written)
	for range f.changed {
		f.mu.Lock()
		m, have := f.m, f.mu.have
		m.Size = f.mu.size
		f.mu.Unlock()
		err := f.part.Sync() // data first: the journal must not speak of what is not there
		if err == nil {
			err = f.writeJournal(journal{m, have})
		}
		f.mu.Lock()
		f.mu.err = err
		f.mu.Unlock()
	}
}

func (f *File) grow(int64) error          { return nil }
func (f *File) slice(off, n int64) []byte { return nil }

func (f *File) writeAt(p []byte, off int64) error {
	_, err := f.part.WriteAt(p, off)
	return spaceError(err, f.path+partSuffix, off+int64(len(p)))
}

func (f *File) verified(have RangeSet, size int64) {
	f.mu.Lock()
	f.mu.have, f.mu.size = have, size
	f.mu.Unlock()
	select {
	case f.changed <- struct{}{}:
	default: // there will be a write after this moment
	}
}

// end makes path of path.part when it is complete. Otherwise the journal has been written when it returns.
func (f *File) end(size int64, complete bool) error {
	close(f.changed)
	<-f.written
	part := f.part
	f.part = nil
	if !complete {
		return errors.Join(f.mu.err, part.Close())
	}
	err := part.Truncate(size) // an empty object, or a file that was longer
	err = errors.Join(err, part.Sync(), part.Close())
	if err == nil {
		err = os.Rename(f.path+partSuffix, f.path)
	}
	if err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		return err
	}
	return os.Remove(f.path + journalSuffix)
}
