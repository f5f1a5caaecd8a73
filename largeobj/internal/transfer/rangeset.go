package transfer

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
)

// MaxRanges is the largest number of ranges in a [RangeSet] and in one request to [Serve].
const MaxRanges = 1024

// ErrRangeSet means that bytes are not the binary form of a [RangeSet].
var ErrRangeSet = errors.New("transfer: malformed range set")

// A RangeSet is a set of offsets below [MaxSize]. The zero value is empty. It is not safe for concurrent use.
//
// The binary form is the number of ranges, then for each the gap before it and its length, all as minimal varints of
// encoding/binary. Each set has exactly one form.
type RangeSet struct {
	list []Range // ascending, each of 1 byte or more, with a gap of 1 byte or more between them; MaxRanges at most
}

// Ranges returns the ranges, ascending, of which no two touch. The result is valid until the set changes.
func (s *RangeSet) Ranges() []Range { return s.list }

// Clone returns a copy that does not change with s.
func (s *RangeSet) Clone() RangeSet { return RangeSet{slices.Clone(s.list)} }

// Bytes returns how many offsets are in the set.
func (s *RangeSet) Bytes() (n int64) {
	for _, r := range s.list {
		n += r.Length
	}
	return n
}

// Prefix returns the first offset that is not in the set.
func (s *RangeSet) Prefix() int64 {
	if len(s.list) > 0 && s.list[0].Offset == 0 {
		return s.list[0].Length
	}
	return 0
}

// first returns the index of the first range that ends at or behind off.
func (s *RangeSet) first(off int64) int {
	return sort.Search(len(s.list), func(i int) bool { return s.list[i].end() >= off })
}

// Add adds a range. An empty range adds nothing. Errors, which leave the set as it is: *[ProtocolError] for a range that
// is negative or ends behind [MaxSize]; *[LimitError] when there would be more than [MaxRanges].
func (s *RangeSet) Add(r Range) error {
	if r.Offset < 0 || r.Length < 0 || r.Offset > MaxSize-r.Length {
		return &ProtocolError{"a range ends within the largest object", MaxSize, r.Offset}
	}
	if r.Length == 0 {
		return nil
	}
	i := s.first(r.Offset)
	j := i
	for ; j < len(s.list) && s.list[j].Offset <= r.end(); j++ { // touches r
		end := max(r.end(), s.list[j].end())
		r.Offset = min(r.Offset, s.list[j].Offset)
		r.Length = end - r.Offset
	}
	if i == j && len(s.list) == MaxRanges {
		return &LimitError{"ranges of a set", MaxRanges, MaxRanges + 1}
	}
	s.list = slices.Replace(s.list, i, j, r)
	return nil
}

// Contains reports whether all of r is in the set.
func (s *RangeSet) Contains(r Range) bool {
	if r.Length <= 0 {
		return r.Length == 0
	}
	i := s.first(r.Offset + 1)
	return i < len(s.list) && s.list[i].Offset <= r.Offset && r.end() <= s.list[i].end()
}

// Missing returns what of r is not in the set, ascending. The result is a copy.
func (s *RangeSet) Missing(r Range) (missing []Range) {
	off := r.Offset
	for i := s.first(off + 1); i < len(s.list) && s.list[i].Offset < r.end(); i++ {
		if gap := s.list[i].Offset - off; gap > 0 {
			missing = append(missing, Range{off, gap})
		}
		off = s.list[i].end()
	}
	if off < r.end() {
		missing = append(missing, Range{off, r.end() - off})
	}
	return missing
}

// take removes the first n offsets and returns them.
func (s *RangeSet) take(n int64) (taken []Range) {
	for len(s.list) > 0 && n > 0 {
		r := &s.list[0]
		part := Range{r.Offset, min(n, r.Length)}
		taken = append(taken, part)
		n -= part.Length
		r.Offset += part.Length
		r.Length -= part.Length
		if r.Length == 0 {
			s.list = slices.Delete(s.list, 0, 1)
		}
	}
	return taken
}

// Append appends the binary form to dst.
func (s *RangeSet) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.list)))
	end := int64(0)
	for _, r := range s.list {
		dst = binary.AppendUvarint(dst, uint64(r.Offset-end))
		dst = binary.AppendUvarint(dst, uint64(r.Length))
		end = r.end()
	}
	return dst
}

// ParseRangeSet parses the binary form at the start of b. It returns the set, which does not alias b, and the number of
// bytes consumed. Errors: [ErrRangeSet] for anything that [RangeSet.Append] does not write.
func ParseRangeSet(b []byte) (s RangeSet, n int, err error) {
	next := func() int64 {
		v, k := binary.Uvarint(b[n:])
		if k <= 0 || k > 1 && b[n+k-1] == 0 || v > MaxSize { // truncated, not minimal, too large
			err = ErrRangeSet
			return 0
		}
		n += k
		return int64(v)
	}
	count := next()
	if err != nil || count > MaxRanges {
		return RangeSet{}, 0, ErrRangeSet
	}
	end := int64(0)
	for i := range count {
		gap := next()
		length := next()
		if err != nil || length == 0 || gap == 0 && i > 0 || end+gap+length > MaxSize {
			return RangeSet{}, 0, ErrRangeSet
		}
		s.list = append(s.list, Range{end + gap, length})
		end += gap + length
	}
	return s, n, nil
}
