package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// scenario is a question that the report answers with one or more rows.
type scenario struct {
	name  string // as given to -scenario
	about string // one sentence for -list
	cases []benchCase
	// run measures instead of cases what the transports have no part in, and adds it to the report.
	run func(context.Context, *plan, *report) error
	// named scenarios run only when -scenario names them.
	named bool
}

// benchCase is measured by all transports in turn.
type benchCase struct {
	row rowKey // without the transport
	// measure runs one round of about the given duration.
	measure func(context.Context, *round) ([]measurement, error)
	// first is called once for each transport before everything else. It returns how much memory the process had at most
	// above what it had before, 0 if that is not measured. It may be nil.
	first func(context.Context, *round) (peakBytes int64, err error)
	// named cases run only when -scenario names their scenario: they take long.
	named bool
	// only names the transports that take part; nil means all that are not for objects.
	only []string
}

// takes reports whether the transport has a part in the case.
func (c *benchCase) takes(t transport) bool {
	if c.only == nil {
		return !t.objects
	}
	return slices.Contains(c.only, t.name)
}

// round is what a case needs to run.
type round struct {
	row      rowKey
	endpoint endpoint
	client   caller // connected
	duration time.Duration
}

const (
	smallBytes  = 100 // of content
	tickBytes   = 50  // of content
	bulkBytes   = 1 << 20
	bulkWorkers = 4

	mixedInterval = 2 * time.Millisecond // 500 small calls per second
	// mixedDuration is the least that gives a 99th percentile of calls at that interval a meaning.
	mixedDuration = 400 * time.Millisecond
)

func scenarios() []scenario {
	return []scenario{
		{name: "small", about: "Unary echo of a record of about 100 bytes, by 1, 64 and 1024 concurrent callers.", cases: []benchCase{
			calls("small", smallBytes, 1, smallEcho),
			calls("small", smallBytes, 64, smallEcho),
			calls("small", smallBytes, 1024, smallEcho),
		}},
		{name: "medium", about: "Unary echo of nested records, texts and columns of floats, 16 and 100 KiB, by 64 callers.", cases: []benchCase{
			calls("medium", 16<<10, 64, mediumEcho),
			calls("medium", 100<<10, 64, mediumEcho),
		}},
		{name: "medium-bytes", about: "Unary echo of as many random bytes.", cases: []benchCase{
			calls("medium-bytes", 16<<10, 64, bytesEcho),
			calls("medium-bytes", 100<<10, 64, bytesEcho),
		}},
		{name: "large-message", about: "Unary echo of 1 and 4 MiB of random bytes in ordinary messages by 4 callers; each call moves them there and back.", cases: []benchCase{
			calls("large-message", 1<<20, 4, bytesEcho),
			calls("large-message", 4<<20, 4, bytesEcho),
		}},
		{name: "stream", about: "Messages of about 50 bytes and of 1 KiB from the server, as fast as one stream carries them.", cases: []benchCase{
			messages(tickBytes, readTicks),
			messages(1<<10, readBlobs),
		}},
		{name: "mixed", about: "500 small calls per second, timed from when they were due, idle and beside 4 callers that echo 1 MiB.", cases: []benchCase{
			mixed(0),
			mixed(bulkWorkers),
		}},
		{name: "connect", about: "Dial and first small call, with a full handshake and with a resumed session.", cases: []benchCase{
			connect("connect-cold", false),
			connect("connect-resumed", true),
		}},
		{name: "large", about: "Objects of 1 and 16 MiB handed over one way by 4 callers to a handler that looks at every page; when named, of 256 MiB by 1 too.", cases: []benchCase{
			handOvers(1<<20, 4, objectTransports),
			handOvers(16<<20, 4, objectTransports),
			onlyNamed(handOvers(hugeBytes, 1, hugeTransports)),
		}},
		{name: "handover", about: "Calls that refer to an object of 1 and 256 MiB in shared memory, in turns with calls of 100 bytes.", cases: []benchCase{
			handoverLatency(1<<20, hugeBytes),
		}},
		{name: "codec", about: "Encode and decode the same messages with several libraries, without a network; only when named.",
			run: runCodecs, named: true},
		{name: "transfer", about: "1 GiB from a file to a file over streams, at once and interrupted at 60 %; only when named.",
			run: runTransfer, named: true},
		{name: "content", about: "Messages that resemble each other, repeat, or are text, columns or noise, on loopback and on a link of 10 Mbit/s; only when named.",
			run: runContent, named: true},
		{name: "wan", about: "Small calls, bulk and connecting over emulated links of 100 Mbit/s, 1 to 100 ms and 0 to 3 % loss; only when named.",
			run: runWAN, named: true},
		{name: "mixed-wan", about: "Small calls alone and beside bulk that fills a link of 100 Mbit/s and 20 ms, whose queue has 256 KiB and 2 MiB; only when named.",
			run: runMixedWAN, named: true},
		{name: "connections", about: "As many idle connections as -clients says, and one message to all of them; server and clients in processes of their own; only when named.",
			run: runConnections, named: true},
		{name: "failover", about: "2000 idempotent calls per second while one of three servers is killed, cut off or replaced; only when named.",
			run: runFailover, named: true},
	}
}

