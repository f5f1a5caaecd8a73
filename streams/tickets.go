package streams

import (
	"crypto/tls"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/quic-go/quic-go"
)

const (
	// ticketTargets is how many servers [Tickets] remembers, the ones last used.
	ticketTargets = 256
	// ticketsPerTarget bounds what is remembered of each: a server gives one ticket and a few tokens for each connection.
	ticketsPerTarget = 8
)

// Tickets remembers, in memory, what servers have given to a client for its next connections: session tickets (RFC 8446,
// section 4.6.1), which save the certificates of the handshake and allow early data, and tokens (RFC 9000, section 8.1.3),
// which save the proof of the client's address. It is shared by the connections of a client, [Config.Tickets], and kept by
// address and server name, because the servers of one name need not share keys. The least recently used of 256 servers
// is forgotten. All methods are safe for concurrent use.
type Tickets struct {
	byServer *lru.Cache[string, *remembered]
}

// remembered is what one server has given.
type remembered struct {
	mu     sync.Mutex
	unused []*tls.ClientSessionState // newest last
	used   *tls.ClientSessionState   // the last one that was taken
	tokens []*quic.ClientToken       // newest last
}

// NewTickets returns an empty memory.
func NewTickets() *Tickets {
	byServer, err := lru.New[string, *remembered](ticketTargets)
	if err != nil {
		panic("streams: " + err.Error()) // the size is positive
	}
	return &Tickets{byServer}
}

func (t *Tickets) of(server string) *remembered {
	return getOrAdd(t.byServer, server)
}

// getOrAdd returns what is in the cache under the key, a new value if there is none.
func getOrAdd[V any](c *lru.Cache[string, *V], key string) *V {
	if v, ok := c.Get(key); ok {
		return v
	}
	v := new(V)
	if other, ok, _ := c.PeekOrAdd(key, v); ok {
		return other
	}
	return v
}

// sessionCache is the memory of one server as crypto/tls wants it, which asks with a key of its own.
type sessionCache struct {
	tickets *Tickets
	address string
}

// Get returns the newest ticket that has not been used yet. A ticket that is used twice tells an observer that both
// connections come from one client (RFC 8446, appendix C.4), and its second use cannot carry early data, because a server
// could not tell it from a replay; so one that was used comes back only when there is no other, and without early data.
func (c sessionCache) Get(name string) (*tls.ClientSessionState, bool) {
	r := c.tickets.of(c.address + "|" + name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.unused); n > 0 {
		s := r.unused[n-1]
		r.unused = r.unused[:n-1]
		r.used = withoutEarlyData(s)
		return s, true
	}
	if r.used == nil {
		return nil, false
	}
	s := withoutEarlyData(r.used) // a copy: the handshake changes it
	return s, s != nil
}

// withoutEarlyData returns a copy of the ticket that resumes the session and no more, nil if that cannot be.
func withoutEarlyData(s *tls.ClientSessionState) *tls.ClientSessionState {
	ticket, state, err := s.ResumptionState()
	if err != nil || state == nil {
		return nil
	}
	encoded, err := state.Bytes()
	if err != nil {
		return nil
	}
	plain, err := tls.ParseSessionState(encoded)
	if err != nil {
		return nil
	}
	plain.EarlyData = false
	again, err := tls.NewResumptionState(ticket, plain)
	if err != nil {
		return nil
	}
	return again
}

// Put remembers a ticket. Without one it forgets those that there are: crypto/tls found one of them to be no good.
func (c sessionCache) Put(name string, s *tls.ClientSessionState) {
	r := c.tickets.of(c.address + "|" + name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if s == nil {
		r.unused, r.used = nil, nil
		return
	}
	r.unused = appendNewest(r.unused, s)
}

// tokenStore is the memory of one server as quic-go wants it.
type tokenStore struct {
	tickets *Tickets
	address string
}

func (s tokenStore) Pop(name string) *quic.ClientToken {
	r := s.tickets.of(s.address + "|" + name)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.tokens)
	if n == 0 {
		return nil
	}
	token := r.tokens[n-1]
	r.tokens = r.tokens[:n-1]
	return token
}

func (s tokenStore) Put(name string, token *quic.ClientToken) {
	r := s.tickets.of(s.address + "|" + name)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens = appendNewest(r.tokens, token)
}

// appendNewest appends v, and drops the oldest one of too many.
func appendNewest[T any](list []T, v T) []T {
	if len(list) >= ticketsPerTarget {
		list = list[:copy(list, list[1:])]
	}
	return append(list, v)
}
