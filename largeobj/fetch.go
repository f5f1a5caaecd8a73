package largeobj

import (
	"context"

	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// A Peer makes the calls that objects need to the other side of a connection; package framework implements it.
type Peer interface {
	// Fetch starts a fetch from the peer.
	Fetch(ctx context.Context, q *FetchRequest) (Chunks, error)
	// Release tells the peer that objects are no longer needed here.
	Release(ctx context.Context, q *ReleaseRequest) error
}

// FetchRequest asks for ranges of an object.
type FetchRequest struct {
	Key    Key              `cbor:"key"`
	Ranges []transfer.Range `cbor:"ranges"`
}

// ReleaseRequest says which objects the sender no longer needs. A key may repeat: each reference counts.
type ReleaseRequest struct {
	Keys []Key `cbor:"keys"`
}

// Chunk is a piece of an object; Chunks is a running fetch.
type (
	Chunk  = transfer.Chunk
	Chunks = transfer.Chunks
)

// Serve sends the ranges of an object that somebody asks for, until ctx ends. Whoever knows the key may fetch.
// It fails with [ErrUnknown] when nobody holds the object here.
func (s *Store) Serve(ctx context.Context, q *FetchRequest, send func(*Chunk) error) error {
	c := s.lookup(q.Key)
	if c == nil {
		return ErrUnknown
	}
	defer s.unhold(c)
	if err := c.fetch(ctx, nil); err != nil { // passed on from a third peer
		return err
	}
	src, leaves := c.serveFrom()
	s.stats.streamedOut.Add(1)
	return transfer.Serve(ctx, src, leaves, q.Ranges, func(ch *Chunk) error {
		s.stats.bytesOut.Add(int64(len(ch.Data)))
		return send(ch)
	})
}

// fetcher fetches an object of the peer.
func (s *Session) fetcher(k Key) transfer.Fetcher { return peerFetcher{s, k} }

type peerFetcher struct {
	s *Session
	k Key
}

func (f peerFetcher) Fetch(ctx context.Context, ranges []transfer.Range) (transfer.Chunks, error) {
	return f.s.peer.Fetch(ctx, &FetchRequest{Key: f.k, Ranges: ranges})
}
