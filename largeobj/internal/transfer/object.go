package transfer

import "fmt"

const (
	// ChunkBytes is the largest number of bytes in one [Chunk].
	ChunkBytes = 256 << 10
	// DefaultLeafBytes is the leaf size of a [Manifest] that says 0.
	DefaultLeafBytes = 4 << 20
	// MinLeafBytes and MaxLeafBytes bound the leaf size.
	MinLeafBytes = 64 << 10
	MaxLeafBytes = 64 << 20
	// MaxSize is the largest size of an object.
	MaxSize = 1 << 46
	// HashBytes is the length of a leaf hash.
	HashBytes = 32

	unknown = -1 // as a size
)

// A Manifest says what an object is before its bytes come.
type Manifest struct {
	ID   [16]byte // names the content: the same ID means the same bytes
	Size int64    // in bytes; -1 while it is not known
	Leaf int64    // bytes that are hashed together: a power of two, 64 KiB to 64 MiB; 0 means 4 MiB
}

// withDefaults returns the manifest with the default leaf size for 0, or an error.
func (m Manifest) withDefaults() (Manifest, error) {
	if m.Leaf == 0 {
		m.Leaf = DefaultLeafBytes
	}
	if err := checkLeaf(m.Leaf); err != nil {
		return m, err
	}
	if m.Size < unknown {
		return m, &ProtocolError{"the size of an object is -1 or more", unknown, m.Size}
	}
	if m.Size > MaxSize {
		return m, &LimitError{"bytes of an object", MaxSize, m.Size}
	}
	return m, nil
}

func checkLeaf(leaf int64) error {
	if leaf < MinLeafBytes || leaf > MaxLeafBytes || leaf&(leaf-1) != 0 {
		return &ProtocolError{fmt.Sprintf("a leaf has a power of two of bytes, %d to %d", MinLeafBytes, MaxLeafBytes), DefaultLeafBytes, leaf}
	}
	return nil
}

// A Chunk is a part of a leaf. Chunks of a range follow each other, and none reaches from one leaf into the next.
type Chunk struct {
	Offset int64
	Data   []byte // 1 to ChunkBytes bytes; empty only at the end of an object of which the size was not known before
	Leaf   []byte // BLAKE3 of the leaf that ends with this chunk; empty when none does
	Size   int64  // of the object, -1 while it is not known
}

// end returns the offset behind the chunk.
func (c *Chunk) end() int64 { return c.Offset + int64(len(c.Data)) }

// A Range is a part of an object. Length -1 is allowed where a function says so: up to the end, wherever that is.
type Range struct{ Offset, Length int64 }

func (r Range) end() int64 { return r.Offset + r.Length }

// leafAt returns the leaf that contains off, of an object of the given size or -1.
func leafAt(off, leaf, size int64) Range {
	r := Range{off &^ (leaf - 1), leaf}
	if size >= 0 && r.end() > size {
		r.Length = size - r.Offset
	}
	return r
}
