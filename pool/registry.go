package pool

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// A Registry is a [Resolver] and a [Registrar] in memory: for tests, and for programs that know by themselves where their
// servers are. The zero value is ready to use. It is safe for concurrent use.
type Registry struct {
	mu       sync.Mutex
	services map[string]*registered
}

// registered are the endpoints of one service.
type registered struct {
	entries []*registryEntry // in the order of registration
	changed chan struct{}    // closed at the next change
}

type registryEntry struct{ endpoint Endpoint }

func (r *Registry) serviceLocked(name string) *registered {
	s := r.services[name]
	if s == nil {
		s = &registered{changed: make(chan struct{})}
		if r.services == nil {
			r.services = map[string]*registered{}
		}
		r.services[name] = s
	}
	return s
}

func (s *registered) changedLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Register implements [Registrar]. It fails for an endpoint without an address.
func (r *Registry) Register(_ context.Context, service string, e Endpoint) (release func(context.Context) error, err error) {
	if _, err := parseEndpoint(service, e.Address); err != nil {
		return nil, fmt.Errorf("pool: registering an endpoint of %q: address %q is not host:port", service, e.Address)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.serviceLocked(service)
	entry := &registryEntry{e}
	if i := slices.IndexFunc(s.entries, func(x *registryEntry) bool { return x.endpoint.Address == e.Address }); i >= 0 {
		s.entries[i] = entry
	} else {
		s.entries = append(s.entries, entry)
	}
	s.changedLocked()
	return func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if i := slices.Index(s.entries, entry); i >= 0 { // neither released nor replaced
			s.entries = slices.Delete(s.entries, i, i+1)
			s.changedLocked()
		}
		return nil
	}, nil
}

// Watch implements [Resolver].
func (r *Registry) Watch(ctx context.Context, target string) iter.Seq2[[]Endpoint, error] {
	return func(yield func([]Endpoint, error) bool) {
		for {
			r.mu.Lock()
			s := r.serviceLocked(target)
			changed := s.changed
			list := make([]Endpoint, len(s.entries))
			for i, e := range s.entries {
				list[i] = e.endpoint
			}
			r.mu.Unlock()
			if !yield(list, nil) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}