func onlyNamed(c benchCase) benchCase {
	c.named = true
	return c
}

// calls makes a case of workers that call in a closed loop.
func calls(name string, sizeBytes, workers int, newOperation func(caller, int) operation) benchCase {
	return benchCase{row: rowKey{Scenario: name, SizeBytes: sizeBytes, Concurrency: workers},
		// An answer shows that both sides know each other's limits: until then, those of messages are the defaults.
		first: func(ctx context.Context, r *round) (int64, error) {
			_, err := smallEcho(r.client, smallBytes)(ctx, 0)
			return 0, err
		},
		measure: func(ctx context.Context, r *round) ([]measurement, error) {
			m, err := closedLoop(ctx, r.endpoint, workers, r.duration, func() operation { return newOperation(r.client, sizeBytes) })
			return []measurement{m}, err
		}}
}

var errEcho = errors.New("bench: the answer is not what was sent")

// The echo operations keep their request, so that the harness allocates nothing per call.

func smallEcho(c caller, _ int) operation {
	var q Small
	return func(ctx context.Context, n uint64) (uint64, error) {
		q = samples().small[n%uint64(len(samples().small))]
		q.ID = n
		p, err := c.small(ctx, &q)
		if err == nil && (p.ID != n || p.Email != q.Email || len(p.Tags) != len(q.Tags)) {
			err = errEcho
		}
		return 1, err
	}
}

func mediumEcho(c caller, sizeBytes int) operation {
	var q Medium
	from := samples().mediumOf(sizeBytes)
	return func(ctx context.Context, n uint64) (uint64, error) {
		q = from[n%uint64(len(from))]
		q.ID = n
		p, err := c.medium(ctx, &q)
		if err == nil && (p.ID != n || len(p.Events) != len(q.Events) || lastValue(p) != lastValue(&q)) {
			err = errEcho
		}
		return 1, err
	}
}

func lastValue(m *Medium) float64 {
	if len(m.Columns) == 0 {
		return -1
	}
	values := m.Columns[len(m.Columns)-1].Values
	return values[len(values)-1]
}

func bytesEcho(c caller, sizeBytes int) operation { return echoBytes(c.bytes, sizeBytes) }
func bulkEcho(c caller, sizeBytes int) operation  { return echoBytes(c.bulk, sizeBytes) }

func echoBytes(call func(context.Context, *Bytes) (*Bytes, error), sizeBytes int) operation {
	const compared = 64 // bytes at the end: a thorough comparison would be part of the result
	var q Bytes
	return func(ctx context.Context, n uint64) (uint64, error) {
		q.ID, q.Data = n, samples().bytes(n, sizeBytes)
		p, err := call(ctx, &q)
		if err == nil && (p.ID != n || len(p.Data) != sizeBytes || !bytes.Equal(p.Data[sizeBytes-compared:], q.Data[sizeBytes-compared:])) {
			err = errEcho
		}
		return 1, err
	}
}

