package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// A Fetcher asks the sending side for ranges. It is called by several goroutines at once.
type Fetcher interface {
	// Fetch starts a request whose other end is [Serve]. ranges are as Serve wants them. What it returns must end
	// with ctx, also while it waits in Next.
	Fetch(ctx context.Context, ranges []Range) (Chunks, error)
}

// Chunks are the answer to one request, for one goroutine.
type Chunks interface {
	// Next reads the next chunk into c. It decodes the data into the capacity of c.Data and the hash into that of
	// c.Leaf when they fit; otherwise they are valid until the next call. It sets every field, and returns io.EOF
	// when Serve has returned without error.
	Next(c *Chunk) error
	// Close ends the request.
	Close()
}

// Options of [Receive]. Everything has a default for zero.
type Options struct {
	// MaxStreams bounds the requests at the same time, 1 to 64. Default 8. There are FirstStreams at first, 1 to MaxStreams and
	// 1 by default, and more while that raises the goodput.
	MaxStreams, FirstStreams int
	// MaxBytes bounds the object. Default and largest value 64 TiB ([MaxSize]).
	MaxBytes int64
	// Progress is called by the goroutine that called Receive, at most 10 times a second and once at the end, also of
	// a transfer that failed. What it waits for delays nothing but the end and the choice of the number of streams.
	Progress func(Progress)
	// Retry says what happens when a request fails.
	Retry Retry
	// Unverified accepts leaves without looking at their hashes.
	Unverified bool
}

// Retry says how often requests are repeated that failed because the connection was lost. Only what is missing is asked
// for again.
type Retry struct {
	// Lost reports whether the error of a Fetcher means that another attempt may succeed. Default: no error does.
	Lost func(error) bool
	// Attempts is how many requests of a stream may fail in a row without a complete leaf in between. Default 5.
	Attempts int
	// Wait is the time before the first repetition, which doubles with each further one up to MaxWait.
	// Defaults 200 ms and 5 s.
	Wait, MaxWait time.Duration
}

// Progress is how far a transfer is.
type Progress struct {
	Done  int64   // verified bytes, with those of earlier transfers that are resumed
	Total int64   // -1 while it is not known
	Rate  float64 // verified bytes per second, lately
}

func (o Options) withDefaults() (Options, error) {
	setDefault(&o.MaxStreams, 8)
	setDefault(&o.FirstStreams, 1)
	setDefault(&o.MaxBytes, MaxSize)
	setDefault(&o.Retry.Attempts, 5)
	setDefault(&o.Retry.Wait, 200*time.Millisecond)
	setDefault(&o.Retry.MaxWait, max(5*time.Second, o.Retry.Wait))
	switch {
	case o.MaxStreams < 1 || o.MaxStreams > 64:
		return o, fmt.Errorf("transfer: Options.MaxStreams is %d, want 1 to 64, or 0 for 8", o.MaxStreams)
	case o.FirstStreams < 1 || o.FirstStreams > o.MaxStreams:
		return o, fmt.Errorf("transfer: Options.FirstStreams is %d, want 1 to %d (MaxStreams), or 0 for 1", o.FirstStreams, o.MaxStreams)
	case o.MaxBytes < 0 || o.MaxBytes > MaxSize:
		return o, fmt.Errorf("transfer: Options.MaxBytes is %d, want 1 to %d, or 0 for that", o.MaxBytes, int64(MaxSize))
	case o.Retry.Attempts < 0 || o.Retry.Wait < 0 || o.Retry.MaxWait < o.Retry.Wait:
		return o, fmt.Errorf("transfer: Options.Retry is %d attempts, wait %v to %v; want positive ones, or 0 for the defaults",
			o.Retry.Attempts, o.Retry.Wait, o.Retry.MaxWait)
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Receive brings an object to a destination: what the destination does not have already. It returns nil when the object is
// complete and verified, and complete on disk for a file. After an error the destination keeps what was verified, for
// another Receive.
//
// Each stream has a goroutine that reads and one that verifies; all have ended when Receive returns.
//
// Errors: *[ProtocolError] for a peer that violates the rules of [Chunk], which is not tried again; *[CorruptError];
// *[LimitError] for an object larger than MaxBytes; *[SpaceError]; those of the Fetcher, wrapped; the cause of ctx.
func Receive(ctx context.Context, m Manifest, f Fetcher, dst Destination, o Options) (err error) {
	if o, err = o.withDefaults(); err != nil {
		return err
	}
	if m, err = m.withDefaults(); err != nil {
		return err
	}
	if m.Size > o.MaxBytes {
		return &LimitError{"bytes of an object (Options.MaxBytes)", o.MaxBytes, m.Size}
	}
	have, size, err := dst.begin(m)
	if err != nil {
		return err
	}
	m.Size = size
	r := &receiver{m: m, fetcher: f, dst: dst, o: o}
	r.mu.size, r.mu.have, r.mu.corrupt = size, have, map[int64]bool{}
	err = r.start()
	if err == nil {
		err = r.run(ctx)
	}
	return errors.Join(err, dst.end(r.knownSize(), err == nil))
}

// receiver is one call of Receive.
type receiver struct {
	m        Manifest // Size may be -1: mu.size is the newest
	fetcher  Fetcher
	dst      Destination
	o        Options
	received atomic.Int64 // bytes of all chunks
	lost     atomic.Int64 // requests that failed
	mu       struct {
		sync.Mutex
		size    int64          // -1 while unknown
		have    RangeSet       // verified leaves
		todo    RangeSet       // neither verified nor being fetched; empty while the size is unknown
		corrupt map[int64]bool // leaves that were corrupt once
		running int            // streams
		target  int            // streams there should be, 1 at least
		rate    float64        // bytes per second of one stream, 0 while unknown
	}
}

// start finds out what is missing.
func (r *receiver) start() error {
	if r.mu.size < 0 {
		return nil
	}
	for _, missing := range r.mu.have.Missing(Range{0, r.mu.size}) {
		if err := r.mu.todo.Add(missing); err != nil {
			return err
		}
	}
	return nil
}

// complete reports whether nothing is missing.
func (r *receiver) complete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.size >= 0 && r.mu.have.Bytes() == r.mu.size
}

// run runs streams until nothing is missing.
func (r *receiver) run(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	p := newProgress(r)
	defer p.report()
	if r.complete() {
		return nil
	}
	streamCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		ended  = make(chan error) // one for each stream; received below until none runs
		ticker = time.NewTicker(tick)
		adapt  = newAdapter(r.o.FirstStreams, r.o.MaxStreams, time.Now())
		first  error // the first error of a stream
	)
	defer ticker.Stop()
	r.mu.target = adapt.streams
	for running := 0; ; {
		for first == nil && r.wantsStream(running) {
			running++
			go func() { ended <- r.stream(streamCtx) }() // ends when there is nothing to fetch, or with streamCtx
		}
		if running == 0 {
			break
		}
		select {
		case err := <-ended:
			running--
			if err != nil && first == nil {
				first = err
				cancel(err)
			}
		case now := <-ticker.C:
			p.tick(now)
			r.adapt(adapt, now)
		}
	}
	switch {
	case first != nil:
		return first
	case !r.complete():
		panic("transfer: no stream runs and something is missing")
	}
	return nil
}

