package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"
)

// TestTheSizeComesInTheMiddle loses the connection after a sender has said the size of an object that was not known.
func TestTheSizeComesInTheMiddle(t *testing.T) {
	data := random(20*testLeaf + 5)
	for _, d := range destinations {
		t.Run(d.name, func(t *testing.T) {
			nothingLeft(t)
			dst, check := d.make(t, t.TempDir())
			f := newLoopback(t, Bytes(data), testLeaf)
			chunks := atomic.Int64{}
			f.onChunk = func(context.Context, *Chunk) error {
				if chunks.Add(1) == 14 {
					return errLost
				}
				return nil
			}
			o := Options{MaxStreams: 1, Retry: Retry{Lost: lost, Wait: time.Millisecond}}
			receive(t, Manifest{Size: -1, Leaf: testLeaf}, f, dst, o)
			check(data)
			if again := f.sent.Load() - int64(len(data)); again > testLeaf {
				t.Errorf("%d bytes were sent again", again)
			}
		})
	}
}

// TestOnlyVerifiedLeavesStay has leaves that are corrupt on and off while the size is not known, and asks what the
// destination still believes in after the connection was lost.
func TestOnlyVerifiedLeavesStay(t *testing.T) {
	nothingLeft(t)
	data := random(8 * testLeaf)
	b := NewBuffer(nil, "")
	defer b.Close()
	f := newLoopback(t, &streamSource{Bytes: data}, testLeaf)
	damage := func(c *Chunk) {
		c.Data = bytes.Clone(c.Data)
		c.Data[0] ^= 1
	}
	f.onChunk = func(_ context.Context, c *Chunk) error {
		switch leaf, request := c.Offset/testLeaf, f.requests.Load(); {
		case request == 1 && leaf == 2, request == 2 && leaf == 4:
			damage(c)
		case leaf == 7:
			return errLost
		}
		return nil
	}
	m := Manifest{Size: -1, Leaf: testLeaf}
	if err := Receive(t.Context(), m, f, b, Options{}); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	if b.Have() == 0 || b.have.Prefix() != b.Have() {
		t.Errorf("leaves behind a gap: %v", b.have.Ranges())
	}
	if !bytes.Equal(b.store.slice(0, b.Have()), data[:b.Have()]) {
		t.Error("a leaf that counts as verified is not right")
	}
	f.onChunk = nil
	receive(t, m, f, b, Options{})
	wantBytes(t, b, data)
}

func TestASenderWithoutEndIsStopped(t *testing.T) {
	toEach(t, func(t *testing.T, dst Destination, check func([]byte), source func([]byte) (Source, int64)) {
		f := newLoopback(t, endless{}, testLeaf)
		err := Receive(t.Context(), Manifest{Size: -1, Leaf: testLeaf}, f, dst, Options{MaxBytes: 3*testLeaf + 1})
		if !errors.As(err, new(*LimitError)) || f.sent.Load() > 4*testLeaf {
			t.Errorf("%v after %d bytes", err, f.sent.Load())
		}
	})
}

type endless struct{}

func (endless) Size() (int64, bool)                   { return 0, false }
func (endless) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

// TestADestinationThatFailsEndsTheRequest has a sender that sends nothing more, and a destination that is full meanwhile.
func TestADestinationThatFailsEndsTheRequest(t *testing.T) {
	nothingLeft(t)
	f := newLoopback(t, Bytes(random(testLeaf)), testLeaf)
	f.onChunk = func(ctx context.Context, c *Chunk) error {
		if c.Offset > 0 {
			<-ctx.Done()
		}
		return nil
	}
	err := Receive(t.Context(), Manifest{Size: testLeaf, Leaf: testLeaf}, f, full{new(nowhere)}, Options{})
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v", err)
	}
}

type full struct{ *nowhere }

func (full) writeAt([]byte, int64) error { return io.ErrShortWrite }

// TestJournalsThatCannotBe seals what no receiver writes.
func TestJournalsThatCannotBe(t *testing.T) {
	const leaf = MinLeafBytes
	for name, j := range map[string]journal{
		"a gap without a size":        {Manifest{Size: -1, Leaf: leaf}, RangeSet{[]Range{{0, leaf}, {2 * leaf, leaf}}}},
		"not from the beginning":      {Manifest{Size: -1, Leaf: leaf}, RangeSet{[]Range{{leaf, leaf}}}},
		"half a leaf":                 {Manifest{Size: 4 * leaf, Leaf: leaf}, RangeSet{[]Range{{0, leaf / 2}}}},
		"from the middle of a leaf":   {Manifest{Size: 4 * leaf, Leaf: leaf}, RangeSet{[]Range{{leaf / 2, leaf / 2}}}},
		"more than the object":        {Manifest{Size: 4 * leaf, Leaf: leaf}, RangeSet{[]Range{{0, 5 * leaf}}}},
		"a leaf size of no power":     {Manifest{Size: 4 * leaf, Leaf: 3 * leaf}, RangeSet{}},
		"an object that is too large": {Manifest{Size: MaxSize + 1, Leaf: leaf}, RangeSet{}},
	} {
		if _, err := parseJournal(j.append(nil)); !errors.Is(err, errJournal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	j := journal{Manifest{Size: 4 * leaf, Leaf: leaf}, RangeSet{[]Range{{leaf, 3 * leaf}}}}
	if _, err := parseJournal(j.append(nil)); err != nil {
		t.Error(err)
	}
}

// TestAWriteRightAfterOpenIsNoticed has two changes so close to each other that a file system may date them the same.
func TestAWriteRightAfterOpenIsNoticed(t *testing.T) {
	nothingLeft(t)
	d, path := served(t, []byte("old"))
	for range 10 {
		writeNow(t, path, "one")
		f, _ := openIn(t, d, "sub/object")
		writeNow(t, path, "two")
		if err := f.Check(); !errors.Is(err, ErrChanged) {
			t.Fatalf("got %v", err)
		}
	}
}
