package largeobj

import (
	"context"
	"sync"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
)

// A Scope is what the messages of one call refer to. Package framework makes one for each call whose messages have
// references, encodes and decodes them with it, and ends it when the handler has returned.
type Scope struct {
	session *Session
	handler bool // of a handler: what it receives and makes ends with the call
	single  bool // this side answers with one message, which who gives up has not received

	mu struct {
		sync.Mutex
		ended   bool
		held    []*handle
		sent    []sentRef // what messages refer to
		message int       // where the last one begins in sent

		answered, givenUp bool
	}
}

// A sentRef is a reference that a message was given for the peer.
type sentRef struct {
	key    Key
	handle shm.Handle
	shared bool // handle counts
}

// maxSent bounds how many references a scope remembers to take back; what was sent before has been received by then.
const maxSent = 256

// Begin tells that another message is about to be encoded.
func (sc *Scope) Begin() {
	if sc == nil {
		return
	}
	sc.mu.Lock()
	if n := len(sc.mu.sent); n > maxSent {
		sc.mu.sent = append(sc.mu.sent[:0], sc.mu.sent[n-maxSent:]...)
	}
	sc.mu.message = len(sc.mu.sent)
	sc.mu.Unlock()
}

// sent notes a reference in the message that is being encoded.
func (sc *Scope) sent(r sentRef) {
	sc.mu.Lock()
	sc.mu.sent = append(sc.mu.sent, r)
	sc.mu.Unlock()
}

// Undo takes back what the last message refers to, because it has not been sent.
func (sc *Scope) Undo() {
	if sc == nil {
		return
	}
	sc.mu.Lock()
	last := sc.mu.sent[sc.mu.message:]
	sc.mu.sent = sc.mu.sent[:sc.mu.message]
	sc.mu.Unlock()
	for _, r := range last {
		sc.session.undo(r)
	}
}

// Answered tells that everything of the call has been sent. From then on, what the peer turns out not to have received
// because it gave the call up is taken back.
func (sc *Scope) Answered() { sc.settle(func() { sc.mu.answered = true }) }

// GivenUp tells that the other side has given the call up, and receives nothing more of it.
func (sc *Scope) GivenUp() { sc.settle(func() { sc.mu.givenUp = true }) }

// settle notes one of the two events; the second one takes back what was sent.
func (sc *Scope) settle(note func()) {
	if sc == nil {
		return
	}
	sc.mu.Lock()
	note()
	var sent []sentRef
	last := 0
	if sc.mu.answered && sc.mu.givenUp {
		sent, last = sc.mu.sent, sc.mu.message
		sc.mu.sent, sc.mu.message = nil, 0
	}
	sc.mu.Unlock()
	for i, r := range sent {
		// Of the messages of a stream the peer may have received some. What is in shared memory is taken back only if it has not been.
		if r.shared || sc.single && i >= last {
			sc.session.undo(r)
		}
	}
}

// NewScope returns the scope of a call on the connection. handler says that this side serves it, single that it answers with
// one message.
func (s *Session) NewScope(handler, single bool) *Scope {
	return &Scope{session: s, handler: handler, single: single}
}

// End gives back what a handler has received and made and did not keep. It is idempotent.
func (sc *Scope) End() {
	if sc == nil || !sc.handler {
		return
	}
	sc.mu.Lock()
	held := sc.mu.held
	sc.mu.held, sc.mu.ended = nil, true
	sc.mu.Unlock()
	for _, h := range held {
		if !h.kept.Load() {
			h.release()
		}
	}
}

// add ties the handle to the call, if it ends with it.
func (sc *Scope) add(h *handle) {
	if !sc.handler {
		return
	}
	sc.mu.Lock()
	ended := sc.mu.ended
	if !ended {
		sc.mu.held = append(sc.mu.held, h)
	}
	sc.mu.Unlock()
	if ended { // a context used after its handler has returned: nothing would give it back
		h.kept.Store(true)
	}
}

// ScopeKey is the key under which the context of a handler has its *[Scope].
type ScopeKey struct{}

// ScopeFrom returns the scope of a handler's context, nil in any other.
func ScopeFrom(ctx context.Context) *Scope {
	sc, _ := ctx.Value(ScopeKey{}).(*Scope)
	return sc
}

// storeOf returns the store that objects made with the context belong to.
func storeOf(ctx context.Context) *Store {
	if sc := ScopeFrom(ctx); sc != nil {
		return sc.session.store
	}
	return Default()
}
