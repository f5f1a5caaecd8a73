package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

const (
	hugeBytes = 256 << 20
	// smallCall is what handovers are compared with.
	smallCall = "small-call"
)

var (
	errNoObjects = errors.New("bench: the transport has no objects")

	objectTransports = []string{candidate, "mycel-copy", mycelStreams, "wss"}
	hugeTransports   = append([]string{quicRaw}, objectTransports...)
)

// handOvers makes a case of workers that hand objects over, one way.
func handOvers(sizeBytes, workers int, only []string) benchCase {
	return benchCase{
		row:  rowKey{Scenario: "large", SizeBytes: sizeBytes, Concurrency: workers},
		only: only,
		first: func(ctx context.Context, r *round) (int64, error) {
			h, ok := r.client.(hander)
			if !ok {
				return 0, errNoObjects
			}
			if err := h.ready(ctx); err != nil {
				return 0, err
			}
			return peakOf(ctx, h, sizeBytes, workers)
		},
		measure: func(ctx context.Context, r *round) ([]measurement, error) {
			h := r.client.(hander)
			watched := h.watch()
			var first, last histogram
			m, err := closedLoop(ctx, r.endpoint, workers, r.duration, func() operation {
				return func(ctx context.Context, n uint64) (uint64, error) {
					start := clock()
					f, l, err := h.hand(ctx, n, sizeBytes)
					if workers == 1 && err == nil {
						last.record(l - start)
						if f > 0 {
							first.record(f - start)
						}
					}
					return 1, err
				}
			})
			m.first, m.last = first, last
			return []measurement{m}, errors.Join(err, watched(m.calls))
		},
	}
}

// handoverLatency makes a case of one caller whose requests refer to objects that are in shared memory already, in turns
// with small calls: one row of both for each size.
func handoverLatency(sizes ...int) benchCase {
	const slices = 4 // of a round, so that what disturbs the machine for a while disturbs all kinds of calls
	return benchCase{
		row:  rowKey{Scenario: "handover", SizeBytes: sizes[0], Concurrency: 1},
		only: []string{candidate},
		first: func(ctx context.Context, r *round) (int64, error) {
			return 0, r.client.(mycelClient).ready(ctx)
		},
		measure: func(ctx context.Context, r *round) ([]measurement, error) {
			c := r.client.(mycelClient)
			operations := []operation{smallEcho(c, smallBytes)}
			for _, size := range sizes {
				peek, release, err := c.peek(ctx, size)
				if err != nil {
					return nil, err
				}
				defer release()
				operations = append(operations, peek)
			}
			ms := make([]measurement, len(operations))
			watched := c.watch()
			for range slices {
				for i, do := range operations {
					m, err := closedLoop(ctx, r.endpoint, 1, r.duration/time.Duration(slices*len(operations)), func() operation { return do })
					if err != nil {
						return nil, err
					}
					ms[i].add(&m)
				}
			}
			var out []measurement
			calls := uint64(0)
			for i, size := range sizes {
				object, small := ms[i+1], ms[0]
				object.row = rowKey{Scenario: r.row.Scenario, SizeBytes: size, Concurrency: 1}
				small.row = object.row
				small.row.Transport = smallCall
				object.unmoved, small.unmoved = true, true
				calls += object.calls
				out = append(out, object, small)
			}
			return out, watched(calls)
		},
	}
}

// peek makes an object and returns an operation that hands it over to a handler that reads its first bytes.
func (m mycelClient) peek(ctx context.Context, sizeBytes int) (do operation, release func(), err error) {
	o, err := m.s.near.Create(ctx, int64(sizeBytes))
	if err != nil {
		return nil, nil, err
	}
	b := o.Bytes()[:endBytes]
	binary.LittleEndian.PutUint64(b, uint64(sizeBytes))
	q, want := Parcel{Object: o.Freeze()}, sum(b)
	return func(ctx context.Context, n uint64) (uint64, error) {
		q.ID = n
		d, err := peekMethod.Call(ctx, m.c, &q)
		if err == nil && (d.ID != n || d.Head != want || d.SizeBytes != int64(sizeBytes)) {
			err = fmt.Errorf("%w: %+v", errDigest, d)
		}
		return 1, err
	}, o.Release, nil
}
