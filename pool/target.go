package pool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Endpoint is one place where a target can be reached. Equal ones are the same place.
type Endpoint struct {
	Address string // what to dial, "host:port"; the host is a name or an IP address
}

// A Resolver finds the endpoints of a target, in order of preference. Resolve is called by one goroutine at a time
// and must return soon after ctx ends. The pool takes ownership of the result. An empty result without an error counts
// as failure.
type Resolver interface {
	Resolve(ctx context.Context) ([]Endpoint, error)
}

// parseTarget returns the endpoints that target lists, or else a resolver for it.
func parseTarget(target string) ([]Endpoint, Resolver, error) {
	scheme, rest, ok := strings.Cut(target, ":///")
	switch {
	case !ok && strings.Contains(target, "://"):
		return nil, nil, fmt.Errorf("pool: target %q: want three slashes after the scheme", target)
	case !ok:
		e, err := parseEndpoint(target, target)
		return []Endpoint{e}, nil, err
	case scheme == "static":
		var list []Endpoint
		for addr := range strings.SplitSeq(rest, ",") {
			e, err := parseEndpoint(target, strings.TrimSpace(addr))
			if err != nil {
				return nil, nil, err
			}
			if !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
		return list, nil, nil
	case scheme == "dns":
		e, err := parseEndpoint(target, rest)
		if err != nil {
			return nil, nil, err
		}
		host, port, err := net.SplitHostPort(e.Address)
		return nil, &dnsResolver{host: host, port: port, lookup: net.DefaultResolver.LookupNetIP}, err
	}
	return nil, nil, fmt.Errorf("pool: target %q: unknown scheme %q, want host:port, static:/// or dns:///", target, scheme)
}

func parseEndpoint(target, addr string) (Endpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" {
		return Endpoint{}, fmt.Errorf("pool: target %q: %q is not host:port", target, addr)
	}
	return Endpoint{Address: addr}, nil
}

// dnsResolver looks up the addresses of a host.
type dnsResolver struct {
	host, port string
	lookup     func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Resolve returns an endpoint for each address, in random order.
func (r *dnsResolver) Resolve(ctx context.Context) ([]Endpoint, error) {
	addrs, err := r.lookup(ctx, "ip", r.host)
	if err != nil {
		return nil, err
	}
	list := make([]Endpoint, 0, len(addrs))
	for _, a := range addrs {
		e := Endpoint{Address: net.JoinHostPort(a.Unmap().String(), r.port)}
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list, nil
}
