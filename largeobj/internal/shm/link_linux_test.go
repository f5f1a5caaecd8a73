//go:build amd64 || arm64

package shm

import (
	"testing"
)

func TestABlockIsReadByThePeer(t *testing.T) {
	c, s := newPair(t, newArena(t, ArenaConfig{}), newArena(t, ArenaConfig{}), LinkConfig{})
	for _, way := range []struct {
		name     string
		from, to *Link
	}{{"client to server", c, s}, {"server to client", s, c}} {
		t.Run(way.name, func(t *testing.T) {
			b := newBlock(t, way.from.arena, 100_000)
			fill(b.Bytes(), 1)
			h, err := way.from.Lease(t.Context(), b, 0, 100_000)
			if err != nil {
				t.Fatal(err)
			}
			le, err := way.to.Open(h)
			if err != nil {
				t.Fatal(err)
			}
			b.Release()
			if !filled(le.Bytes(), 1) || len(le.Bytes()) != 100_000 || le.Sealed() || !le.Valid() {
				t.Error("the peer reads something else")
			}
			if got := way.from.arena.Stats().Blocks; got != 1 {
				t.Errorf("%d blocks are in use during the lease", got)
			}
			le.Release()
			le.Release()
			way.from.sweep()
			if got := way.from.arena.Stats().Blocks; got != 0 {
				t.Errorf("%d blocks are in use after the lease", got)
			}
		})
	}
}
