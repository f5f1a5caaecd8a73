package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// A Reader reads a part of an object in order, as it arrives. It hands on a leaf when that is verified, and keeps one. It
// belongs to one goroutine.
type Reader struct {
	ctx      context.Context
	m        Manifest
	fetcher  Fetcher
	o        Options
	pos, end int64  // of what is still to be read; end is -1 for the end of the object, wherever that is
	leaf     []byte // the current leaf
	at       int64  // where it begins
	chunks   Chunks // nil between requests
	failures int    // in a row
	corrupt  bool   // the last request ended with a corrupt leaf
	err      error
}

// NewReader returns a Reader of n bytes from off on; n is -1 for all. Of the options, Retry and MaxBytes count. ctx bounds
// the whole of its use. Close it.
//
// Errors: *[ProtocolError] for a manifest or a part that is out of range; *[LimitError].
func NewReader(ctx context.Context, m Manifest, f Fetcher, off, n int64, o Options) (*Reader, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if m, err = m.withDefaults(); err != nil {
		return nil, err
	}
	if m.Size > o.MaxBytes {
		return nil, &LimitError{"bytes of an object (Options.MaxBytes)", o.MaxBytes, m.Size}
	}
	r := &Reader{ctx: ctx, m: m, fetcher: f, o: o, pos: off, end: m.Size}
	if n >= 0 {
		r.end = off + n
	}
	if off < 0 || n < -1 || off > MaxSize || n > MaxSize || m.Size >= 0 && (off > m.Size || r.end > m.Size) {
		return nil, &ProtocolError{"a part is within the object", m.Size, off + max(n, 0)}
	}
	r.at = off &^ (m.Leaf - 1)
	return r, nil
}

// Read implements [io.Reader]. Errors are those of [Receive].
func (r *Reader) Read(p []byte) (int, error) {
	for r.err == nil && (r.end < 0 || r.pos < r.end) {
		if have := r.at + int64(len(r.leaf)); r.pos < have {
			n := copy(p, r.leaf[r.pos-r.at:])
			if r.end >= 0 {
				n = int(min(int64(n), r.end-r.pos))
			}
			r.pos += int64(n)
			return n, nil
		}
		r.err = r.next()
	}
	if r.err == nil {
		r.err = io.EOF
	}
	return 0, r.err
}

// Close ends the request. It may be called more than once.
func (r *Reader) Close() error {
	r.endRequest()
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	return nil
}

func (r *Reader) endRequest() {
	if r.chunks != nil {
		r.chunks.Close()
		r.chunks = nil
	}
}

// next fetches the leaf behind the current one, again when the connection is lost. io.EOF means that there is none.
func (r *Reader) next() error {
	r.at += int64(len(r.leaf))
	r.leaf = r.leaf[:0]
	for {
		err := r.fetchLeaf()
		if err == nil || err == io.EOF {
			r.failures, r.corrupt = 0, false
			return err
		}
		r.leaf = r.leaf[:0]
		r.endRequest()
		var fe *fetchError
		if errors.Is(err, errAgain) {
			if r.corrupt {
				return &CorruptError{r.m.ID, r.at / r.m.Leaf}
			}
			r.corrupt = true
			continue
		}
		if r.failures++; !errors.As(err, &fe) || r.o.Retry.Lost == nil || !r.o.Retry.Lost(fe.err) || r.failures > r.o.Retry.Attempts {
			return err
		}
		if err := wait(r.ctx, r.o.Retry, r.failures); err != nil {
			return err
		}
	}
}

