package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
)

// Parcel is a message with an object.
type Parcel struct {
	ID     uint64
	Object largeobj.Ref
}

// FileRequest asks for a file of the server.
type FileRequest struct{ Path string }

var (
	handMethod = framework.NewUnary[Parcel, Digest]("bench.v1/Hand")
	peekMethod = framework.NewUnary[Parcel, Digest]("bench.v1/Peek")
	fileMethod = framework.NewUnary[FileRequest, Parcel]("bench.v1/File")
)

func handleObjects(srv *framework.Server) {
	handMethod.Handle(srv, func(ctx context.Context, q *Parcel) (*Digest, error) {
		v, err := q.Object.Open(ctx)
		if err != nil {
			return nil, err
		}
		d := inspect(v.Bytes())
		d.ID = q.ID
		return &d, nil
	})
	peekMethod.Handle(srv, func(ctx context.Context, q *Parcel) (*Digest, error) {
		v, err := q.Object.Open(ctx)
		if err != nil {
			return nil, err
		}
		return &Digest{ID: q.ID, SizeBytes: v.Size(), Head: sum(v.Bytes()[:endBytes])}, nil
	})
	fileMethod.Handle(srv, func(ctx context.Context, q *FileRequest) (*Parcel, error) {
		ref, err := largeobj.FromFile(ctx, q.Path)
		return &Parcel{Object: ref}, err
	})
}

const (
	endBytes  = 64   // at the begin and at the end of an object that inspect reads
	pageBytes = 4096 // of which it reads a word
)

var started = time.Now()

// clock is the time since the process began. Client and server share it.
func clock() time.Duration { return time.Since(started) }

// inspect reads as much of an object as shows that it is there. Handlers of all transports call it when they have all of
// it. There are at least 64 bytes.
func inspect(b []byte) Digest {
	d := Digest{AtNanos: int64(clock()), SizeBytes: int64(len(b)), Head: sum(b[:endBytes]), Tail: sum(b[len(b)-endBytes:])}
	for at := pageBytes / 4; at+8 <= len(b); at += pageBytes {
		d.Pages = d.Pages*31 + binary.LittleEndian.Uint64(b[at:])
	}
	if p := memoryProbe.Load(); p != nil {
		p.sample()
	}
	return d
}

func sum(b []byte) (s uint64) {
	for ; len(b) >= 8; b = b[8:] {
		s = s*31 + binary.LittleEndian.Uint64(b)
	}
	return s
}

var errDigest = errors.New("bench: the receiver saw another object than was handed over")

// check compares what the receiver saw with what was handed over, but for the pages if those are not known.
func (d Digest) check(id uint64, want Digest, pages bool) error {
	if d.ID != id || d.SizeBytes != want.SizeBytes || d.Head != want.Head || d.Tail != want.Tail || pages && d.Pages != want.Pages {
		return fmt.Errorf("%w: %+v, want %+v", errDigest, d, want)
	}
	return nil
}

// ready waits for the memory that client and server share.
func (m mycelClient) ready(ctx context.Context) error {
	if !m.s.shared {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for m.s.near.Stats().Links == 0 || m.s.far.Stats().Links == 0 {
		select {
		case <-ctx.Done():
			return errors.New("bench: client and server share no memory")
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// hand writes only the first bytes of an object that it makes in place: a producer that writes there saves the copy, and
// what it computes is not what is measured.
func (m mycelClient) hand(ctx context.Context, n uint64, sizeBytes int) (first, last time.Duration, err error) {
	data := samples().bytes(n, sizeBytes)
	var ref largeobj.Ref
	var want Digest
	if m.s.copied {
		if ref, err = m.s.near.FromBytes(ctx, data); err != nil {
			return 0, 0, err
		}
		want = samples().digest(n, sizeBytes)
	} else {
		o, err := m.s.near.Create(ctx, int64(sizeBytes))
		if err != nil {
			return 0, 0, err
		}
		b := o.Bytes()
		copy(b[:endBytes], data)
		binary.LittleEndian.PutUint64(b, n)
		want = Digest{SizeBytes: int64(sizeBytes), Head: sum(b[:endBytes]), Tail: sum(b[sizeBytes-endBytes:])}
		ref = o.Freeze()
	}
	defer ref.Release()
	firstSent := func() time.Duration { return 0 }
	if !m.s.shared {
		firstSent = m.watchFirst()
	}
	d, err := handMethod.Call(ctx, m.c, &Parcel{ID: n, Object: ref})
	first = firstSent()
	if err != nil {
		return 0, 0, err
	}
	return first, time.Duration(d.AtNanos), d.check(n, want, m.s.copied)
}

// watchFirst returns a function that tells when the first bytes of an object have left the client since then, 0 if none
// have. It must be called.
func (m mycelClient) watchFirst() (firstSent func() time.Duration) {
	before, ended := m.s.near.Stats().BytesOut, make(chan struct{})
	sent := make(chan time.Duration, 1) // one value is sent
	go func() {                         // ends when bytes leave, or with ended; firstSent waits
		for m.s.near.Stats().BytesOut == before {
			select {
			case <-ended:
				sent <- 0
				return
			case <-time.After(50 * time.Microsecond):
			}
		}
		sent <- clock()
	}()
	return func() time.Duration {
		close(ended)
		return <-sent
	}
}

// watch fails the calls when objects took another way than the memory, or than the streams.
func (m mycelClient) watch() func(calls uint64) error {
	near, far := m.s.near.Stats(), m.s.far.Stats()
	return func(calls uint64) error {
		shared, streamed := m.s.far.Stats().SharedIn-far.SharedIn, m.s.far.Stats().StreamedIn-far.StreamedIn
		served := m.s.near.Stats().StreamedOut - near.StreamedOut
		if m.s.shared && (shared != int64(calls) || streamed != 0 || served != 0) ||
			!m.s.shared && (shared != 0 || streamed != int64(calls)) {
			return fmt.Errorf("bench: of %d objects %d came in shared memory and %d as streams", calls, shared, streamed)
		}
		return nil
	}
}
