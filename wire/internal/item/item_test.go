package item

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// edges are the numbers beside which a head gets longer.
var edges = []uint64{0, 23, 1<<8 - 1, 1<<16 - 1, 1<<32 - 1, math.MaxUint64}

func numbers() (n []uint64) {
	for _, e := range edges {
		n = append(n, e-1, e, e+1) // the first and the last wrap around
	}
	return n
}

// widths are the bytes after the first one of a head, by its low five bits from 24 on.
var widths = []int{1, 2, 4, 8}

// slowHead is an independent reading of RFC 8949, section 3: it makes every head there is of the same major type and
// number and returns the length of the one that b starts with and of the shortest one.
func slowHead(b []byte, major byte, n uint64) (size, shortest int) {
	var forms [][]byte
	if n < 24 {
		forms = append(forms, []byte{major*32 + byte(n)})
	}
	for i, w := range widths {
		form := []byte{major*32 + 24 + byte(i)}
		rest := n
		for range w {
			form = append([]byte{form[0], byte(rest)}, form[1:]...)
			rest /= 256
		}
		if rest == 0 {
			forms = append(forms, form)
		}
	}
	for _, form := range forms {
		if bytes.HasPrefix(b, form) {
			size = len(form)
		}
	}
	return size, len(forms[0])
}

func TestHeadsAreShortestAndParseBack(t *testing.T) {
	for major := Uint; major <= Simple; major++ {
		for _, n := range numbers() {
			b := AppendHead([]byte("prefix"), major, n)
			if !bytes.HasPrefix(b, []byte("prefix")) {
				t.Fatalf("AppendHead overwrote what was there: %x", b)
			}
			b = b[len("prefix"):]
			h, size, err := ParseHead(append(b, 0xff))
			if want := (Head{n, major, true}); h != want || size != len(b) || err != nil {
				t.Errorf("%x: parsed %+v, %d bytes of %d, %v, want %+v", b, h, size, len(b), err, want)
			}
			if size, shortest := slowHead(b, major, n); size != len(b) || shortest != len(b) || HeadBytes(n) != len(b) {
				t.Errorf("%x has %d bytes, the shortest head %d, HeadBytes is %d", b, size, shortest, HeadBytes(n))
			}
			for i := range b {
				if h, size, err := ParseHead(b[:i:i]); !errors.Is(err, ErrTruncated) || size != 0 || h != (Head{}) {
					t.Errorf("first %d bytes of %x: %+v, %d bytes, %v, want ErrTruncated", i, b, h, size, err)
				}
			}
		}
	}
}

func TestLongerHeadsAreToldApart(t *testing.T) {
	for _, test := range []struct {
		head     string
		n        uint64
		shortest bool
	}{
		{"\x17", 23, true},
		{"\x18\x17", 23, false},
		{"\x18\x18", 24, true},
		{"\x19\x00\xff", 255, false},
		{"\x19\x01\x00", 256, true},
		{"\x1a\x00\x00\xff\xff", 65535, false},
		{"\x1a\x00\x01\x00\x00", 65536, true},
		{"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", 1<<32 - 1, false},
		{"\x1b\x00\x00\x00\x01\x00\x00\x00\x00", 1 << 32, true},
	} {
		h, size, err := ParseHead([]byte(test.head))
		if want := (Head{test.n, Uint, test.shortest}); h != want || size != len(test.head) || err != nil {
			t.Errorf("%x: parsed %+v, %d bytes, %v, want %+v", test.head, h, size, err, want)
		}
	}
}

func TestReservedHeadsAreRefused(t *testing.T) {
	for first := range 256 {
		b := append([]byte{byte(first)}, make([]byte, 8)...)
		if _, size, err := ParseHead(b); errors.Is(err, ErrReserved) != (first&31 >= 28) || (err == nil) != (size > 0) {
			t.Errorf("%x: %d bytes, %v", b, size, err)
		}
	}
}

// same compares with what fxamacker/cbor makes of v.
func same(t *testing.T, got []byte, v any) {
	t.Helper()
	if want, err := cbor.Marshal(v); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%T: got %x, fxamacker/cbor: %x, %v", v, got, want, err)
	}
}

func TestItemsAreThoseOfAnotherLibrary(t *testing.T) {
	for _, n := range numbers() {
		same(t, AppendUint(nil, n), n)
		same(t, AppendInt(nil, int64(n)), int64(n))
		same(t, AppendInt(nil, ^int64(n)), ^int64(n))
	}
	for _, n := range []int{0, 1, 23, 24, 255, 256, 65535, 65536} {
		s := strings.Repeat("x", n)
		same(t, AppendText(nil, s), s)
		same(t, AppendText(nil, []byte(s)), s)
		same(t, AppendBytes(nil, s), []byte(s))
		same(t, AppendBytes(nil, []byte(s)), []byte(s))
	}
}

func FuzzParseHead(f *testing.F) {
	for _, n := range numbers() {
		f.Add(AppendHead(nil, Map, n))
	}
	f.Add([]byte{0x1b, 0, 0, 0, 0, 0, 0, 0, 23})
	f.Add([]byte{0xf9, 0x7e, 0})
	f.Add([]byte{0x9f})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, size, err := ParseHead(b)
		if err != nil {
			if h != (Head{}) || size != 0 {
				t.Fatalf("refused %x, but returned %+v, %d bytes", b, h, size)
			}
			longer := append(b[:len(b):len(b)], make([]byte, 9)...)
			if _, _, more := ParseHead(longer); errors.Is(err, ErrTruncated) && errors.Is(more, ErrTruncated) || errors.Is(err, ErrReserved) && !errors.Is(more, ErrReserved) {
				t.Fatalf("%x: %v, with more bytes %v", b, err, more)
			}
			return
		}
		slow, shortest := slowHead(b, h.Major, h.N)
		if size != slow || h.Shortest != (size == shortest) || shortest != HeadBytes(h.N) {
			t.Fatalf("%x: parsed %+v, %d bytes; by the book %d, the shortest has %d", b, h, size, slow, shortest)
		}
		if again := AppendHead(nil, h.Major, h.N); bytes.Equal(again, b[:size]) != h.Shortest {
			t.Fatalf("%x: parsed %+v, encodes as %x", b[:size], h, again)
		}
	})
}

func FuzzAppend(f *testing.F) {
	for _, n := range numbers() {
		f.Add(int64(n), []byte("content"))
	}
	f.Add(int64(0), bytes.Repeat([]byte("long "), 100))
	f.Fuzz(func(t *testing.T, v int64, s []byte) {
		h, size, err := ParseHead(AppendInt(nil, v))
		got := int64(h.N)
		if h.Major == Nint {
			got = -1 - got
		}
		if b := AppendInt(nil, v); got != v || size != len(b) || !h.Shortest || err != nil {
			t.Fatalf("%d: appended %x, parsed %+v, %d bytes, %v", v, b, h, size, err)
		}
		same(t, AppendInt(nil, v), v)
		same(t, AppendUint(nil, uint64(v)), uint64(v))
		for major, b := range map[byte][]byte{Text: AppendText(nil, s), Bytes: AppendBytes(nil, s)} {
			h, size, err := ParseHead(b)
			if want := (Head{uint64(len(s)), major, true}); h != want || err != nil || !bytes.Equal(b[size:], s) {
				t.Fatalf("appended %x, parsed %+v, %d bytes, %v, want %+v", b, h, size, err, want)
			}
		}
		same(t, AppendBytes(nil, s), append([]byte{}, s...)) // of nil it makes null
	})
}
