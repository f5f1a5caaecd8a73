package pool

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// srvService is the service name under which srv:/// looks for a domain, unless the target has one of its own.
const srvService = "_mycel._udp."

// parseTarget returns the resolver of a target; the package documentation lists the forms.
func parseTarget(target string) (Resolver, error) {
	scheme, rest, ok := strings.Cut(target, ":///")
	switch {
	case !ok && strings.Contains(target, "://"):
		return nil, fmt.Errorf("pool: target %q: want three slashes after the scheme", target)
	case !ok:
		e, err := parseEndpoint(target, target)
		return Static(e), err
	case scheme == "static":
		var list []Endpoint
		for addr := range strings.SplitSeq(rest, ",") {
			e, err := parseEndpoint(target, strings.TrimSpace(addr))
			if err != nil {
				return nil, err
			}
			if !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
		return Static(list...), nil
	case scheme == "dns":
		e, err := parseEndpoint(target, rest)
		if err != nil {
			return nil, err
		}
		host, port, err := net.SplitHostPort(e.Address)
		return &dnsResolver{host: host, port: port, lookup: net.DefaultResolver.LookupNetIP}, err
	case scheme == "srv":
		if rest == "" || strings.ContainsAny(rest, ":/ ") {
			return nil, fmt.Errorf("pool: target %q: %q is not a domain; the records have the ports", target, rest)
		}
		if !strings.HasPrefix(rest, "_") {
			rest = srvService + rest
		}
		return &srvResolver{name: rest, lookup: net.DefaultResolver.LookupSRV}, nil
	}
	return nil, fmt.Errorf("pool: target %q: unknown scheme %q, want host:port, static:///, dns:/// or srv:///", target, scheme)
}

func parseEndpoint(target, addr string) (Endpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || port == "" {
		return Endpoint{}, fmt.Errorf("pool: target %q: %q is not host:port", target, addr)
	}
	return Endpoint{Address: addr}, nil
}

// ServerName returns the host name that the certificate of every endpoint of a target has to be for, "" when each endpoint
// has its own: for dns:/// and srv:/// the name in the target, because what DNS answers is not authenticated (RFC 6125,
// section 6.2.1, says the same of the source domain).
func ServerName(target string) string {
	scheme, rest, ok := strings.Cut(target, ":///")
	if !ok {
		scheme, rest = "", target
	}
	switch scheme {
	case "", "dns":
		host, _, err := net.SplitHostPort(rest)
		if err != nil {
			return ""
		}
		return host
	case "srv":
		for strings.HasPrefix(rest, "_") {
			_, rest, _ = strings.Cut(rest, ".")
		}
		return strings.TrimSuffix(rest, ".")
	}
	return ""
}

// once makes a resolver that asks out of one look-up.
func once(find func() ([]Endpoint, error)) iter.Seq2[[]Endpoint, error] {
	return func(yield func([]Endpoint, error) bool) { yield(find()) }
}

// dnsResolver looks up the addresses of a host.
type dnsResolver struct {
	host, port string
	lookup     func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Watch yields an endpoint for each address, in random order.
func (r *dnsResolver) Watch(ctx context.Context, _ string) iter.Seq2[[]Endpoint, error] {
	return once(func() ([]Endpoint, error) {
		addrs, err := r.lookup(ctx, "ip", r.host)
		if err != nil {
			return nil, err
		}
		list := make([]Endpoint, 0, len(addrs))
		for _, a := range addrs {
			list = append(list, Endpoint{Address: net.JoinHostPort(a.Unmap().String(), r.port)})
		}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		return list, nil
	})
}

// srvResolver looks up the SRV records of a service (RFC 2782).
type srvResolver struct {
	name   string
	lookup func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Watch yields an endpoint for each record, with its priority and weight; the hosts are resolved when they are dialed. Records of
// priorities that no policy needs yet are included.
func (r *srvResolver) Watch(ctx context.Context, _ string) iter.Seq2[[]Endpoint, error] {
	return once(func() ([]Endpoint, error) {
		_, records, err := r.lookup(ctx, "", "", r.name) // in the order of RFC 2782: by priority, then random by weight
		if err != nil {
			return nil, err
		}
		list := make([]Endpoint, 0, len(records))
		for _, s := range records {
			host := strings.TrimSuffix(s.Target, ".")
			if host == "" { // "the service is decidedly not available at this domain" (RFC 2782)
				continue
			}
			list = append(list, Endpoint{
				Address:  net.JoinHostPort(host, strconv.Itoa(int(s.Port))),
				Priority: int(s.Priority), Weight: int(s.Weight),
			})
		}
		return list, nil
	})
}
