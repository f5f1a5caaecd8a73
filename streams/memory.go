package streams

import (
	"github.com/mycel-rpc/mycel/wire"
)

// A Memory is memory that both sides of a connection can read, because they run on one host; package largeobj provides it.
// Its methods are safe for concurrent use and do not block, except that Put may wait until the peer has mapped new memory.
type Memory interface {
	// NewBuffer returns an empty buffer with room for n bytes that Put need not copy, nil when there is no room now.
	NewBuffer(n int) *wire.Buffer
	// Put makes a payload readable for the peer and returns dst with a handle of it appended, for the peer to Take. It
	// borrows payload. It reports false when there is no room now.
	Put(dst []byte, payload *wire.Buffer) (handle []byte, ok bool)
	// Drop takes back a handle that the peer has not been sent.
	Drop(handle []byte)
	// Take returns the payload that a handle of the peer names, at most limit bytes. The headers are copied, so that nobody
	// changes them; the body is where the peer has put it until the buffer, which the caller owns, or its body is released.
	// An error means that the peer sent what is no handle of its memory, or a *[wire.LimitError].
	Take(handle []byte, limit int) (*wire.Buffer, error)
}

// NewPayload returns an empty buffer with room for a payload of n bytes, where it need not be copied to be sent.
func (c *Conn) NewPayload(n int) *wire.Buffer {
	if n >= shareBytes {
		if m := c.memory.Load(); m != nil {
			if b := (*m).NewBuffer(n); b != nil {
				return b
			}
		}
	}
	return wire.NewBuffer(n)
}

// shareBytes is the payload size from which a copy into shared memory and one out of it cost less than packets.
const shareBytes = 4 << 10

// SetMemory makes large requests and responses on lanes travel through m from now on. The peer must be able to Take what
// this side puts there, and this side must have called SetMemory before the peer puts anything. It is called at most once.
func (c *Conn) SetMemory(m Memory) { c.memory.Store(&m) }

// share moves a payload that travels on a lane to shared memory if there is some and it pays. It returns what travels
// instead, or payload itself and nil; it takes ownership of payload. Calls with a stream of their own do not share: what
// is on a stream that is reset might never be read, and so never be given back.
func (c *Conn) share(payload *wire.Buffer) (*wire.Buffer, Memory) {
	if len(payload.B) < shareBytes {
		return payload, nil
	}
	m := c.memory.Load()
	if m == nil {
		return payload, nil
	}
	handle := wire.NewBuffer(0)
	var ok bool
	if handle.B, ok = (*m).Put(handle.B, payload); !ok {
		handle.Release()
		return payload, nil
	}
	payload.Release()
	return handle, *m
}

// takeShared puts the payload that the frame has a handle of in place of the handle.
func (l *lane) takeShared(f *frame) error {
	handle := f.take()
	defer handle.Release()
	m := l.conn.memory.Load()
	if m == nil {
		return violation(wire.CloseProtocol, "handle of shared memory where none is shared")
	}
	b, err := (*m).Take(handle.B, l.conn.cfg.MaxMessageBytes+wire.MaxHeaderBytes)
	if err != nil {
		return violation(wire.CloseProtocol, "shared memory: %v", err)
	}
	f.large, f.payload, f.Len, f.Shared = b, nil, len(b.B), false
	return nil
}
