package framework

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mycel-rpc/mycel/pool"
)

// Hedge lets a unary call of an [Idempotent] method be made a second time, elsewhere, when no answer has come within Delay, and so on
// until there are Max calls at once. The first answer counts and the others are canceled. (J. Dean and L. A. Barroso, The tail
// at scale, 2013.) Choose the delay so that few calls take longer, for example the 95th percentile; hedges are also bounded by ClientConfig.RetryShare.
// Calls of other kinds and methods are never hedged, nor those whose messages refer to large objects: nobody would release those in
// an answer that does not count.
type Hedge struct {
	// Delay is how long to wait for an answer before another call is made. It must be positive.
	Delay time.Duration
	// Max is how many calls there may be at once, the first included, 2 to 5. 0 means 2.
	Max int
}

const maxHedges = 5

// check reports what is out of range.
func (h *Hedge) check() error {
	switch {
	case h == nil:
		return nil
	case h.Delay <= 0:
		return fmt.Errorf("Hedge.Delay is %v, want a positive duration", h.Delay)
	case h.Max != 0 && h.Max < 2 || h.Max > maxHedges:
		return fmt.Errorf("Hedge.Max is %d, want 2 to %d, or 0 for 2", h.Max, maxHedges)
	}
	return nil
}

// WithHedge sets the hedging of a method, when it is declared, or of a single call.
func WithHedge(h Hedge) HedgeOption { return HedgeOption{h} }

// HedgeOption is the result of [WithHedge].
type HedgeOption struct{ hedge Hedge }

func (o HedgeOption) applyMethod(s *spec)      { s.info.hedge = &o.hedge }
func (o HedgeOption) applyCall(c *callOptions) { c.hedge = &o.hedge }

// A hedgedCall is a unary call that may be made several times at once.
type hedgedCall struct {
	ctx     context.Context
	cancel  context.CancelFunc // ends what is left of the attempts
	info    *CallInfo
	client  *Client
	request any
	results chan hedgeResult // capacity: every attempt sends one
	wg      sync.WaitGroup   // the attempts; Close waits, because they read the request

	mu struct {
		sync.Mutex
		avoid           []*pool.Health // where attempts are running
		header, trailer Metadata       // of the one that counts
	}
}

type hedgeResult struct {
	rsp             any
	err             error
	header, trailer Metadata
}

func openHedged(ctx context.Context, info *CallInfo, c *Client) (Stream, error) {
	h := &hedgedCall{info: info, client: c, results: make(chan hedgeResult, maxHedges)}
	h.ctx, h.cancel = context.WithCancel(ctx)
	return h, nil
}

func (h *hedgedCall) Send(msg any) error {
	if h.request != nil {
		return Errorf(FailedPrecondition, "%s: the call takes one request", h.info.Method)
	}
	h.request = msg
	h.attempt()
	return nil
}

// attempt makes the call once more, on a goroutine that ends with the call; Close waits for it.
func (h *hedgedCall) attempt() {
	h.wg.Go(func() {
		s, err := openCall(h.ctx, h.info, h.client)
		if err != nil {
			h.results <- hedgeResult{err: err}
			return
		}
		defer finishUnary(s)
		c := s.(*clientCall)
		h.mu.Lock()
		c.avoid = append(c.avoid, h.mu.avoid...)
		h.mu.Unlock()
		r := hedgeResult{rsp: h.info.spec.newRsp()}
		if r.err = s.Send(h.request); r.err == nil {
			h.mu.Lock()
			h.mu.avoid = appendHealth(h.mu.avoid, c.conn)
			h.mu.Unlock()
			r.err = s.Recv(r.rsp)
		}
		r.header, r.trailer = s.Header(), s.Trailer()
		h.results <- r
	})
}

func (h *hedgedCall) CloseSend() error { return nil }

// Recv waits for the first answer. An error that another attempt may not have met is only returned when all have failed.
func (h *hedgedCall) Recv(msg any) error {
	if h.request == nil {
		return Errorf(FailedPrecondition, "%s: the request has not been sent", h.info.Method)
	}
	limit := h.info.hedge.Max
	if limit == 0 {
		limit = 2
	}
	timer := time.NewTimer(h.info.hedge.Delay)
	defer timer.Stop()
	r := &h.client.retry
	for made, open := 1, 1; ; {
		var more <-chan time.Time
		if made < limit {
			more = timer.C
		}
		select {
		case got := <-h.results:
			open--
			if got.err != nil && open > 0 && r.policyOf(h.info).helps(CodeOf(got.err)) {
				continue
			}
			h.cancel()
			h.mu.Lock()
			h.mu.header, h.mu.trailer = got.header, got.trailer
			h.mu.Unlock()
			if got.err == nil {
				h.info.spec.setRsp(msg, got.rsp)
			} else if got.err == io.EOF {
				return io.EOF
			}
			return got.err
		case <-more:
			if !r.budget.take(time.Now()) {
				limit = made
				continue
			}
			made++
			open++
			h.attempt()
			timer.Reset(h.info.hedge.Delay)
		}
	}
}

func (h *hedgedCall) Header() Metadata {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.header
}

func (h *hedgedCall) Trailer() Metadata {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.trailer
}

func (h *hedgedCall) Close(error) {
	h.cancel()
	h.wg.Wait()
}

// WithKey makes calls with the same key go to the same server, from all clients alike, as long as that can be reached and its calls do not fail: for
// caches, and for servers that keep state. When servers come or go, few keys move.
func WithKey(key string) CallOption { return callOption(func(o *callOptions) { o.key = key }) }
