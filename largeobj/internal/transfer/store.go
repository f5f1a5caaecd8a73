package transfer

import (
	"io"
	"math"
	"os"
)

// A store holds the bytes of an object in memory as long as its budget allows, then in a temporary file that has no name.
//
//	memory --does not fit the budget--> file
//
// Nothing that changes where the bytes are (reserve, grow, close) runs beside any other method, except that a slice which
// was returned before stays valid.
type store struct {
	budget *Budget
	dir    string // of temporary files
	mem    []byte // all of it; nil in a file
	file   *os.File
}

func newStore(budget *Budget, dir string) store {
	if budget == nil {
		budget = ProcessBudget
	}
	if dir == "" {
		dir = os.TempDir()
	}
	return store{budget: budget, dir: dir}
}

// capacity returns how many bytes there is room for.
func (s *store) capacity() int64 {
	if s.file != nil {
		return math.MaxInt64
	}
	return int64(len(s.mem))
}

// reserve makes room for n bytes, of which the first used are kept.
func (s *store) reserve(n, used int64) error {
	switch {
	case s.file != nil:
		return allocate(s.file, s.dir, n)
	case n <= int64(len(s.mem)):
		return nil
	case s.moveMemory(n, used):
		return nil
	}
	return s.moveToFile(n, used)
}

// grow makes room for n bytes, of which the first used are kept, and for as many again when they are in memory.
func (s *store) grow(n, used int64) error {
	switch {
	case n <= s.capacity():
		return nil
	case s.moveMemory(max(n, min(max(2*n, 2*ChunkBytes), s.budget.object)), used), s.moveMemory(n, used):
		return nil
	}
	return s.moveToFile(0, used)
}

// moveMemory moves to memory of n bytes, if the budget allows.
func (s *store) moveMemory(n, used int64) bool {
	held := int64(len(s.mem))
	if n > s.budget.object || !s.budget.take(n, 0) { // the old memory is held until it is copied
		return false
	}
	mem := s.budget.memory(n)
	copy(mem, s.mem[:min(used, held)])
	s.mem = mem
	s.budget.give(held)
	return true
}

// moveToFile moves to a file with n bytes allocated.
func (s *store) moveToFile(n, used int64) error {
	f, err := tempFile(s.dir)
	if err != nil {
		return err
	}
	if err = allocate(f, s.dir, n); err == nil {
		_, err = f.WriteAt(s.mem[:min(used, int64(len(s.mem)))], 0)
	}
	if err != nil {
		closeTemp(f)
		return spaceError(err, s.dir, max(n, used))
	}
	s.budget.give(int64(len(s.mem)))
	s.mem, s.file = nil, f
	return nil
}

// slice returns n bytes at off, or nil when they are not in memory.
func (s *store) slice(off, n int64) []byte {
	if s.mem == nil || off+n > int64(len(s.mem)) {
		return nil
	}
	return s.mem[off : off+n : off+n]
}

func (s *store) writeAt(p []byte, off int64) error {
	if m := s.slice(off, int64(len(p))); m != nil {
		copy(m, p)
		return nil
	}
	_, err := s.file.WriteAt(p, off)
	return spaceError(err, s.dir, off+int64(len(p)))
}

// readAt reads from the first size bytes, like io.ReaderAt.
func (s *store) readAt(p []byte, off, size int64) (n int, err error) {
	if off < 0 || off >= size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), size-off)]
	if s.file != nil {
		n, err = s.file.ReadAt(want, off)
	} else {
		n = copy(want, s.mem[off:])
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// close frees everything.
func (s *store) close() error {
	s.budget.give(int64(len(s.mem)))
	s.mem = nil
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return closeTemp(f)
}
