package largeobj

import (
	"go.uber.org/zap"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/streams"
)

// A Host offers to share memory with the peers of a server that run on the same host.
type Host struct {
	store *Store
	ln    *shm.Listener // nil where memory cannot be shared
}

// Listen returns a host, which must be closed. Where sharing memory is not possible, or switched off, it offers nothing.
func (s *Store) Listen() *Host {
	h := &Host{store: s}
	if s.arena == nil {
		return h
	}
	ln, err := shm.Listen(shm.ListenerConfig{Arena: s.arena, Dir: s.cfg.SocketDir, Link: s.linkConfig()})
	if err != nil {
		s.cfg.Logger.Info("no shared memory with peers on this host: objects travel as streams", zap.Error(err))
		return h
	}
	h.ln = ln
	return h
}

// Offer returns what the hello of a connection offers, nil if nothing, as a nil Host does. The offer ends with the connection.
func (h *Host) Offer(conn *streams.Conn, session *Session) []byte {
	if h == nil || h.ln == nil {
		return nil
	}
	offer, withdraw, err := h.ln.Offer(conn, session.adopt)
	if err != nil {
		return nil
	}
	conn.AtEnd(withdraw)
	return offer
}

// Close ends the offers; memory that is shared stays shared.
func (h *Host) Close() {
	if h != nil && h.ln != nil {
		h.ln.Close()
	}
}
