package streams

import (
	"github.com/mycel-rpc/mycel/wire"
)

// A Memory is memory that both sides of a connection can read, because they run on one host; package largeobj provides it.
// Its methods are safe for concurrent use and do not block.
type Memory interface {
	// Put copies p and returns dst with a handle of the copy appended, for the peer to Take. It reports false when
	// there is no room now.
	Put(dst, p []byte) (handle []byte, ok bool)
	// Drop takes back a handle that the peer has not been sent.
	Drop(handle []byte)
	// Take copies what a handle of the peer names, at most limit bytes, and gives the memory back to the peer. The caller
	// owns the buffer. An error means that the peer sent what is no handle of its memory, or a *[wire.LimitError].
	Take(handle []byte, limit int) (*wire.Buffer, error)
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
	if handle.B, ok = (*m).Put(handle.B, payload.B); !ok {
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
