package framework

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/pool"
	"github.com/mycel-rpc/mycel/streams"
)

// RetryPolicy says when a call that may have been processed is made again: only if its method is declared [Idempotent], has
// one request, and nothing of the response has been received. Another endpoint is preferred. The first retry follows at once, later ones after
// a pause. It is both an option of a method, of a call, and part of [ClientConfig]; the most specific one counts, without mixing.
//
// Calls that surely were not processed ([Error.Unprocessed]) because an endpoint leaves or is full are made elsewhere at once,
// whatever the policy and the method.
type RetryPolicy struct {
	// MaxAttempts is how often a call is made at most, the first time included. 0 means 3, 1 turns retries off; at most 10.
	MaxAttempts int
	// Codes are the failures after which another attempt may help. nil means Unavailable.
	Codes []Code
	// Pause is how long the second retry waits, half of it at least and all of it at most; each further one waits twice as long, up to a
	// second. 0 means 10 ms.
	Pause time.Duration
}

const (
	defaultAttempts = 3
	maxRetries      = 10
	defaultPause    = 10 * time.Millisecond
	maxPause        = time.Second
)

// WithRetry sets the policy of a method, when it is declared, or of a single call.
func WithRetry(p RetryPolicy) RetryOption { return RetryOption{p} }

// RetryOption is the result of [WithRetry].
type RetryOption struct{ policy RetryPolicy }

func (o RetryOption) applyMethod(s *spec)      { s.info.retry = &o.policy }
func (o RetryOption) applyCall(c *callOptions) { c.retry = &o.policy }

// check reports what is out of range.
func (p *RetryPolicy) check() error {
	switch {
	case p == nil:
		return nil
	case p.MaxAttempts < 0 || p.MaxAttempts > maxRetries:
		return fmt.Errorf("RetryPolicy.MaxAttempts is %d, want 1 to %d, or 0 for %d", p.MaxAttempts, maxRetries, defaultAttempts)
	case p.Pause < 0:
		return fmt.Errorf("RetryPolicy.Pause is %v, want a positive duration or 0 for %v", p.Pause, defaultPause)
	}
	return nil
}

func (p *RetryPolicy) attempts() int {
	if p.MaxAttempts == 0 {
		return defaultAttempts
	}
	return p.MaxAttempts
}

func (p *RetryPolicy) helps(code Code) bool {
	if p.Codes == nil {
		return code == Unavailable
	}
	return slices.Contains(p.Codes, code)
}

// pause returns how long the given retry waits, of which the first is number 1.
func (p *RetryPolicy) pause(retry int) time.Duration {
	if retry <= 1 {
		return 0
	}
	d := p.Pause
	if d == 0 {
		d = defaultPause
	}
	d = min(d<<min(retry-2, 20), maxPause)
	return d/2 + rand.N(d/2+1)
}

// A retrier is what a client knows about making calls again.
type retrier struct {
	client *Client
	policy RetryPolicy
	budget retryBudget
}

// policyOf returns the policy of a call.
func (r *retrier) policyOf(info *CallInfo) *RetryPolicy {
	if info.retry != nil {
		return info.retry
	}
	return &r.policy
}

// A retryBudget keeps retries and hedges, over the last ten seconds or so, below a share of the calls and ten a second: when
// everything fails, there are not more attempts than that.
type retryBudget struct {
	share float64
	calls atomic.Int64 // since last

	mu struct {
		sync.Mutex
		last      time.Time
		pastCalls float64 // each counts for less the longer ago it was
		spent     float64
	}
}

const (
	budgetWindow = 10 * time.Second
	budgetRate   = 10 // a second, whatever the number of calls
)

// take reports whether another attempt may be made, and counts it.
func (b *retryBudget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := float64(b.calls.Swap(0))
	if !b.mu.last.IsZero() {
		x := max(now.Sub(b.mu.last).Seconds(), 0) / budgetWindow.Seconds()
		fade := math.Exp(-x)
		b.mu.pastCalls *= fade
		b.mu.spent *= fade
		if x > 0 { // the new ones were made evenly over the time
			n *= (1 - fade) / x
		}
	}
	b.mu.last = now
	b.mu.pastCalls += n
	if b.mu.spent+1 > b.share*b.mu.pastCalls+budgetRate*budgetWindow.Seconds() {
		return false
	}
	b.mu.spent++
	return true
}

// again makes the call once more if that may help against err, which the last attempt ended with, and is allowed. It reports whether it
// has begun; then the call goes on.
func (c *clientCall) again(err error) bool {
	e, ok := err.(*Error)
	if !ok || c.request == nil {
		return false
	}
	if e.unprocessed && e.Code == Aborted { // the request refers to what the peer has forgotten
		c.whole = true
		return c.attempts < maxAttempts && c.ctx.Err() == nil && c.start(c.request) == nil
	}
	r, noted := c.via.retries(), false
	for c.mayRetry(e, r) {
		if !noted {
			noteOutcome(c.conn, e)
			c.leave(c.conn, e)
			noted = true
		}
		if !e.unprocessed && !c.sleep(r.policyOf(c.info).pause(c.attempts)) {
			return false
		}
		c.scope.Answered() // what the last attempt lent is taken back
		c.scope.GivenUp()
		if c.start(c.request) == nil {
			return true
		}
	}
	return false
}

// letMove lets the connection give up a call of its own when its peer is silent, if the call would be made again then.
func (c *clientCall) letMove(call *streams.Call) {
	if r := c.via.retries(); r != nil && c.info.Idempotent && c.info.Kind == KindUnary {
		if p := r.policyOf(c.info); c.attempts < p.attempts() && p.helps(Unavailable) {
			call.Movable()
		}
	}
}

// mayRetry reports whether a call that has ended with e may be made once more.
func (c *clientCall) mayRetry(e *Error, r *retrier) bool {
	switch {
	case c.ctx.Err() != nil:
		return false
	case e.unprocessed && e.Code == Unavailable:
		return c.attempts < maxAttempts
	case r == nil:
		return false
	case e.unprocessed && e.Code == ResourceExhausted && e.Remote: // the others may be as full
		return c.attempts < maxAttempts && r.client.elsewhere(c.conn) && r.budget.take(time.Now())
	case !c.info.Idempotent:
		return false
	}
	p := r.policyOf(c.info)
	return c.attempts < p.attempts() && p.helps(e.Code) && r.budget.take(time.Now())
}

// leave makes the next attempt go elsewhere. A connection that has ended is not offered again, also while it does not quite know of its
// end: otherwise all attempts would be spent on it at once.
func (c *clientCall) leave(conn *streams.Conn, err error) {
	c.avoid = appendHealth(c.avoid, conn)
	if _, ended := errors.AsType[*streams.ConnError](err); ended {
		conn.ExpectGoAway()
	}
}

func appendHealth(list []*pool.Health, conn *streams.Conn) []*pool.Health {
	if h := healthOf(conn); h != nil {
		return append(list, h)
	}
	return list
}

// sleep reports whether the context of the call has not ended meanwhile.
func (c *clientCall) sleep(d time.Duration) bool {
	if d <= 0 {
		return c.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}
