package wire

import "github.com/mycel-rpc/mycel/wire/internal/item"

// Bounds of metadata. They are part of the protocol.
const (
	// MaxMetadataBytes bounds the encoding of all metadata of one call in one direction.
	MaxMetadataBytes = 64 << 10
	// MaxMetadataPairs bounds the number of pairs.
	MaxMetadataPairs = 1024
	// MaxMetadataKeyBytes bounds one key.
	MaxMetadataKeyBytes = 256
)

// A Pair is one key and one value of metadata. A key may occur in several pairs, and their order is kept.
type Pair struct {
	Key   string // see [ValidMetadataKey]
	Value string // any bytes
}

// ValidMetadataKey reports whether key has 1 to [MaxMetadataKeyBytes] bytes and consists of a to z, 0 to 9, '-',
// '_' and '.' only.
func ValidMetadataKey[T []byte | string](key T) bool {
	if len(key) == 0 || len(key) > MaxMetadataKeyBytes {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// MetadataBytes returns the length in bytes of what [AppendMetadata] would append.
func MetadataBytes(md []Pair) int {
	n := item.HeadBytes(uint64(2 * len(md)))
	for _, p := range md {
		n += item.HeadBytes(uint64(len(p.Key))) + len(p.Key) + item.HeadBytes(uint64(len(p.Value))) + len(p.Value)
	}
	return n
}

// AppendMetadata appends md to dst as a CBOR array of alternating keys (text) and values (byte strings) and
// returns the extended slice. It borrows md until it returns. The caller has checked keys and bounds.
func AppendMetadata(dst []byte, md []Pair) []byte {
	dst = item.AppendHead(dst, item.Array, uint64(2*len(md)))
	for _, p := range md {
		dst = item.AppendText(dst, p.Key)
		dst = item.AppendBytes(dst, p.Value)
	}
	return dst
}

// ParseMetadata parses the metadata at the start of b and returns it with the number of bytes consumed.
//
// It borrows b until it returns; the result is a copy, nil when there are no pairs.
// Errors: *[FormatError] when b ends early or holds anything but alternating valid keys and values; *[LimitError]
// when it exceeds [MaxMetadataBytes] or [MaxMetadataPairs]. Nothing is allocated before all of it is checked.
func ParseMetadata(b []byte) (md []Pair, n int, err error) {
	c := cursor{b: b, what: "metadata"}
	count := c.count("pairs", 2*MaxMetadataPairs)
	if count%2 != 0 {
		c.fail("has a key without a value")
	}
	body := c // for the second pass
	for range count / 2 {
		if key := c.string(item.Text, "key", MaxMetadataKeyBytes); c.err == nil && !ValidMetadataKey(key) {
			c.fail("has an invalid key")
		}
		c.string(item.Bytes, "value", MaxMetadataBytes)
		if c.err != nil {
			break
		}
	}
	switch {
	case c.err != nil:
		return nil, 0, c.err
	case c.i > MaxMetadataBytes:
		return nil, 0, &LimitError{What: "metadata", Limit: MaxMetadataBytes, Got: uint64(c.i)}
	case count == 0:
		return nil, c.i, nil
	}
	// One string backs all keys and values.
	text, base := string(c.b[body.i:c.i]), body.i
	md = make([]Pair, count/2)
	for i := range md {
		n := len(body.string(item.Text, "", MaxMetadataKeyBytes))
		md[i].Key = text[body.i-base-n : body.i-base]
		n = len(body.string(item.Bytes, "", MaxMetadataBytes))
		md[i].Value = text[body.i-base-n : body.i-base]
	}
	return md, c.i, nil
}
