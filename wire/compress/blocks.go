package compress

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	// MaxBlockBytes is the largest plain size of a block, and the largest encoded one.
	MaxBlockBytes = 256 << 10
	// BlockBytes is the plain size of the blocks that a [BlockEncoder] makes of more.
	BlockBytes = 128 << 10
)

// A BlockEncoder makes blocks of one body, each of which is encoded by itself: so a sender can send the first one while it
// encodes the next, and a receiver needs memory for one at a time. What it has returned, one after the other, is the
// encoding of the body with [Blocks]. It belongs to one goroutine at a time.
type BlockEncoder struct {
	codec Codec
	sum   blockSum
}

// NewBlockEncoder returns an encoder that encodes blocks with c where that makes them smaller: None, S2 or Zstd, or it
// fails with [ErrCodec].
func NewBlockEncoder(c Codec) (*BlockEncoder, error) {
	if c > Zstd {
		return nil, ErrCodec
	}
	return &BlockEncoder{codec: c}, nil
}

// Append appends src to dst as one block if it has at most MaxBlockBytes, else as blocks of BlockBytes; as none if it is
// empty. It borrows src until it returns.
func (e *BlockEncoder) Append(dst, src []byte) []byte {
	if len(src) <= MaxBlockBytes {
		return e.block(dst, src)
	}
	for piece := range slices.Chunk(src, BlockBytes) {
		dst = e.block(dst, piece)
	}
	return dst
}

// block appends a block; plain if it is so small when it is encoded that receivers would refuse it.
func (e *BlockEncoder) block(dst, src []byte) []byte {
	if len(src) == 0 {
		return dst
	}
	start := len(dst)
	if e.codec != None && len(src) > 1 {
		// The length of the encoding stands before it and is not known yet.
		head := 1 + uvarintBytes(uint64(len(src)-1))
		out := append(dst, make([]byte, head)...)
		out, ok := e.try(out, src)
		if ok {
			size := len(out) - start - head
			if short := 1 + uvarintBytes(uint64(size)); short < head {
				copy(out[start+short:], out[start+head:])
				out = out[:len(out)-(head-short)]
			}
			out[start] = byte(e.codec)
			binary.PutUvarint(out[start+1:], uint64(size))
			if e.sum.add(len(src), len(out)-start) {
				return out
			}
		}
	}
	dst = binary.AppendUvarint(append(dst, byte(None)), uint64(len(src)))
	dst = append(dst, src...)
	e.sum.add(len(src), len(dst)-start)
	return dst
}

// try is [Try] without the rule for the ratio of a single encoding: the one for all blocks takes its place.
func (e *BlockEncoder) try(dst, src []byte) ([]byte, bool) {
	out, err := appendGeneral(dst, src, e.codec)
	return out, err == nil && len(out)-len(dst) < len(src)
}

// uvarintBytes is the length of a varint.
func uvarintBytes(x uint64) int {
	n := 1
	for ; x >= 0x80; x >>= 7 {
		n++
	}
	return n
}

// blockSum is what the blocks of a body have, so far.
type blockSum struct{ plain, encoded uint64 }

// add counts a block, and reports whether so many encoded bytes may mean so many plain ones: if not, it is not counted.
func (s *blockSum) add(plain, encoded int) bool {
	p, e := s.plain+uint64(plain), s.encoded+uint64(encoded)
	if p > FreeBytes+MaxRatio*e {
		return false
	}
	s.plain, s.encoded = p, e
	return true
}

// A BlockDecoder decodes the blocks of one body, in order. It belongs to one goroutine at a time.
type BlockDecoder struct {
	maxSize uint64
	sum     blockSum
}

// NewBlockDecoder returns a decoder for a body of at most maxSize plain bytes.
func NewBlockDecoder(maxSize int) *BlockDecoder {
	return &BlockDecoder{maxSize: uint64(max(0, maxSize))}
}

// blockHead is what is known of a block before it is decoded.
type blockHead struct {
	codec         Codec
	head, encoded int // bytes of the head, and what follows
}

// parseBlock reads the head of the block at the start of b: [wire.ErrTruncated] says that b ends within it.
func parseBlock(b []byte) (h blockHead, err error) {
	if len(b) == 0 {
		return h, wire.ErrTruncated
	}
	if h.codec = Codec(b[0]); h.codec > Zstd {
		return h, malformed(Blocks, fmt.Sprintf("a block of %v", h.codec))
	}
	size, n := binary.Uvarint(b[1:min(len(b), 5)])
	switch {
	case n == 0 && len(b) < 5:
		return h, wire.ErrTruncated
	case n <= 0 || size > MaxBlockBytes:
		return h, &wire.LimitError{What: "encoded block", Limit: MaxBlockBytes, Got: max(size, MaxBlockBytes+1)}
	case size == 0:
		return h, malformed(Blocks, "an empty block")
	}
	h.head, h.encoded = 1+n, int(size)
	return h, nil
}

