package compress

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// fuzzDecode checks what holds for any bytes: a value within the limit that encodes and comes back, or a typed error
// and nothing appended.
func fuzzDecode(f *testing.F, codecs ...Codec) {
	for _, s := range append(samples(), golden...) {
		if len(s.plain) > 3000 {
			s.plain = s.plain[:3000]
		}
		for i, c := range codecs {
			if s.codec == c {
				f.Add(encode(f, c, s.plain), byte(i))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, which byte) {
		const limit = 128 << 10
		c := codecs[int(which)%len(codecs)]
		plain, err := Decode([]byte("x"), b, c, limit)
		if err != nil {
			_, tooLarge := errors.AsType[*wire.LimitError](err)
			if _, format := errors.AsType[*wire.FormatError](err); !format && !tooLarge || string(plain) != "x" {
				t.Fatalf("%v, %d bytes", err, len(plain))
			}
			return
		}
		if c == Blocks {
			if got, err := oneByOne(b, limit); err != nil || !bytes.Equal(got, plain[1:]) {
				t.Fatalf("one by one they are others: %v", err)
			}
		}
		if plain = plain[1:]; len(plain) > limit {
			t.Fatalf("%d bytes", len(plain))
		}
		if n, err := PlainSize(b, c, limit); n != len(plain) || err != nil {
			t.Fatalf("plain size %d of %d, %v", n, len(plain), err)
		}
		again, err := Append(nil, plain, c, math.MaxInt)
		if errors.Is(err, ErrRatio) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(nil, again, c, limit); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("came back different: %v", err)
		}
	})
}

func FuzzDecodeS2(f *testing.F)      { fuzzDecode(f, S2) }
func FuzzDecodeBlocks(f *testing.F)  { fuzzDecode(f, Blocks) }
func FuzzDecodeZstd(f *testing.F)    { fuzzDecode(f, Zstd) }
func FuzzDecodeDelta(f *testing.F)   { fuzzDecode(f, Delta64, Delta32) }
func FuzzDecodeDecimal(f *testing.F) { fuzzDecode(f, Decimal64, Decimal32) }

// FuzzRoundTrip encodes any bytes with every codec.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range append(samples(), golden...) {
		f.Add(s.plain[:min(len(s.plain), 3000)])
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		for c := range names {
			plain := plain
			if w := c.ElementBytes(); w > 0 {
				plain = plain[:len(plain)/w*w]
			}
			b, err := Append(nil, plain, c, math.MaxInt)
			if errors.Is(err, ErrRatio) && len(plain) > FreeBytes {
				continue
			} else if err != nil {
				t.Fatal(c, err)
			}
			if got, err := Decode(nil, b, c, len(plain)); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%v: came back different: %v", c, err)
			}
			if _, ok := Try(nil, plain, c); ok != (len(b) < len(plain)) {
				t.Fatalf("%v: %d to %d bytes is %v", c, len(plain), len(b), ok)
			}
		}
	})
}
