package pool

import (
	"context"
	"fmt"
	"net"
	"strings"
)

// An Endpoint is one place where a target can be reached.
type Endpoint struct {
	Address string // "host:port", the host an IP address or a name
}

// A Resolver finds the endpoints of a target.
type Resolver interface {
	// Resolve returns the endpoints as they are now, at least one, or an error.
	Resolve(ctx context.Context) ([]Endpoint, error)
}

// NewResolver returns the resolver of a target; the forms are those of the package documentation.
func NewResolver(target string) (Resolver, error) {
	if list, ok := strings.CutPrefix(target, "static:///"); ok {
		return newStatic(strings.Split(list, ","))
	}
	if address, ok := strings.CutPrefix(target, "dns:///"); ok {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("pool: target %q: %w", target, err)
		}
		return dns{host, port}, nil
	}
	if strings.Contains(target, "://") {
		return nil, fmt.Errorf("pool: target %q: unknown scheme, want host:port, static:/// or dns:///", target)
	}
	return newStatic([]string{target})
}

type static []Endpoint

func newStatic(addresses []string) (Resolver, error) {
	var s static
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		if err == nil && (host == "" || port == "") {
			err = fmt.Errorf("address %q lacks a host or a port", a)
		}
		if err != nil {
			return nil, fmt.Errorf("pool: target: %w", err)
		}
		s = append(s, Endpoint{a})
	}
	return s, nil
}

func (s static) Resolve(context.Context) ([]Endpoint, error) { return s, nil }

type dns struct{ host, port string }

func (d dns) Resolve(ctx context.Context) ([]Endpoint, error) {
	addrs, err := net.DefaultResolver.LookupHost(ctx, d.host)
	if err != nil {
		return nil, fmt.Errorf("pool: resolving %s: %w", d.host, err)
	}
	endpoints := make([]Endpoint, len(addrs))
	for i, a := range addrs {
		endpoints[i] = Endpoint{net.JoinHostPort(a, d.port)}
	}
	return endpoints, nil
}
