package streams

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"github.com/mycel-rpc/mycel/wire"
)

// fakeMemory is shared memory of which both sides are in this process.
type fakeMemory struct {
	mu     sync.Mutex
	blocks map[uint64][]byte
	last   uint64
	puts   int
	full   bool
}

func (m *fakeMemory) NewBuffer(int) *wire.Buffer { return nil }

func (m *fakeMemory) Put(dst []byte, payload *wire.Buffer) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return dst, false
	}
	m.puts++
	m.last++
	m.blocks[m.last] = bytes.Clone(payload.B)
	return binary.BigEndian.AppendUint64(dst, m.last), true
}

func (m *fakeMemory) Drop(handle []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blocks, binary.BigEndian.Uint64(handle))
}

func (m *fakeMemory) Take(handle []byte, limit int) (*wire.Buffer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(handle) != 8 {
		return nil, errors.New("not a handle")
	}
	n := binary.BigEndian.Uint64(handle)
	p, ok := m.blocks[n]
	if !ok {
		return nil, errors.New("unknown block")
	}
	delete(m.blocks, n)
	if len(p) > limit {
		return nil, &wire.LimitError{What: "shared payload", Limit: uint64(limit), Got: uint64(len(p))}
	}
	return wire.CopyBuffer(p), nil
}

func (m *fakeMemory) used() (puts, left int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.puts, len(m.blocks)
}

// TestLargePayloadsTakeSharedMemory: requests and responses from shareBytes on travel as handles, on lanes, and when
// there is no room as if there were no shared memory.
func TestLargePayloadsTakeSharedMemory(t *testing.T) {
	onBoth(t, func(t *testing.T, k kind) {
		m := &fakeMemory{blocks: map[uint64][]byte{}}
		client, server := k.pair(t, Config{}, Config{Serve: echo})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		client.SetMemory(m)
		server.SetMemory(m)
		for _, c := range []struct {
			size, puts int
			full       bool
		}{
			{size: 100}, {size: shareBytes, puts: 2}, {size: 100 << 10, puts: 2}, {size: DefaultMaxMessageBytes, puts: 2},
			{size: 100 << 10, full: true}, {size: 1 << 20, full: true},
		} {
			before, _ := m.used()
			m.full = c.full
			body := bytes.Repeat([]byte{7}, c.size)
			got, status, err := call(t.Context(), client, wire.ClassRPC, body)
			if err != nil || status.Code != wire.OK || !bytes.Equal(got, body) {
				t.Errorf("%d bytes: status %v, %d bytes, %v", c.size, status, len(got), err)
			}
			if after, left := m.used(); after-before != c.puts || left != 0 {
				t.Errorf("%d bytes, full %v: %d blocks were used and %d are left, want %d and 0", c.size, c.full, after-before, left, c.puts)
			}
		}
	})
}

// TestUnsentHandlesComeBack: a call that cannot be sent leaves nothing in shared memory.
func TestUnsentHandlesComeBack(t *testing.T) {
	m := &fakeMemory{blocks: map[uint64][]byte{}}
	client, _ := pipePair(t, Config{}, Config{Serve: echo})
	client.SetMemory(m)
	client.Close()
	if _, _, err := call(context.Background(), client, wire.ClassRPC, make([]byte, shareBytes)); err == nil {
		t.Error("a call on a closed connection succeeded")
	}
	if puts, left := m.used(); puts != 1 || left != 0 {
		t.Errorf("%d blocks were used and %d are left, want 1 and 0", puts, left)
	}
}
