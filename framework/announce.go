package framework

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/pool"
)

// Announce makes the server known through the registrar as an endpoint of the service, until it shuts down or is closed: then
// the entry is taken back first, so that clients are gone before calls are refused. Call it when the server is ready to serve. e.Address is where
// clients reach the server. Errors: those of the registrar; FailedPrecondition when the server is shutting down.
func (s *Server) Announce(ctx context.Context, r pool.Registrar, service string, e pool.Endpoint) error {
	release, err := r.Register(ctx, service, e)
	if err != nil {
		return fmt.Errorf("framework: announcing %s as %s: %w", e.Address, service, err)
	}
	s.mu.Lock()
	late := s.mu.draining || s.mu.closed
	if !late {
		s.mu.announced = append(s.mu.announced, release)
	}
	s.mu.Unlock()
	if late {
		return errors.Join(Errorf(FailedPrecondition, "server has been shut down"), release(ctx))
	}
	return nil
}

// withdraw takes back what was announced. It returns when others can see that, or when ctx ends.
func (s *Server) withdraw(ctx context.Context) {
	s.mu.Lock()
	announced := s.mu.announced
	s.mu.announced = nil
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, release := range announced {
		wg.Go(func() {
			if err := release(ctx); err != nil {
				s.log.Warn("taking back what was announced; it expires by itself", zap.Error(err))
			}
		})
	}
	wg.Wait()
}

const ageText = "the connection has reached its maximum age (ServerConfig.MaxConnectionAge)"

// whenOld calls f on another goroutine when a connection that begins now has reached its maximum age, unless stop has been called
// before; stop waits for f. The age varies by a tenth, so that clients that came together do not come back together.
func (c *ServerConfig) whenOld(f func()) (stop func()) {
	if c.MaxConnectionAge == 0 {
		return func() {}
	}
	age := float64(c.MaxConnectionAge) * (0.9 + 0.2*rand.Float64())
	done := make(chan struct{}) // closed when f has returned
	t := time.AfterFunc(time.Duration(age), func() {
		defer close(done)
		f()
	})
	return func() {
		if !t.Stop() {
			<-done
		}
	}
}
