package compress

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// encode encodes without a bound.
func encode(t testing.TB, c Codec, plain []byte) []byte {
	t.Helper()
	b, err := Append(nil, plain, c, math.MaxInt)
	if err != nil {
		t.Fatalf("%v of %d bytes: %v", c, len(plain), err)
	}
	return b
}

func TestRoundTripsAreExact(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.codec.String()+" "+s.name, func(t *testing.T) {
			b := encode(t, s.codec, s.plain)
			got, err := Decode([]byte("before"), b, s.codec, len(s.plain))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, append([]byte("before"), s.plain...)) {
				t.Fatal("decoded to something else")
			}
			if n, err := PlainSize(b, s.codec, len(s.plain)); n != len(s.plain) || err != nil {
				t.Fatalf("plain size %d, %v", n, err)
			}
			if w := s.codec.ElementBytes(); w > 0 && len(b) > len(s.plain)+len(s.plain)/w/blockLen+12 {
				t.Fatalf("a column of %d bytes grew to %d", len(s.plain), len(b))
			}
			again, err := Append([]byte("before"), s.plain, s.codec, len(b))
			if err != nil || !bytes.Equal(again, append([]byte("before"), b...)) {
				t.Fatalf("behind other bytes the encoding is another one: %v", err)
			}
		})
	}
}

func TestBoundIsKept(t *testing.T) {
	for _, s := range samples() {
		b := encode(t, s.codec, s.plain)
		for _, limit := range []int{len(b) - 1, len(b) / 2, 0, -1} {
			if limit >= len(b) {
				continue
			}
			got, err := Append([]byte("before"), s.plain, s.codec, limit)
			if !errors.Is(err, ErrBound) || string(got) != "before" {
				t.Errorf("%v of %s, %d bytes with a bound of %d: %d bytes, %v", s.codec, s.name, len(b), limit, len(got), err)
			}
		}
	}
}

func TestTryOnlyGivesWhatIsSmaller(t *testing.T) {
	for _, s := range samples() {
		b, ok := Try([]byte("before"), s.plain, s.codec)
		if n := len(encode(t, s.codec, s.plain)); ok != (n < len(s.plain)) {
			t.Errorf("%v of %s: %d to %d bytes is %v", s.codec, s.name, len(s.plain), n, ok)
		}
		if !ok && string(b) != "before" {
			t.Errorf("%v of %s: refused, but appended", s.codec, s.name)
		}
	}
	if _, ok := Try(nil, make([]byte, 4001), Delta64); ok {
		t.Error("encoded a column that ends within an element")
	}
	if _, ok := Try(nil, make([]byte, 4000), 9); ok {
		t.Error("encoded with a codec that is not known")
	}
}

func TestBombsAreRefusedBeforeAnythingIsAllocated(t *testing.T) {
	size := []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // 4 GiB - 1
	tail := bytes.Repeat([]byte{1}, 100)
	for c := range names {
		bomb, limit := append(bytes.Clone(size), tail...), 16<<20
		switch c {
		case None:
			bomb, limit = tail, 99
		case Blocks: // of one byte more than the receiver wants
			bomb, limit = bytes.Repeat([]byte{0, 1, 'x'}, 1000), 999
		}
		var err error
		n := testing.AllocsPerRun(1, func() { _, err = PlainSize(bomb, c, limit) })
		if e, ok := errors.AsType[*wire.LimitError](err); !ok || e.Limit != uint64(limit) || e.Got <= e.Limit {
			t.Errorf("%v: %v", c, err)
		}
		if n > 4 { // the error
			t.Errorf("%v: %v allocations", c, n)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = Decode(nil, bomb, c, math.MaxInt32) // within the limit, but not plausible
		runtime.ReadMemStats(&after)
		if _, ok := errors.AsType[*wire.LimitError](err); !ok && c != None && c != Blocks {
			t.Errorf("%v: %v", c, err)
		}
		if d := after.TotalAlloc - before.TotalAlloc; d > 1<<16 {
			t.Errorf("%v: %d bytes allocated", c, d)
		}
	}
}

func TestZstdFramesMayNotBeLargerThanTheySay(t *testing.T) {
	frame := appendZstd(nil, make([]byte, 16<<20))
	for _, said := range []byte{0, 1, 100} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(nil, append([]byte{said}, frame...), Zstd, 1<<20)
		runtime.ReadMemStats(&after)
		if d := after.TotalAlloc - before.TotalAlloc; err == nil || d > 1<<20 {
			t.Errorf("16 MiB said to be %d bytes: %v, %d bytes allocated", said, err, d)
		}
	}
}

