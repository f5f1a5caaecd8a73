package largeobj

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mycel-rpc/mycel/largeobj/internal/shm"
	"github.com/mycel-rpc/mycel/wire"
)

// A payload handle is the length of the headers, 4 bytes little-endian, and a handle of shared memory.
const payloadHandleBytes = 4 + shm.HandleBytes

// worthMapping is the payload size from which sending packets takes longer than waiting for the peer to map new memory.
const worthMapping = 64 << 10

// NewBuffer implements [streams.Memory].
func (s *Session) NewBuffer(n int) *wire.Buffer {
	if s.link.Load() == nil {
		return nil
	}
	b, err := s.store.arena.Alloc(n)
	if err != nil {
		return nil
	}
	return wire.NewHomedBuffer(b.Bytes(), b)
}

// Put implements [streams.Memory].
func (s *Session) Put(dst []byte, payload *wire.Buffer) ([]byte, bool) {
	l := s.link.Load()
	if l == nil {
		return dst, false
	}
	p := payload.B
	b, in := payload.Home().(*shm.Block)
	if !in || &b.Bytes()[0] != &p[0] { // or it has grown out of the block
		var err error
		if b, err = s.store.arena.Alloc(len(p)); err != nil {
			return dst, false
		}
		defer b.Release() // the lease holds it
		copy(b.Bytes(), p)
	}
	h, ok := lend(l, b, len(p), len(p) >= worthMapping)
	if !ok {
		return dst, false
	}
	s.store.stats.sharedOut.Add(1)
	return shm.AppendHandle(binary.LittleEndian.AppendUint32(dst, uint32(payload.Body)), h), true
}

// Drop implements [streams.Memory].
func (s *Session) Drop(handle []byte) {
	if l := s.link.Load(); l != nil {
		if h, _, err := shm.ParseHandle(handle[4:]); err == nil {
			l.Cancel(h)
		}
	}
}

var errNotShared = errors.New("no memory is shared")

// Take implements [streams.Memory].
func (s *Session) Take(handle []byte, limit int) (*wire.Buffer, error) {
	if len(handle) != payloadHandleBytes {
		return nil, shm.ErrHandle
	}
	le, err := s.openHandle(handle[4:])
	if err != nil {
		return nil, err
	}
	p, head := le.Bytes(), binary.LittleEndian.Uint32(handle)
	if len(p) > limit || head > wire.MaxHeaderBytes {
		le.Release()
		return nil, &wire.LimitError{What: "payload in shared memory", Limit: uint64(limit), Got: uint64(len(p)), Knob: "MaxMessageBytes"}
	}
	if int64(head) > int64(len(p)) {
		le.Release()
		return nil, fmt.Errorf("headers of %d bytes in a payload of %d", head, len(p))
	}
	s.store.stats.sharedIn.Add(1)
	b := wire.CopyBuffer(p[:head])
	b.SetBody(p[head:], le)
	return b, nil
}

func (s *Session) openHandle(handle []byte) (*shm.Lease, error) {
	l := s.link.Load()
	if l == nil {
		return nil, errNotShared
	}
	h, n, err := shm.ParseHandle(handle)
	if err != nil {
		return nil, err
	}
	if n != len(handle) {
		return nil, shm.ErrHandle
	}
	return l.Open(h)
}
