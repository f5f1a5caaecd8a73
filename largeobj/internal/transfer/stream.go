package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/zeebo/blake3"
)

// stream fetches one run after the other until there is nothing to do.
func (r *receiver) stream(ctx context.Context) error {
	failures := 0 // in a row
	for {
		ranges := r.next()
		if len(ranges) == 0 {
			return nil
		}
		progress, err := r.fetch(ctx, ranges)
		if progress {
			failures = 0
		}
		if back := r.giveBack(ranges); back != nil {
			return back
		}
		if err == nil || err == errAgain {
			continue
		}
		if failures++; failures > r.o.Retry.Attempts || !r.isLost(err) {
			return err
		}
		r.lost.Add(1)
		if err := wait(ctx, r.o.Retry, failures); err != nil {
			return err
		}
	}
}

// A fetchError is an error that came from the Fetcher.
type fetchError struct{ err error }

func (e *fetchError) Error() string { return fmt.Sprintf("transfer: fetch: %v", e.err) }
func (e *fetchError) Unwrap() error { return e.err }

func (r *receiver) isLost(err error) bool {
	var fe *fetchError
	return errors.As(err, &fe) && r.o.Retry.Lost != nil && r.o.Retry.Lost(fe.err)
}

// wait waits before the repetition after the given number of failures.
func wait(ctx context.Context, o Retry, failures int) error {
	d := o.MaxWait
	if shift := failures - 1; shift < 32 && o.Wait <= o.MaxWait>>shift {
		d = o.Wait << shift
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A piece is a chunk on its way from the goroutine that reads to the one that verifies.
type piece struct {
	off  int64
	data []byte
	buf  *buffer // that holds data; nil when data is at its place in the destination already
	last bool    // of its leaf
	sum  [HashBytes]byte
}

// fetch fetches ranges. progress says whether a leaf was verified.
func (r *receiver) fetch(ctx context.Context, ranges []Range) (progress bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chunks, err := r.fetcher.Fetch(ctx, ranges)
	if err != nil {
		return false, r.fetchFailed(ctx, err)
	}
	defer chunks.Close()
	v := verifier{r: r, pieces: make(chan piece, 1), done: make(chan struct{})}
	go v.run(cancel) // ends when pieces is closed; waited for below
	err = r.read(ctx, chunks, ranges, v.pieces)
	close(v.pieces)
	<-v.done
	if v.err != nil {
		return v.leaves > 0, v.err
	}
	return v.leaves > 0, err
}

func (r *receiver) fetchFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &fetchError{err}
}

// read reads the chunks of ranges and hands them on. It returns when all are there, or at the first violation.
func (r *receiver) read(ctx context.Context, chunks Chunks, ranges []Range, pieces chan<- piece) error {
	var sum [HashBytes]byte
	c := Chunk{}
	for _, part := range ranges {
		for off := part.Offset; !r.reached(part, off); off = c.end() {
			limit := r.limit(part, off)
			room, buf, err := r.room(part, off, limit)
			if err != nil {
				return err
			}
			c = Chunk{Offset: off, Data: room[:0], Leaf: sum[:0], Size: unknown}
			err = chunks.Next(&c)
			if err == nil {
				err = r.check(&c, part, off, limit)
			} else if err == io.EOF {
				err = &ProtocolError{"an answer does not end early", limit, off}
			} else {
				err = r.fetchFailed(ctx, err)
			}
			if err != nil {
				buf.put()
				return err
			}
			r.received.Add(int64(len(c.Data)))
			p := piece{off: off, data: room[:len(c.Data)], buf: buf, last: len(c.Leaf) > 0}
			if len(c.Data) > 0 && &c.Data[0] != &room[0] {
				copy(p.data, c.Data)
			}
			copy(p.sum[:], c.Leaf)
			if r.o.Unverified {
				p.last = r.endsLeaf(c.end())
			}
			select {
			case pieces <- p: // ownership of buf passes to the verifier
			case <-ctx.Done():
				buf.put()
				return context.Cause(ctx)
			}
		}
	}
	c = Chunk{}
	switch err := chunks.Next(&c); err {
	case io.EOF:
		return nil
	case nil:
		return &ProtocolError{"no more comes than was asked for", 0, max(1, int64(len(c.Data)))}
	default:
		return r.fetchFailed(ctx, err)
	}
}

// reached reports whether off is the end of the range.
func (r *receiver) reached(part Range, off int64) bool {
	if part.Length < 0 {
		return off == r.knownSize()
	}
	return off == part.end()
}

// limit returns where the chunk at off ends at the latest.
func (r *receiver) limit(part Range, off int64) int64 {
	end := leafAt(off, r.m.Leaf, r.knownSize()).end()
	if part.Length >= 0 {
		end = min(end, part.end())
	}
	return min(end, off+ChunkBytes)
}

// room returns where the bytes from off to limit go: their place in the destination, or a buffer.
func (r *receiver) room(part Range, off, limit int64) (room []byte, buf *buffer, err error) {
	if part.Length < 0 {
		if err := r.dst.grow(limit); err != nil {
			return nil, nil, err
		}
	}
	n := limit - off
	if room := r.dst.slice(off, n); room != nil {
		return room[:n:n], nil, nil
	}
	buf = takeBuffer()
	return buf[:n:n], buf, nil
}

// endsLeaf reports whether a leaf ends at the given offset.
func (r *receiver) endsLeaf(end int64) bool { return end%r.m.Leaf == 0 || end == r.knownSize() }

// check checks a chunk of a range that should begin at off and end at limit or before.
func (r *receiver) check(c *Chunk, part Range, off, limit int64) error {
	if c.Offset != off {
		return &ProtocolError{"chunks of a range follow each other", off, c.Offset}
	}
	if c.end() > limit {
		return &ProtocolError{"a chunk ends with its leaf, its range and 256 KiB at the latest", limit, c.end()}
	}
	before := r.knownSize()
	if err := r.setSize(c.Size, c.end()); err != nil {
		return err
	}
	size := r.knownSize()
	if len(c.Data) == 0 && (before >= 0 || size != off || part.Length >= 0) {
		return &ProtocolError{"a chunk has bytes, unless it says the size of the object", 1, 0}
	}
	if r.o.Unverified {
		return nil
	}
	want := 0
	if r.endsLeaf(c.end()) && c.end() > leafStart(off, c.end(), r.m.Leaf) {
		want = HashBytes
	}
	if len(c.Leaf) != want {
		return &ProtocolError{"a leaf has a hash where it ends", int64(want), int64(len(c.Leaf))}
	}
	return nil
}

// leafStart returns where the leaf of a chunk begins; for an empty chunk at the beginning of a leaf, which has no bytes of
// any leaf, its own offset.
func leafStart(off, end, leaf int64) int64 {
	if end > off {
		return (end - 1) &^ (leaf - 1)
	}
	return off &^ (leaf - 1)
}

// A verifier hashes the pieces of one request, writes those that are not at their place, and says which leaves are right.
// Its fields but pieces belong to run until done is closed.
type verifier struct {
	r      *receiver
	pieces chan piece    // room for one; closed by the reader
	done   chan struct{} // closed when run has returned
	err    error
	leaves int // verified
}

// run verifies until pieces is closed. After an error it cancels the request and releases what still comes.
func (v *verifier) run(cancel context.CancelCauseFunc) {
	defer close(v.done)
	hasher := takeHasher()
	defer hashers.Put(hasher)
	for p := range v.pieces {
		if v.err == nil {
			if v.err = v.piece(hasher, &p); v.err != nil {
				cancel(v.err)
			}
		}
		p.buf.put()
	}
}

func (v *verifier) piece(hasher *blake3.Hasher, p *piece) error {
	r := v.r
	if p.buf != nil && len(p.data) > 0 {
		if err := r.dst.writeAt(p.data, p.off); err != nil {
			return err
		}
	}
	if !r.o.Unverified {
		hasher.Write(p.data)
	}
	if !p.last {
		return nil
	}
	end := p.off + int64(len(p.data))
	start := leafStart(p.off, end, r.m.Leaf)
	leaf := Range{start, end - start}
	if !r.o.Unverified {
		var sum [HashBytes]byte
		hasher.Sum(sum[:0])
		hasher.Reset()
		if !bytes.Equal(sum[:], p.sum[:]) {
			return r.corrupted(leaf)
		}
	}
	v.leaves++
	return r.verified(leaf)
}
