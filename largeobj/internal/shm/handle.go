package shm

import (
	"encoding/binary"
	"fmt"
)

// HandleBytes is the length of an encoded [Handle].
const HandleBytes = 32

// A Handle names a lease to the peer that has it. It means nothing on any other link, and can be opened once.
type Handle struct {
	Segment  uint64 // 48 bits; numbers of an arena are never used again
	Slot     uint16 // in the lease table of the owner
	Sequence uint64 // 63 bits; of the lease, never used again on a link
	Offset   uint64 // of the first byte in the segment
	Bytes    uint64 // length
}

const (
	maxSegmentNumber = 1<<48 - 1
	maxSequence      = 1<<63 - 1
)

// AppendHandle appends h in [HandleBytes] bytes, little-endian: segment and slot in 8, sequence, offset, length.
// It returns the extended dst.
func AppendHandle(dst []byte, h Handle) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, h.Segment<<16|uint64(h.Slot))
	dst = binary.LittleEndian.AppendUint64(dst, h.Sequence)
	dst = binary.LittleEndian.AppendUint64(dst, h.Offset)
	return binary.LittleEndian.AppendUint64(dst, h.Bytes)
}

// ParseHandle parses a handle at the start of b and returns the number of bytes consumed. The handle is a copy, and may
// name anything: [Link.Open] checks it. Errors: [ErrHandle], when b is too short or the sequence out of range.
func ParseHandle(b []byte) (Handle, int, error) {
	if len(b) < HandleBytes {
		return Handle{}, 0, fmt.Errorf("%w: %d bytes of %d", ErrHandle, len(b), HandleBytes)
	}
	first := binary.LittleEndian.Uint64(b)
	h := Handle{
		Segment:  first >> 16,
		Slot:     uint16(first),
		Sequence: binary.LittleEndian.Uint64(b[8:]),
		Offset:   binary.LittleEndian.Uint64(b[16:]),
		Bytes:    binary.LittleEndian.Uint64(b[24:]),
	}
	if h.Sequence > maxSequence {
		return Handle{}, 0, fmt.Errorf("%w: sequence %d exceeds %d", ErrHandle, h.Sequence, uint64(maxSequence))
	}
	return h, HandleBytes, nil
}
