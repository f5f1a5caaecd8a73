package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/zeebo/blake3"
)

// errJournal means that bytes are not a journal.
var errJournal = errors.New("transfer: not a journal")

// A journal says which leaves of a partial file are on disk and right. Its binary form:
//
//	"mycelhv1"          8 bytes
//	object ID           16 bytes
//	size + 1            varint, 0 while the size is unknown
//	leaf size           varint
//	verified leaves     RangeSet
//	BLAKE3 of the above 32 bytes
type journal struct {
	m    Manifest
	have RangeSet
}

const (
	journalMagic = "mycelhv1"
	// maxJournalBytes is more than the largest journal has.
	maxJournalBytes = 32 << 10
)

// append appends the binary form to dst.
func (j *journal) append(dst []byte) []byte {
	begin := len(dst)
	dst = append(dst, journalMagic...)
	dst = append(dst, j.m.ID[:]...)
	dst = binary.AppendUvarint(dst, uint64(j.m.Size+1))
	dst = binary.AppendUvarint(dst, uint64(j.m.Leaf))
	dst = j.have.Append(dst)
	sum := blake3.Sum256(dst[begin:])
	return append(dst, sum[:]...)
}

// parseJournal parses all of b. The result does not alias b. Errors: errJournal for anything that append does not write,
// and for leaves that an object of this size does not have.
func parseJournal(b []byte) (j journal, err error) {
	const fixed = len(journalMagic) + len(j.m.ID)
	if len(b) < fixed+HashBytes || len(b) > maxJournalBytes || string(b[:len(journalMagic)]) != journalMagic {
		return journal{}, errJournal
	}
	body, sum := b[:len(b)-HashBytes], blake3.Sum256(b[:len(b)-HashBytes])
	if !bytes.Equal(sum[:], b[len(body):]) {
		return journal{}, errJournal
	}
	copy(j.m.ID[:], body[len(journalMagic):])
	rest := body[fixed:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > MaxSize+1 {
		return journal{}, errJournal
	}
	leaf, k := binary.Uvarint(rest[n:])
	if k <= 0 || leaf > MaxLeafBytes || checkLeaf(int64(leaf)) != nil {
		return journal{}, errJournal
	}
	j.m.Size, j.m.Leaf = int64(size)-1, int64(leaf)
	have, l, err := ParseRangeSet(rest[n+k:])
	if err != nil {
		return journal{}, errJournal
	}
	j.have = have
	if n+k+l != len(rest) || !j.leavesOnly() || !bytes.Equal(j.append(nil), b) { // also numbers that are not minimal
		return journal{}, errJournal
	}
	return j, nil
}

// leavesOnly reports whether have consists of whole leaves of the object, without a gap while its size is unknown.
func (j *journal) leavesOnly() bool {
	if j.m.Size < 0 && j.have.Prefix() != j.have.Bytes() {
		return false
	}
	for _, r := range j.have.Ranges() {
		atEnd := r.end()%j.m.Leaf == 0 || r.end() == j.m.Size
		if r.Offset%j.m.Leaf != 0 || !atEnd || j.m.Size >= 0 && r.end() > j.m.Size {
			return false
		}
	}
	return true
}
