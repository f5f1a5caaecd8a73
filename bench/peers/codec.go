package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/mycel-rpc/mycel/bench/peers/codecs"
)

const (
	codecEncode = "codec-encode"
	codecDecode = "codec-decode"
)

// runCodecs lets the codecs of each message take turns, round by round, as runCase does with transports: first to
// encode it, then to decode it. It ends early when ctx does, with the complete messages.
func runCodecs(ctx context.Context, p *plan, r *report) error {
	messages, err := codecs.Messages()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	live := samples() // see "What is measured"
	defer runtime.KeepAlive(live)
	for _, m := range messages {
		for _, row := range []rowKey{{Scenario: codecEncode}, {Scenario: codecDecode}} {
			row.Message, row.SizeBytes, row.Concurrency = m.Name, m.Codecs[0].EncodedBytes(), 1
			if err := p.runMessage(ctx, row, m.Codecs, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// runMessage measures one direction of one message and adds its rows to the report.
func (p *plan) runMessage(ctx context.Context, row rowKey, cs []codecs.Codec, r *report) error {
	start := time.Now()
	var contenders []*codecContender
	for i := range cs {
		c := &codecContender{name: cs[i].Name, bytes: cs[i].EncodedBytes(), operation: cs[i].Decode}
		if row.Scenario == codecEncode {
			c.operation = cs[i].Encode
		}
		if row.Scenario == codecDecode || cs[i].Encodes() {
			contenders = append(contenders, c)
		}
	}
	if len(contenders) == 0 {
		return nil
	}
	for n := range p.rounds + 1 { // number 0 is for warming up
		d, first := p.duration, n%len(contenders)
		if n == 0 {
			d = p.warmup
		}
		for _, c := range slices.Concat(contenders[first:], contenders[:first]) {
			if ctx.Err() != nil {
				return stopped(ctx)
			}
			m, err := c.round(d)
			if err != nil {
				return fmt.Errorf("bench: %s, %s, %s: %w", row.Scenario, row.Message, c.name, err)
			}
			if n > 0 {
				c.measured = append(c.measured, m)
			}
		}
	}
	for _, c := range contenders {
		row.Transport = c.name
		for _, m := range c.measured {
			r.addRound(row, m)
		}
	}
	fmt.Fprintf(p.progress, "%-15s %-12s (%.1f s)\n", row.Scenario, row.Message, time.Since(start).Seconds())
	return nil
}

// codecContender is one direction of a codec while a message is measured.
type codecContender struct {
	name      string
	bytes     int
	operation func() error
	measured  []metrics
}

// round repeats the operation for about d, if d is larger than zero.
func (c *codecContender) round(d time.Duration) (metrics, error) {
	const batch = 128 // operations for each look at the clock, which takes as long as two of the fastest
	if d <= 0 {
		return metrics{}, nil
	}
	runtime.GC() // the garbage of the others is not this one's
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var n uint64
	var elapsed time.Duration
	for start := time.Now(); elapsed < d; elapsed = time.Since(start) {
		for range batch {
			if err := c.operation(); err != nil {
				return metrics{}, err
			}
		}
		n += batch
	}
	runtime.ReadMemStats(&after)
	count := float64(n)
	return metrics{
		NanosPerOp: float64(elapsed) / count,
		// Whole numbers: the operation does the same each time, and the runtime allocates a little beside it.
		AllocsPerCall:     math.Round(float64(after.Mallocs-before.Mallocs) / count),
		AllocBytesPerCall: math.Round(float64(after.TotalAlloc-before.TotalAlloc) / count),
		EncodedBytes:      float64(c.bytes),
	}, nil
}
