package pool

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
)

// Policy says which endpoint a call goes to, among those of the best priority and zone that can be used. A call with a key
// ([Pick]) goes where its key belongs, whatever the policy.
type Policy uint8

const (
	// LeastLoaded compares two endpoints drawn at random, by weight, and takes the one with less to do: calls of this pool in
	// progress, and what the endpoint says of the requests of others. (M. Mitzenmacher, The power of two choices in
	// randomized load balancing, 2001: nearly as even as comparing all, and clients do not run to the same one.)
	LeastLoaded Policy = iota
	// RoundRobin takes the endpoints in turn; weights do not count.
	RoundRobin
	// Weighted draws an endpoint at random, in proportion to its weight.
	Weighted
	// PickFirst stays with the first endpoint, in the order of the resolver, that can be reached.
	PickFirst

	numPolicies
)

var policyNames = [numPolicies]string{"least loaded", "round robin", "weighted", "pick first"}

// String returns the name of the policy, for people.
func (p Policy) String() string {
	if p < numPolicies {
		return policyNames[p]
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// Pick says more about where one call should go. The zero value leaves it to the policy.
type Pick struct {
	// Key makes calls with the same key go to the same endpoint, from all clients alike, as long as it can be used. When endpoints
	// come and go, few keys move (rendezvous hashing: D. Thaler and C. Ravishankar, 1998).
	Key string
	// Avoid are endpoints that come last, because they have just failed the call.
	Avoid []*Health
	// Only is the one endpoint that will do, nil for any.
	Only *Health
	// Wait says that no endpoint can be reached is not the end: Get waits until one can be, or its context ends.
	Wait bool
}

// A table is what calls of one role choose from. It is immutable but for its counter.
type table[C Conn] struct {
	first []*slot[C] // of the best tier, with a connection, not ejected
	rest  []*slot[C] // others with a connection, for when nothing else will do
	able  []*slot[C] // of the best tier, with a connection or likely to get one: keys belong to these
	// sum are the sums of the weights of first up to each element; nil when all are equal.
	sum []int
	// Of able.
	hashes  []uint64
	weights []int // nil when all are equal
}

// choose returns an element of first by the policy.
func (t *table[C]) choose(p *Pool[C]) *slot[C] {
	n := len(t.first)
	if n == 1 {
		return t.first[0]
	}
	switch p.cfg.Policy {
	case PickFirst:
		return t.first[0]
	case RoundRobin:
		return t.first[p.turn.Add(1)%uint64(n)]
	case Weighted:
		return t.first[t.draw()]
	}
	i, j := t.draw(), 0
	if t.sum == nil {
		if j = rand.IntN(n - 1); j >= i { // another one
			j++
		}
	} else {
		j = t.draw()
	}
	a, b := t.first[i], t.first[j]
	if a == b {
		return a
	}
	// The weights have had their effect on the draw; here they say how much of a load each can bear.
	if b.load()*a.weight.Load() < a.load()*b.weight.Load() {
		return b
	}
	return a
}

// draw returns a random index of first, by weight.
func (t *table[C]) draw() int {
	if t.sum == nil {
		return rand.IntN(len(t.first))
	}
	at := rand.IntN(t.sum[len(t.sum)-1])
	for i, s := range t.sum {
		if at < s {
			return i
		}
	}
	return len(t.sum) - 1
}

// owner returns the endpoint that key belongs to, nil when there is none. Those to avoid come last.
func (t *table[C]) owner(key string, avoid []*Health) (best *slot[C]) {
	h := hashOf(key)
	var bestScore float64
	bestAvoided := false
	for i, s := range t.able {
		// A number that depends on both hashes, uniform in (0, 1]; by weight as in the weighted variant of the method.
		score := (float64(mix(h^t.hashes[i])>>11) + 1) / (1 << 53)
		if t.weights != nil {
			score = math.Pow(score, 1/float64(t.weights[i]))
		}
		avoided := has(avoid, &s.Health)
		if best == nil || bestAvoided && !avoided || bestAvoided == avoided && score > bestScore {
			best, bestScore, bestAvoided = s, score, avoided
		}
	}
	return best
}

func hashOf(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return mix(h.Sum64())
}

// mix spreads the bits of a hash: the finalizer of splitmix64 (G. Steele, D. Lea, C. Flood, 2014).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func has(list []*Health, h *Health) bool {
	for _, x := range list {
		if x == h {
			return true
		}
	}
	return false
}

// pick returns a connection for a call, and its load; nil when there is none. It takes no lock and allocates nothing.
func (p *Pool[C]) pick(role Role, by *Pick) (best *entry[C], load int) {
	t := p.tables[role].Load()
	if t == nil {
		return nil, 0
	}
	switch {
	case by.Only != nil:
		return t.only(role, by.Only)
	case by.Key != "":
		s := t.owner(by.Key, by.Avoid)
		if s == nil {
			break
		}
		e, load, silent := s.best(role)
		if e != nil && !silent {
			return e, load
		}
		if e == nil && !has(by.Avoid, &s.Health) {
			return nil, 0 // its connection is worth waiting for, unless it fails
		}
	case len(t.first) > 0:
		s := t.choose(p)
		if has(by.Avoid, &s.Health) {
			break
		}
		if e, load, silent := s.best(role); e != nil && !silent {
			return e, load
		}
	}
	return t.any(role, by.Avoid)
}

// only returns the best connection of the endpoint.
func (t *table[C]) only(role Role, h *Health) (*entry[C], int) {
	for _, list := range [2][]*slot[C]{t.first, t.rest} {
		for _, s := range list {
			if &s.Health == h {
				e, load, _ := s.best(role)
				return e, load
			}
		}
	}
	return nil, 0
}

// any returns a connection of any endpoint: the first that is found, with those that are silent, to be avoided or not in the first
// place coming last.
func (t *table[C]) any(role Role, avoid []*Health) (best *entry[C], load int) {
	worst := 8
	for i, list := range [2][]*slot[C]{t.first, t.rest} {
		if len(list) == 0 {
			continue
		}
		at := rand.IntN(len(list))
		for range list {
			s := list[at]
			if at++; at == len(list) {
				at = 0
			}
			e, l, silent := s.best(role)
			if e == nil {
				continue
			}
			bad := i
			if has(avoid, &s.Health) {
				bad += 2
			}
			if silent {
				bad += 4
			}
			if bad < worst {
				best, load, worst = e, l, bad
			}
			if bad == 0 {
				return best, load
			}
		}
	}
	return best, load
}

// maxScan bounds how many connections are compared for a call.
const maxScan = 8

// best returns the connection of the role with the least load that takes calls, and that load. One whose peer is silent comes last.
func (s *slot[C]) best(role Role) (best *entry[C], least int, silent bool) {
	l := s.conns[role].Load()
	if l == nil {
		return nil, 0, false
	}
	list := *l
	n := len(list)
	at := 0
	if n > 1 {
		at = rand.IntN(n)
	}
	for range min(n, maxScan) {
		e := list[at]
		if at++; at == n {
			at = 0
		}
		if e.conn.Draining() {
			continue
		}
		quiet, load := e.conn.Silent(), e.conn.Load()
		if best == nil || silent && !quiet || silent == quiet && load < least {
			best, least, silent = e, load, quiet
		}
	}
	return best, least, silent
}

// load returns how much the endpoint has to do, as far as it is known.
func (s *slot[C]) load() int64 {
	total := s.others.Load()
	for role := range Role(numRoles) {
		if l := s.conns[role].Load(); l != nil {
			for _, e := range *l {
				total += int64(e.conn.Load())
			}
		}
	}
	return total
}
