package streams

import (
	"crypto/tls"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestStrikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := newStrikes(), newStrikes()
		time.Sleep(time.Second)
		ticket := func(of *strikes) [][]byte { return [][]byte{[]byte("of somebody else"), of.stamp()} }
		first := ticket(s)
		for _, c := range []struct {
			claim    string
			identity string
			extras   [][]byte
			want     bool
		}{
			{"a ticket counts", "a", first, true},
			{"not twice", "a", first, false},
			{"another one counts", "b", first, true},
			{"that of another register does not", "c", ticket(other), false},
			{"one without a mark does not", "d", [][]byte{[]byte("mycel1")}, false},
			{"one without anything does not", "e", nil, false},
		} {
			if got := s.strike([]byte(c.identity), c.extras); got != c.want {
				t.Errorf("%s: got %v, want %v", c.claim, got, c.want)
			}
		}
		time.Sleep(earlyAge + time.Second)
		if s.strike([]byte("f"), first) {
			t.Error("a ticket counts that is too old")
		}
	})
}

// TestStrikesAreBounded: when there are too many to remember, no ticket that may have been used counts again.
func TestStrikesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrikes()
		time.Sleep(time.Second)
		old := [][]byte{s.stamp()}
		for i := range maxStrikes {
			if !s.strike(fmt.Append(nil, i), old) {
				t.Fatalf("ticket %d does not count", i)
			}
		}
		time.Sleep(time.Second)
		if s.strike([]byte("one more"), old) || s.strike(fmt.Append(nil, 0), old) {
			t.Error("a ticket counts although what was used is forgotten")
		}
		time.Sleep(time.Second)
		if fresh := [][]byte{s.stamp()}; !s.strike([]byte("fresh"), fresh) || s.strike([]byte("fresh"), fresh) {
			t.Error("a ticket that was given later does not count once")
		}
		if n := len(s.mu.used); n > maxStrikes {
			t.Errorf("remembers %d tickets", n)
		}
	})
}

func TestEarlyDataNeedsItsOwnTickets(t *testing.T) {
	for name, conf := range map[string]*tls.Config{
		"GetConfigForClient": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }},
		"WrapSession":        {WrapSession: func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return nil, nil }},
		"UnwrapSession":      {UnwrapSession: func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }},
	} {
		if err := newStrikes().guard(conf); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// TestTicketsAreBounded: of servers, and of what each gave.
func TestTicketsAreBounded(t *testing.T) {
	tickets := NewTickets()
	for i := range 2 * ticketTargets {
		address := fmt.Sprint("server:", i)
		for range 2 * ticketsPerTarget {
			sessionCache{tickets, address}.Put("name", new(tls.ClientSessionState))
			tokenStore{tickets, address}.Put("name", nil)
		}
	}
	if n := tickets.byServer.Len(); n != ticketTargets {
		t.Errorf("remembers %d servers, want %d", n, ticketTargets)
	}
	r := tickets.of(fmt.Sprint("server:", 2*ticketTargets-1) + "|name")
	if len(r.unused) != ticketsPerTarget || len(r.tokens) != ticketsPerTarget {
		t.Errorf("remembers %d tickets and %d tokens, want %d of each", len(r.unused), len(r.tokens), ticketsPerTarget)
	}
	sessionCache{tickets, "server:511"}.Put("name", nil)
	if _, ok := (sessionCache{tickets, "server:511"}).Get("name"); ok {
		t.Error("a ticket is there that crypto/tls has found to be no good")
	}
}
