package framework

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/pool"
)

func TestRetryBudgetFollowsTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retryBudget{share: 0.2}
		all := func() (n int) {
			for b.take(time.Now()) {
				n++
			}
			return n
		}
		if n := all(); n != 100 {
			t.Errorf("%d retries without calls, want those of ten seconds at ten a second", n)
		}
		// Ten minutes of 1000 calls a second, all of which would be retried.
		granted := 0
		for range 600 {
			b.calls.Add(1000)
			time.Sleep(time.Second)
			granted += all()
		}
		if want := 600 * 210; granted < want*9/10 || granted > want*11/10 {
			t.Errorf("%d retries of 600000 calls, want about %d", granted, want)
		}
		// Calls of long ago do not pay for retries of now.
		b = retryBudget{share: 0.2}
		b.take(time.Now())
		b.calls.Add(1e6)
		time.Sleep(time.Second)
		b.take(time.Now())
		time.Sleep(time.Hour)
		if n := all(); n > 110 {
			t.Errorf("%d retries an hour after the last call", n)
		}
	})
}

func TestRetryPausesGrow(t *testing.T) {
	p := RetryPolicy{Pause: 100 * time.Millisecond}
	if d := p.pause(1); d != 0 {
		t.Errorf("the first retry waits %v", d)
	}
	for retry, want := range map[int]time.Duration{2: 100 * time.Millisecond, 3: 200 * time.Millisecond, 20: time.Second} {
		for range 100 {
			if d := p.pause(retry); d < want/2 || d > want {
				t.Errorf("retry %d waits %v, want %v to %v", retry, d, want/2, want)
			}
		}
	}
}

func TestRetriesAndHedgesAreChecked(t *testing.T) {
	_, clientTLS := DevTLS()
	for _, cfg := range []ClientConfig{
		{Retry: RetryPolicy{MaxAttempts: -1}}, {Retry: RetryPolicy{MaxAttempts: 11}}, {Retry: RetryPolicy{Pause: -1}},
		{RetryShare: -1}, {RetryShare: 1.5}, {Policy: 99},
	} {
		cfg.TLS = clientTLS
		if _, err := NewClient("a:1", cfg); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	for _, h := range []Hedge{{}, {Delay: -1}, {Delay: 1, Max: 1}, {Delay: 1, Max: 6}} {
		if h.check() == nil {
			t.Errorf("accepted %+v", h)
		}
	}
	if err := errors.Join((*Hedge)(nil).check(), (*RetryPolicy)(nil).check(), (&Hedge{Delay: 1}).check()); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a method was declared with a policy that is out of range")
		}
	}()
	NewUnary[number, number]("retry.v1/Wrong", WithRetry(RetryPolicy{MaxAttempts: 99}))
}

func TestServerLimitsOfConnectionsAreChecked(t *testing.T) {
	for _, cfg := range []ServerConfig{{MaxConnections: -1}, {MaxConnectionAge: -1}, {MaxConnectionAge: time.Millisecond}} {
		if _, err := NewServer(cfg); err == nil || !strings.Contains(err.Error(), "MaxConnection") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

// TestCallsWithObjectsAreNotHedged: an answer that does not count would hold what it refers to.
func TestCallsWithObjectsAreNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type holder struct{ Object largeobj.Ref }
		hedge := WithHedge(Hedge{Delay: time.Millisecond})
		linked := NewUnary[holder, holder]("hedge.v1/Linked", Idempotent(), hedge)
		srv, err := NewServer(ServerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		var calls atomic.Int64
		linked.Handle(srv, func(_ context.Context, q *holder) (*holder, error) {
			calls.Add(1)
			time.Sleep(50 * time.Millisecond)
			return &holder{}, nil
		})
		c := InProcess(srv)
		if _, err := linked.Call(t.Context(), c, &holder{}); err != nil {
			t.Error(err)
		}
		if err := errors.Join(c.Close(), srv.Close()); err != nil {
			t.Error(err)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("the call was made %d times", n)
		}
	})
}

// TestWaitForReady: without servers a call fails at once, or when its time is over; both errors say why.
func TestWaitForReady(t *testing.T) {
	method := NewUnary[struct{}, struct{}]("wait.v1/Empty")
	synctest.Test(t, func(t *testing.T) {
		var registry pool.Registry
		_, clientTLS := DevTLS()
		c, err := NewClient("nobody", ClientConfig{TLS: clientTLS, Resolver: &registry})
		if err != nil {
			t.Fatal(err)
		}
		for _, opts := range [][]CallOption{nil, {WaitForReady()}} {
			begun := time.Now()
			_, err := method.Call(t.Context(), c, &struct{}{}, append(opts, WithTimeout(5*time.Second))...)
			want, wait := Unavailable, time.Duration(0)
			if opts != nil {
				want, wait = DeadlineExceeded, 5*time.Second
			}
			if took := time.Since(begun); CodeOf(err) != want || took != wait || !strings.Contains(err.Error(), "nobody") {
				t.Errorf("after %v: %v", took, err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