// Size returns how many bytes the block at the start of b has in all: what has to be there for Decode.
// Errors: [wire.ErrTruncated] when b ends before it says so, at the latest with five bytes: read more, call again; a
// *[wire.LimitError] for more than [MaxBlockBytes]; a *[wire.FormatError] for what is no block.
func (d *BlockDecoder) Size(b []byte) (int, error) {
	h, err := parseBlock(b)
	return h.head + h.encoded, err
}

// Decode appends what the block at the start of b stands for to dst, and returns how many bytes of b it took. It borrows b
// until it returns; the result is a copy. Errors are those of Size, [wire.ErrTruncated] also when b ends within the block;
// a *[wire.LimitError] for a block whose plain size is too large, for this body, for a block or for so few encoded bytes,
// before anything is allocated. After an error the result is dst as it was, and the body is lost, but for ErrTruncated.
func (d *BlockDecoder) Decode(dst, b []byte) (plain []byte, n int, err error) {
	h, size, err := d.next(b)
	if err != nil {
		return dst, 0, err
	}
	n = h.head + h.encoded
	dst, err = decodeSized(dst, b[h.head:n], h.codec, size)
	if err != nil {
		return dst, 0, err
	}
	return dst, n, nil
}

// next checks the block at the start of b, counts it and returns its plain size.
func (d *BlockDecoder) next(b []byte) (h blockHead, size int, err error) {
	if h, err = parseBlock(b); err != nil {
		return h, 0, err
	}
	if len(b)-h.head < h.encoded {
		return h, 0, wire.ErrTruncated
	}
	plain := uint64(h.encoded)
	if h.codec != None {
		var n int
		if plain, n = binary.Uvarint(b[h.head:][:h.encoded]); n <= 0 || plain == 0 {
			return h, 0, malformed(Blocks, "a block without a plain size")
		}
	}
	switch {
	case plain > MaxBlockBytes:
		return h, 0, &wire.LimitError{What: "plain block", Limit: MaxBlockBytes, Got: plain}
	case d.sum.plain+plain > d.maxSize:
		return h, 0, &wire.LimitError{What: "plain size of blocks", Limit: d.maxSize, Got: d.sum.plain + plain}
	case !d.sum.add(int(plain), h.head+h.encoded):
		return h, 0, &wire.LimitError{What: "plain size of so few bytes of blocks",
			Limit: FreeBytes + MaxRatio*(d.sum.encoded+uint64(h.head+h.encoded)), Got: d.sum.plain + plain}
	}
	return h, int(plain), nil
}

// AppendBlocks is [Append] with [Blocks], in which blocks are encoded with c: None, S2 or Zstd.
func AppendBlocks(dst, src []byte, c Codec, limit int) ([]byte, error) {
	e, err := NewBlockEncoder(c)
	if err != nil {
		return dst, err
	}
	out := dst
	for piece := range slices.Chunk(src, BlockBytes) {
		if out = e.block(out, piece); len(out)-len(dst) > limit {
			break
		}
	}
	if len(out)-len(dst) > limit {
		return dst, ErrBound
	}
	return out, nil
}

// blocksSize is the plain size of a body of blocks, all of which have to be there.
func blocksSize(src []byte, maxSize int) (int, error) {
	d := NewBlockDecoder(maxSize)
	for len(src) > 0 {
		h, _, err := d.next(src)
		if errors.Is(err, wire.ErrTruncated) {
			return 0, malformed(Blocks, "ends within a block")
		} else if err != nil {
			return 0, err
		}
		src = src[h.head+h.encoded:]
	}
	return int(d.sum.plain), nil
}

// decodeBlocks fills plain from all blocks of src.
func decodeBlocks(plain, src []byte) error {
	d := NewBlockDecoder(len(plain))
	out := plain[:0:len(plain)]
	for len(src) > 0 {
		var n int
		var err error
		if out, n, err = d.Decode(out, src); err != nil {
			return err
		}
		src = src[n:]
	}
	if len(out) != len(plain) {
		return malformed(Blocks, "changed while it was decoded")
	}
	return nil
}