func TestWhatReceiversRefuseIsNotSent(t *testing.T) {
	zeros := make([]byte, 1<<20)
	for _, c := range []Codec{S2, Zstd} {
		if _, err := Append(nil, zeros, c, math.MaxInt); !errors.Is(err, ErrRatio) {
			t.Errorf("%v: %v", c, err)
		}
		b := encode(t, c, zeros[:FreeBytes])
		if _, err := Decode(nil, b, c, FreeBytes); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	for _, c := range []Codec{Delta64, Delta32, Decimal64, Decimal32} { // a bit for each element, at least
		b := encode(t, c, zeros)
		if got, err := Decode(nil, b, c, len(zeros)); err != nil || !bytes.Equal(got, zeros) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestDamageIsFoundOrHarmless(t *testing.T) {
	for _, s := range samples() {
		if len(s.plain) > 8192 || s.codec == None {
			continue
		}
		b := encode(t, s.codec, s.plain)
		for i := 0; i < len(b); i += 1 + len(b)/64 {
			check := func(what string, damaged []byte) {
				got, err := Decode([]byte("before"), damaged, s.codec, len(s.plain))
				switch {
				case err == nil && len(got) <= 6+len(s.plain):
				case err == nil:
					t.Errorf("%v of %s, %s at %d: %d bytes", s.codec, s.name, what, i, len(got))
				case string(got) != "before":
					t.Errorf("%v of %s, %s at %d: an error and %d bytes", s.codec, s.name, what, i, len(got))
				}
				_, limit := errors.AsType[*wire.LimitError](err)
				if _, format := errors.AsType[*wire.FormatError](err); err != nil && !format && !limit {
					t.Errorf("%v of %s, %s at %d: %v", s.codec, s.name, what, i, err)
				}
			}
			between := s.codec == Blocks && i == 0 // blocks end where their frame says
			if _, err := Decode(nil, b[:i], s.codec, len(s.plain)); err == nil && len(s.plain) > 0 && !between {
				t.Errorf("%v of %s: accepted %d of %d bytes", s.codec, s.name, i, len(b))
			}
			check("cut", b[:i])
			for bit := range 8 {
				d := bytes.Clone(b)
				d[i] ^= 1 << bit
				check("a bit", d)
			}
		}
		if _, err := Decode(nil, append(bytes.Clone(b), 0), s.codec, len(s.plain)); err == nil {
			t.Errorf("%v of %s: accepted a byte more", s.codec, s.name)
		}
	}
}

func TestCodecsThatAreNotKnown(t *testing.T) {
	if Codec(3).Known() || !Zstd.Known() || Codec(3).String() != "codec 3" {
		t.Error("codec 3 is known")
	}
	if _, err := Append(nil, nil, 3, 100); !errors.Is(err, ErrCodec) {
		t.Error(err)
	}
	_, err := Decode(nil, []byte{0}, 3, 100)
	if _, ok := errors.AsType[*wire.FormatError](err); !ok {
		t.Error(err)
	}
	if _, err := Append(nil, make([]byte, 7), Delta32, 100); !errors.Is(err, ErrColumn) {
		t.Error(err)
	}
}
