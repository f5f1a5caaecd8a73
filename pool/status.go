package pool

import (
	"fmt"
	"time"
)

// State is what a pool makes of an endpoint.
//
//	idle -> connecting -> ready <-> silent     calls that do not come through
//	            |           | \---> leaving    the peer takes no new calls; a new connection replaces the old
//	            v           \-----> ejected    calls fail; used again after a while, on probation
//	         failing                           left alone for a while, then connecting
type State uint8

const (
	Idle       State = iota // there is no connection, and none is needed
	Connecting              // there is none yet
	Ready                   // it takes calls
	Silent                  // calls wait for it and it does not answer: used only if nothing else can be
	Leaving                 // it takes no new calls
	Failing                 // it could not be reached and is left alone for a while
	Ejected                 // it can be reached, but calls to it fail: used only if nothing else can be
	Removed                 // the resolver does not find it any more: used only if nothing else can be
)

var stateNames = [...]string{"idle", "connecting", "ready", "silent", "leaving", "failing", "ejected", "removed"}

// String returns the name of the state, for people.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Status is what a pool knows of an endpoint.
type Status struct {
	Endpoint Endpoint
	State    State
	Since    time.Time // when the state began

	Main, Bulk int           // connections, those that take no new calls included
	Load       int           // calls of this pool in progress, where a large one counts for several
	PeerLoad   int           // requests of others that the endpoint works on, as far as it has said so lately
	RTT        time.Duration // smoothed; 0 while it is not known

	Calls    uint64    // that have ended
	Failures uint64    // of them, in ways that another endpoint may not have
	InARow   int       // answers with the code Unavailable, since the last other one
	Attempts int       // failed dials in a row
	RetryAt  time.Time // when the endpoint is dialed or used again; zero unless it is failing or ejected
	Err      error     // the last that a dial or a connection ended with; nil if none has
}

// Endpoints returns what the pool knows of each endpoint, in the order of the resolver; those that it does not find any
// more come last, as long as there are connections to them.
func (p *Pool[C]) Endpoints() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rebuildLocked(time.Now())
	list := make([]Status, 0, len(p.mu.slots)+len(p.mu.gone))
	for _, slots := range [2][]*slot[C]{p.mu.slots, p.mu.gone} {
		for _, s := range slots {
			list = append(list, s.statusLocked())
		}
	}
	return list
}

func (s *slot[C]) statusLocked() Status {
	a := &s.mu.attempts[Main]
	st := Status{
		Endpoint: s.mu.endpoint, State: s.mu.state, Since: s.mu.since,
		Main: len(s.entries(Main)), Bulk: len(s.entries(Bulk)), PeerLoad: int(s.others.Load()), Load: int(s.load() - s.others.Load()),
		Calls: s.calls.Load(), Failures: s.failures.Load(), InARow: int(s.inARow.Load()), Attempts: a.failures, Err: s.mu.err,
	}
	for _, e := range s.mu.leaving {
		st.Load += e.conn.Load()
		if e.role == Main {
			st.Main++
		} else {
			st.Bulk++
		}
	}
	for _, e := range s.entries(Main) {
		st.RTT = e.conn.RTT()
	}
	switch st.State {
	case Failing:
		st.RetryAt = a.retryAt
	case Ejected:
		st.RetryAt = s.mu.readmitAt
	}
	return st
}

// stateLocked returns the state of an endpoint that the resolver finds.
func (s *slot[C]) stateLocked() State {
	main := s.entries(Main)
	silent, draining := 0, 0
	for _, e := range main {
		switch {
		case e.conn.Draining():
			draining++
		case e.conn.Silent():
			silent++
		}
	}
	a := &s.mu.attempts[Main]
	switch {
	case len(main) > silent+draining && s.mu.ejected:
		return Ejected
	case len(main) > silent+draining:
		return Ready
	case silent > 0:
		return Silent
	case a.running:
		return Connecting
	case a.failures > 0:
		return Failing
	case draining > 0 || len(s.mu.leaving) > 0:
		return Leaving
	}
	return Idle
}
