package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// oneByOne decodes blocks as they arrive: a byte more whenever that is needed.
func oneByOne(b []byte, maxSize int) ([]byte, error) {
	d := NewBlockDecoder(maxSize)
	var plain []byte
	for len(b) > 0 {
		size, have := 0, 0
		for ; size == 0; have++ {
			if have > len(b) {
				return plain, errors.New("the blocks end early")
			}
			n, err := d.Size(b[:have])
			if err == nil {
				size = n
			} else if !errors.Is(err, wire.ErrTruncated) {
				return plain, err
			}
		}
		if size > len(b) {
			return plain, errors.New("the blocks end early")
		}
		if _, _, err := d.Decode(nil, b[:size-1]); !errors.Is(err, wire.ErrTruncated) {
			return plain, errors.New("a block without its last byte is not truncated")
		}
		before := len(plain)
		var n int
		var err error
		if plain, n, err = d.Decode(plain, b[:size]); err != nil {
			return plain, err
		}
		if n != size || len(plain)-before > MaxBlockBytes || len(plain) == before {
			return plain, errors.New("a block of another size")
		}
		b = b[n:]
	}
	return plain, nil
}

func TestBlocksOneByOne(t *testing.T) {
	for _, c := range []Codec{None, S2, Zstd} {
		for _, s := range samples() {
			if s.codec != Blocks {
				continue
			}
			e, err := NewBlockEncoder(c)
			if err != nil {
				t.Fatal(err)
			}
			var b []byte
			rest := s.plain
			for _, n := range []int{0, 1, 1000, MaxBlockBytes, MaxBlockBytes + 1} { // pieces of any size
				n = min(n, len(rest))
				b = e.Append(b, rest[:n])
				rest = rest[n:]
			}
			b = e.Append(b, rest)
			got, err := oneByOne(b, len(s.plain))
			if err != nil || !bytes.Equal(got, s.plain) {
				t.Fatalf("%s with %v: %d of %d bytes, %v", s.name, c, len(got), len(s.plain), err)
			}
			if whole, err := Decode(nil, b, Blocks, len(s.plain)); err != nil || !bytes.Equal(whole, s.plain) {
				t.Fatalf("%s with %v: as a whole: %v", s.name, c, err)
			}
			if most := len(s.plain) + 4*(len(s.plain)/BlockBytes+6); len(b) > most {
				t.Errorf("%s with %v: %d bytes became %d", s.name, c, len(s.plain), len(b))
			}
		}
	}
	for _, c := range []Codec{Delta64, Blocks, 9} {
		if _, err := NewBlockEncoder(c); err != ErrCodec {
			t.Errorf("blocks of %v: %v", c, err)
		}
		if b, err := AppendBlocks([]byte("x"), logText(10), c, 100); err != ErrCodec || string(b) != "x" {
			t.Errorf("blocks of %v: %v", c, err)
		}
	}
	if b, err := AppendBlocks([]byte("x"), noise(10), S2, 11); err != ErrBound || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestBlocksOfWhatIsVerySmall: receivers accept whatever is sent to them, and it is still small.
func TestBlocksOfWhatIsVerySmall(t *testing.T) {
	zeros := make([]byte, 8<<20)
	b := encode(t, Blocks, zeros)
	if len(b) > len(zeros)*3/MaxRatio {
		t.Errorf("%d zeros became %d bytes", len(zeros), len(b))
	}
	if got, err := Decode(nil, b, Blocks, len(zeros)); err != nil || !bytes.Equal(got, zeros) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestBlocksThatAreRefused(t *testing.T) {
	tiny, err := appendGeneral(nil, make([]byte, FreeBytes), S2)
	if err != nil {
		t.Fatal(err)
	}
	tinyBlock := append(binary.AppendUvarint([]byte{byte(S2)}, uint64(len(tiny))), tiny...)
	large, err := appendGeneral(nil, logText(MaxBlockBytes+1), S2)
	if err != nil {
		t.Fatal(err)
	}
	largeBlock := append(binary.AppendUvarint([]byte{byte(S2)}, uint64(len(large))), large...)
	for _, c := range []struct {
		name    string
		b       []byte
		maxSize int
		limit   bool // LimitError, not FormatError
		text    string
	}{
		{"a bomb of small blocks", bytes.Repeat(tinyBlock, 3), 1 << 30, true, "plain size of so few bytes of blocks"},
		{"more than the receiver wants", []byte("\x00\x05mycel\x00\x05mycel"), 9, true, "plain size of blocks of 10 exceeds the limit of 9"},
		{"a plain block that is too large", largeBlock, 1 << 30, true, "plain block of 262145 exceeds the limit of 262144"},
		{"an encoded block that is too large", []byte("\x01\x81\x80\x10"), 1 << 30, true, "encoded block of 262145 exceeds"},
		{"a length of many bytes", []byte("\x01\xff\xff\xff\xff\x01"), 1 << 30, true, "encoded block"},
		{"an empty block", []byte("\x01\x00"), 1 << 30, false, "an empty block"},
		{"a block of nothing", []byte("\x01\x01\x00"), 1 << 30, false, "without a plain size"},
		{"blocks in a block", []byte("\x20\x02\x00\x00"), 1 << 30, false, "a block of blocks"},
		{"a column in a block", []byte("\x10\x02\x00\x00"), 1 << 30, false, "a block of delta64"},
		{"no S2", []byte("\x01\x02\x05\xff"), 1 << 30, false, "not a block of S2"},
	} {
		_, err := oneByOne(c.b, c.maxSize)
		got, whole := Decode([]byte("x"), c.b, Blocks, c.maxSize)
		if err == nil || whole == nil || err.Error() != whole.Error() || string(got) != "x" {
			t.Errorf("%s: one by one %v, as a whole %v", c.name, err, whole)
			continue
		}
		_, isLimit := errors.AsType[*wire.LimitError](whole)
		if _, format := errors.AsType[*wire.FormatError](whole); isLimit != c.limit || format == c.limit || !strings.Contains(whole.Error(), c.text) {
			t.Errorf("%s: %v", c.name, whole)
		}
	}
	for _, b := range []string{"\x01", "\x01\x80", "\x00\x05myce"} {
		if _, err := Decode(nil, []byte(b), Blocks, math.MaxInt); err == nil || !strings.Contains(err.Error(), "ends within a block") {
			t.Errorf("%x: %v", b, err)
		}
	}
}