// wantsStream reports whether one more stream should be started; if so, it counts as running.
func (r *receiver) wantsStream(running int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	something := len(r.mu.todo.list) > 0 || r.mu.size < 0 && running == 0
	if !something || r.mu.running >= r.mu.target {
		return false
	}
	r.mu.running++
	return true
}

// adapt sets the number of streams by the goodput of the last interval.
func (r *receiver) adapt(a *adapter, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.size < 0 || len(r.mu.todo.list) == 0 {
		return // one stream only, or the end
	}
	if a.tick(now, r.received.Load(), r.lost.Load()) {
		r.mu.target = a.streams
		r.mu.rate = a.goodput / float64(max(r.mu.running, 1))
	}
}

const (
	firstRunLeaves = 4               // of a stream whose rate is not known yet
	runTime        = 2 * time.Second // what a later run should take
)

// next returns the ranges of the next run of a stream. They are empty, and the stream does not count as running any more,
// when there is nothing to do for it.
func (r *receiver) next() []Range {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.size < 0 {
		return []Range{{r.mu.have.Prefix(), -1}} // in sequence, to wherever the end is; have has no gap
	}
	todo := r.mu.todo.Bytes()
	if todo == 0 || r.mu.running > r.mu.target {
		r.mu.running--
		return nil
	}
	leaves := int64(firstRunLeaves)
	if r.mu.rate > 0 {
		leaves = max(1, int64(r.mu.rate*runTime.Seconds())/r.m.Leaf)
	}
	if r.mu.running > 1 { // the others should not wait for the last one
		share := todo / int64(r.mu.running)
		leaves = min(leaves, max(1, share/r.m.Leaf))
	}
	return r.mu.todo.take(leaves * r.m.Leaf)
}

// giveBack makes what is missing of ranges work to be done again.
func (r *receiver) giveBack(ranges []Range) error {
	if size := r.knownSize(); ranges[0].Length < 0 {
		if size < 0 {
			return nil
		}
		if err := r.dst.grow(size); err != nil { // from now on, several streams may write
			return err
		}
		ranges[0].Length = size - ranges[0].Offset
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, part := range ranges {
		for _, missing := range r.mu.have.Missing(part) {
			if err := r.mu.todo.Add(missing); err != nil {
				return err
			}
		}
	}
	return nil
}

// setSize is called with the size that a chunk says, by which the object ends at end or behind it.
func (r *receiver) setSize(size, end int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case size < unknown:
		return &ProtocolError{"the size of an object is -1 or more", unknown, size}
	case max(size, end) > r.o.MaxBytes:
		return &LimitError{"bytes of an object (Options.MaxBytes)", r.o.MaxBytes, max(size, end)}
	case size == unknown:
	case r.mu.size < 0:
		r.mu.size = size
	case size != r.mu.size:
		return &ProtocolError{"the size of an object does not change", r.mu.size, size}
	}
	if r.mu.size >= 0 && end > r.mu.size {
		return &ProtocolError{"chunks end within the object", r.mu.size, end}
	}
	return nil
}

func (r *receiver) knownSize() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.size
}

// verified is called when a leaf is at the destination and has the right hash.
func (r *receiver) verified(leaf Range) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.mu.have.Add(leaf); err != nil {
		return err
	}
	delete(r.mu.corrupt, leaf.Offset/r.m.Leaf)
	r.dst.verified(r.mu.have.Clone(), r.mu.size)
	return nil
}

// errAgain ends a request that has to be repeated.
var errAgain = errors.New("transfer: fetch again")

// corrupted is called when a leaf has the wrong hash. The second time it is an error; while the size is unknown the first
// time ends the request, so that no leaf behind is verified.
func (r *receiver) corrupted(leaf Range) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	index := leaf.Offset / r.m.Leaf
	if r.mu.corrupt[index] {
		return &CorruptError{r.m.ID, index}
	}
	r.mu.corrupt[index] = true
	if r.mu.size < 0 {
		return errAgain
	}
	return nil
}