// messages makes a case of one consumer that reads streams one after the other.
func messages(sizeBytes int, newOperation func(caller, int) operation) benchCase {
	c := calls("stream", sizeBytes, 1, newOperation)
	measure := c.measure
	c.measure = func(ctx context.Context, r *round) ([]measurement, error) {
		ms, err := measure(ctx, r)
		for i := range ms {
			ms[i].latency = histogram{} // that of whole streams, which nobody asked for
		}
		return ms, err
	}
	return c
}

func readTicks(c caller, _ int) operation {
	return func(ctx context.Context, _ uint64) (uint64, error) {
		return readAll(c.ticks, ctx, 8000, func(t *Tick) uint64 { return t.Seq })
	}
}

func readBlobs(c caller, sizeBytes int) operation {
	return func(ctx context.Context, _ uint64) (uint64, error) {
		open := func(ctx context.Context, q *StreamRequest) iter.Seq2[*Bytes, error] {
			q.SizeBytes = uint32(sizeBytes)
			return c.blobs(ctx, q)
		}
		return readAll(open, ctx, 4000, func(b *Bytes) uint64 { return b.ID })
	}
}

func readAll[T any](open func(context.Context, *StreamRequest) iter.Seq2[*T, error], ctx context.Context, count uint32, seq func(*T) uint64) (uint64, error) {
	var received uint64
	for v, err := range open(ctx, &StreamRequest{Count: count}) {
		if err != nil {
			return received, err
		}
		if seq(v) != received {
			return received, fmt.Errorf("bench: message %d of a stream is number %d", received, seq(v))
		}
		received++
	}
	if received != uint64(count) {
		return received, fmt.Errorf("bench: stream ended after %d of %d messages", received, count)
	}
	return received, nil
}

// mixed makes a case of small calls at a fixed rate beside callers that saturate the same client. It gives two rows:
// "mixed" has the latency of the small calls, "mixed-bulk" the throughput and latency of the large ones.
func mixed(bulk int) benchCase {
	row := rowKey{Scenario: "mixed", SizeBytes: smallBytes, Concurrency: bulk}
	return benchCase{row: row, measure: func(ctx context.Context, r *round) ([]measurement, error) {
		d := max(r.duration, mixedDuration)
		type result struct {
			m   measurement
			err error
		}
		background := make(chan result, 1) // one result is sent
		if bulk > 0 {
			go func() { // ends after d; the receive below waits
				m, err := closedLoop(ctx, r.endpoint, bulk, d, func() operation { return bulkEcho(r.client, bulkBytes) })
				m.row = rowKey{Scenario: "mixed-bulk", SizeBytes: bulkBytes, Concurrency: bulk}
				background <- result{m, err}
			}()
		}
		small, err := openLoop(ctx, mixedInterval, d, sleepPrecisely, func(ctx context.Context, n uint64) (uint64, error) {
			return smallEcho(r.client, smallBytes)(ctx, n)
		})
		small.row = row
		if bulk == 0 {
			return []measurement{small}, err
		}
		large := <-background
		return []measurement{small, large.m}, errors.Join(err, large.err)
	}}
}

// connect makes a case of clients that connect one after the other.
func connect(name string, resume bool) benchCase {
	return benchCase{row: rowKey{Scenario: name, SizeBytes: smallBytes, Concurrency: 1},
		measure: func(ctx context.Context, r *round) ([]measurement, error) {
			var latency histogram
			m, err := closedLoop(ctx, r.endpoint, 1, r.duration, func() operation {
				return func(ctx context.Context, n uint64) (uint64, error) {
					start := time.Now()
					c, err := r.endpoint.dial(ctx, resume)
					if err != nil {
						return 0, err
					}
					_, err = smallEcho(c, smallBytes)(ctx, n)
					latency.record(time.Since(start)) // without the end of the connection
					return 1, errors.Join(err, c.close())
				}
			})
			m.latency = latency
			return []measurement{m}, err
		}}
}