// fetchLeaf reads and verifies the leaf at r.at.
func (r *Reader) fetchLeaf() error {
	if r.m.Size >= 0 && r.at >= r.m.Size {
		return io.EOF
	}
	if r.chunks == nil {
		part := Range{r.at, -1}
		if r.end >= 0 {
			part.Length = r.end - r.at
			if over := r.end % r.m.Leaf; over != 0 {
				part.Length += r.m.Leaf - over
			}
			if r.m.Size >= 0 {
				part.Length = min(part.Length, r.m.Size-r.at)
			}
		}
		if r.m.Size < 0 { // whole leaves cannot be asked for where the end is not known
			part.Length = -1
		}
		var err error
		if r.chunks, err = r.fetcher.Fetch(r.ctx, []Range{part}); err != nil {
			return r.failed(err)
		}
	}
	h := takeHasher()
	defer hashers.Put(h)
	var sum [HashBytes]byte
	for {
		used := len(r.leaf)
		r.leaf = grown(r.leaf, ChunkBytes, int(r.m.Leaf))
		c := Chunk{Offset: r.at + int64(used), Data: r.leaf[used:used:cap(r.leaf)], Leaf: sum[:0], Size: unknown}
		err := r.chunks.Next(&c)
		if err == io.EOF {
			return &ProtocolError{"an answer does not end early", r.at + r.m.Leaf, r.at + int64(used)}
		}
		if err != nil {
			return r.failed(err)
		}
		if err := r.check(&c, r.at+int64(used)); err != nil {
			return err
		}
		if len(c.Data) == 0 { // the size, behind the last byte
			if used == 0 {
				return io.EOF
			}
			return &ProtocolError{"a leaf has a hash where it ends", HashBytes, 0}
		}
		if cap(r.leaf) < used+len(c.Data) || &c.Data[0] != &r.leaf[:used+1][used] {
			r.leaf = append(r.leaf[:used], c.Data...)
		}
		r.leaf = r.leaf[:used+len(c.Data)]
		if _, err := h.Write(r.leaf[used:]); err != nil {
			return err
		}
		ends := c.end()%r.m.Leaf == 0 || c.end() == r.m.Size
		if ends != (len(c.Leaf) == HashBytes) {
			return &ProtocolError{"a leaf has a hash where it ends", HashBytes, int64(len(c.Leaf))}
		}
		if ends {
			var got [HashBytes]byte
			if !bytes.Equal(h.Sum(got[:0]), c.Leaf) {
				return errAgain
			}
			return nil
		}
	}
}

// check checks a chunk that should begin at off, and learns the size from it.
func (r *Reader) check(c *Chunk, off int64) error {
	switch {
	case c.Offset != off:
		return &ProtocolError{"chunks of a range follow each other", off, c.Offset}
	case len(c.Data) > ChunkBytes || c.end() > r.at+r.m.Leaf:
		return &ProtocolError{"a chunk ends with its leaf, its range and 256 KiB at the latest", r.at + r.m.Leaf, c.end()}
	case c.Size < unknown || r.m.Size >= 0 && c.Size != r.m.Size && c.Size != unknown:
		return &ProtocolError{"the size of an object does not change", r.m.Size, c.Size}
	case max(c.Size, c.end()) > r.o.MaxBytes:
		return &LimitError{"bytes of an object (Options.MaxBytes)", r.o.MaxBytes, max(c.Size, c.end())}
	case c.Size >= 0 && c.end() > c.Size:
		return &ProtocolError{"chunks end within the object", c.Size, c.end()}
	case len(c.Data) == 0 && (c.Size != off || r.m.Size >= 0):
		return &ProtocolError{"a chunk has bytes, unless it says the size of the object", 1, 0}
	}
	if r.m.Size = max(r.m.Size, c.Size); r.m.Size >= 0 && r.end < 0 {
		r.end = r.m.Size
	}
	return nil
}

func (r *Reader) failed(err error) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return &fetchError{err}
}

// grown returns b with room for n more bytes, up to most.
func grown(b []byte, n, most int) []byte {
	if cap(b)-len(b) >= min(n, most-len(b)) {
		return b
	}
	g := make([]byte, len(b), min(max(2*cap(b), len(b)+n), most))
	copy(g, b)
	return g
}
