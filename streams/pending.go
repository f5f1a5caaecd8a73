package streams

import (
	"sync"

	"github.com/mycel-rpc/mycel/wire"
)

const pendingShards = 8

// A pendingTable holds the calls of this side that wait for a response on a lane, by call number.
type pendingTable struct {
	shards [pendingShards]struct {
		sync.Mutex
		calls map[uint64]*Call // nil once the connection has ended
		_     [40]byte         // a cache line for each
	}
}

func (t *pendingTable) init() {
	for i := range t.shards {
		t.shards[i].calls = map[uint64]*Call{}
	}
}

// add reports false when the connection has ended.
func (t *pendingTable) add(call *Call) bool {
	s := &t.shards[call.id%pendingShards]
	s.Lock()
	defer s.Unlock()
	if s.calls == nil {
		return false
	}
	s.calls[call.id] = call
	return true
}

// remove returns the call with the number, nil if it is not waiting. Whoever removes a call finishes it.
func (t *pendingTable) remove(id uint64) *Call {
	s := &t.shards[id%pendingShards]
	s.Lock()
	call := s.calls[id]
	delete(s.calls, id)
	s.Unlock()
	return call
}

// fail finishes every call with err, and all that are added later.
func (t *pendingTable) fail(err error) {
	for i := range t.shards {
		s := &t.shards[i]
		s.Lock()
		calls := s.calls
		s.calls = nil
		s.Unlock()
		for _, call := range calls {
			call.finish(nil, err)
		}
	}
}

// failMovable finishes the calls that may be made elsewhere with err.
func (t *pendingTable) failMovable(err error) {
	for i := range t.shards {
		s := &t.shards[i]
		var moved []*Call
		s.Lock()
		for id, call := range s.calls {
			if call.movable.Load() {
				delete(s.calls, id)
				moved = append(moved, call)
			}
		}
		s.Unlock()
		for _, call := range moved {
			call.lane.cancel(call.id, wire.Cancel{Code: wire.Canceled, Text: "the call was made elsewhere"}) // if the peer comes back
			call.finish(nil, err)
		}
	}
}

// LetGo ends the calls that may be made elsewhere ([Call.Movable]), as far as they wait on a lane, with [ErrSilent]. They may or may
// not have reached the peer; an answer that still comes is dropped.
func (c *Conn) LetGo() { c.pending.failMovable(ErrSilent) }

// deliver hands a response to the call that waits for it. It takes ownership of payload.
func (c *Conn) deliver(id uint64, payload *wire.Buffer) error {
	if call := c.pending.remove(id); call != nil {
		call.finish(payload, nil) // ownership of payload passes to the call
		return nil
	}
	payload.Release()
	if id >= c.nextCall.Load() {
		return violation(wire.CloseProtocol, "response to call %d, which was never made", id)
	}
	return nil // the call was canceled meanwhile
}
