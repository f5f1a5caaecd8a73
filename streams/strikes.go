package streams

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

const (
	// maxStrikes is how many tickets a server remembers as used: 1 MiB or so of identities.
	maxStrikes = 32 << 10
	// earlyAge is how long after it was given a ticket allows early data. The session it can resume for longer.
	earlyAge = 24 * time.Hour
)

// strikes lets each ticket that a listener gives carry early data once (RFC 8446, section 8.1), because whoever sees the
// first flight of a client can send it again.
//
// A ticket carries the name of the register and the time when it was given. Early data is accepted only with a ticket of
// this very register, so that neither another node that shares the ticket keys nor a restarted process can be used for a
// replay; of a ticket that is not too old; and of one that is not known as used. When there are too many to know,
// the ones given so far lose early data, once, and their sessions are resumed without.
type strikes struct {
	name  [8]byte
	begin time.Time // times are counted from here, on the monotonic clock: nobody sets it back

	mu struct {
		sync.Mutex
		used  map[[16]byte]time.Duration // by identity: when the ticket was given
		since time.Duration              // tickets given before may have been used
	}
}

// strikePrefix begins what a ticket carries: the name of the register and the time.
var strikePrefix = []byte("mycel1")

func newStrikes() *strikes {
	s := &strikes{begin: time.Now()}
	rand.Read(s.name[:])
	s.mu.used = map[[16]byte]time.Duration{}
	return s
}

// guard makes c, the configuration of a listener that accepts early data, keep the register.
func (s *strikes) guard(c *tls.Config) error {
	if c.GetConfigForClient != nil || c.WrapSession != nil || c.UnwrapSession != nil {
		return errors.New("streams: EarlyData needs tickets of its own: TLS must not set GetConfigForClient, WrapSession or UnwrapSession")
	}
	keys := c.Clone() // keeps the ticket keys; the clones that are made of c would not share those made later
	c.WrapSession = func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		state.Extra = append(state.Extra, s.stamp())
		return keys.EncryptTicket(cs, state)
	}
	c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		state, err := keys.DecryptTicket(identity, cs)
		if err != nil || state == nil {
			return nil, err
		}
		if state.EarlyData {
			state.EarlyData = s.strike(identity, state.Extra)
		}
		return state, nil
	}
	return nil
}

func (s *strikes) stamp() []byte {
	b := append(bytes.Clone(strikePrefix), s.name[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(time.Since(s.begin)))
}

// given returns when the ticket with these extras was given by this register.
func (s *strikes) given(extras [][]byte) (at time.Duration, ok bool) {
	for _, e := range extras {
		if b, ours := bytes.CutPrefix(e, strikePrefix); ours && len(b) == len(s.name)+8 && bytes.Equal(b[:len(s.name)], s.name[:]) {
			return time.Duration(binary.BigEndian.Uint64(b[len(s.name):])), true
		}
	}
	return 0, false
}

// strike reports whether the ticket may carry early data, which it may only once.
func (s *strikes) strike(identity []byte, extras [][]byte) bool {
	given, ours := s.given(extras)
	if !ours {
		return false
	}
	sum := sha256.Sum256(identity)
	id := [16]byte(sum[:])
	now := time.Since(s.begin)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, used := s.mu.used[id]; used || given <= s.mu.since || now-given > earlyAge {
		return false
	}
	if len(s.mu.used) >= maxStrikes {
		if s.forgetLocked(now); given <= s.mu.since {
			return false
		}
	}
	s.mu.used[id] = given
	return true
}

// forgetLocked makes room: by the tickets that are too old for early data anyway, and if that is not half of it, by all.
func (s *strikes) forgetLocked(now time.Duration) {
	for id, given := range s.mu.used {
		if now-given > earlyAge {
			delete(s.mu.used, id)
		}
	}
	if len(s.mu.used) > maxStrikes/2 {
		clear(s.mu.used)
		s.mu.since = now
	}
}
