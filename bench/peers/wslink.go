package main

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lxzan/gws"
	"github.com/tinylib/msgp/msgp"
)

const (
	// chunkBytes is the size above which a message travels in parts, so that other messages pass between them.
	// hypha-rpc parts at 256 KiB; with its header a part just fits the largest buffers that the library pools.
	chunkBytes = 255 << 10
	// maxMessageBytes bounds a message, and maxPartsBytes what the parts of one may add up to.
	maxMessageBytes = 64 << 20
	maxPartsBytes   = 320 << 20
	chunkMethod     = "message_cache.append"
)

// writeMode says how a link turns frames into WebSocket messages.
type writeMode int

const (
	direct   writeMode = iota // one message each, written by the sender
	deflated                  // the same, compressed: see deflateOptions
	combined                  // length-prefixed, many in one message: see combiner
)

// link sends and receives frames on one WebSocket connection, in either role.
type link struct {
	conn *gws.Conn
	mode writeMode
	out  combiner
	// receive takes ownership of a reference to in, which keeps the bytes of f valid.
	// It is called by the read loop, one frame at a time.
	receive func(f frame, in *inbound)
	partial map[string]*inbound // messages of which parts are missing; owned by the read loop
	began   atomic.Int64        // by clock: when the first part of the last message in parts came
}

func newLink(mode writeMode, receive func(frame, *inbound)) *link {
	l := &link{mode: mode, receive: receive, partial: map[string]*inbound{}}
	l.out.init(func(p []byte) error { return l.conn.WriteMessage(gws.OpcodeBinary, p) })
	return l
}

// value is what a frame carries.
type value interface {
	msgp.Marshaler
	msgp.Sizer
}

// send encodes a frame that carries v and writes it. It is safe for concurrent use. The key is that of the parts, if
// the frame takes several: different from those of all other frames that this end has under way.
func (l *link) send(key []byte, v value, encode func(dst []byte, v value) ([]byte, error)) error {
	buf := getBuffer(headerBytes + v.Msgsize())
	defer putBuffer(buf)
	b, err := encode((*buf)[:0], v)
	if err != nil {
		return err
	}
	*buf = b
	if len(b) <= chunkBytes {
		return l.write(b, nil)
	}
	head := getBuffer(headerBytes)
	defer putBuffer(head)
	for total := len(b); len(b) > 0; {
		part := b[:min(len(b), chunkBytes)]
		b = b[len(part):]
		*head = appendChunkHeader((*head)[:0], key, total, len(part))
		if err := l.write(*head, part); err != nil {
			return err
		}
	}
	return nil
}

// write sends the frame whose bytes are those of head and tail. It borrows both.
func (l *link) write(head, tail []byte) error {
	if l.mode == combined {
		return l.out.write(head, tail)
	}
	if len(tail) == 0 {
		return l.conn.WriteMessage(gws.OpcodeBinary, head)
	}
	return l.conn.Writev(gws.OpcodeBinary, head, tail)
}

// appendChunkHeader appends all of a part's frame but its data, which follows.
func appendChunkHeader(dst, key []byte, total, length int) []byte {
	dst = msgp.AppendMapHeader(dst, 5)
	dst = appendAddresses(dst, clientAddress, serverAddress)
	dst = msgp.AppendString(dst, "method")
	dst = msgp.AppendString(dst, chunkMethod)
	dst = msgp.AppendString(dst, "session")
	dst = msgp.AppendStringFromBytes(dst, key)
	dst = msgp.AppendMapHeader(dst, 1)
	dst = msgp.AppendString(dst, "args")
	dst = msgp.AppendArrayHeader(dst, 2)
	dst = msgp.AppendInt(dst, total)
	return msgp.AppendBytesHeader(dst, uint32(length))
}

// inbound keeps received bytes valid until the last reference is released.
type inbound struct {
	refs  atomic.Int32
	msg   *gws.Message // a whole message, or
	parts *[]byte      // one put together from parts
}

var inbounds = sync.Pool{New: func() any { return new(inbound) }}

// newInbound returns an inbound with one reference.
func newInbound(msg *gws.Message, parts *[]byte) *inbound {
	in := inbounds.Get().(*inbound)
	in.msg, in.parts = msg, parts
	in.refs.Store(1)
	return in
}

func (in *inbound) release() {
	if in.refs.Add(-1) > 0 {
		return
	}
	if in.msg != nil {
		_ = in.msg.Close() // always nil; returns the buffer to the library
	} else {
		putBuffer(in.parts)
	}
	in.msg, in.parts = nil, nil
	inbounds.Put(in)
}

// onMessage takes ownership of m.
func (l *link) onMessage(m *gws.Message) error {
	in := newInbound(m, nil)
	defer in.release()
	b := m.Bytes()
	if l.mode != combined {
		return l.onFrame(b, in)
	}
	for len(b) > 0 {
		if len(b) < frameLengthBytes {
			return errFrame
		}
		n := int(binary.LittleEndian.Uint32(b))
		if b = b[frameLengthBytes:]; n > len(b) {
			return errFrame
		}
		if err := l.onFrame(b[:n], in); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (l *link) onFrame(b []byte, in *inbound) error {
	f, err := parseFrame(b)
	if err != nil {
		return err
	}
	if string(f.method) == chunkMethod {
		return l.onChunk(f)
	}
	in.refs.Add(1)
	l.receive(f, in) // ownership of the reference passes to receive
	return nil
}

func (l *link) onChunk(f frame) error {
	total, rest, err := msgp.ReadIntBytes(f.arg)
	if err != nil {
		return fmt.Errorf("bench: part of a message: %w", err)
	}
	data, _, err := msgp.ReadBytesZC(rest)
	if err != nil {
		return fmt.Errorf("bench: part of a message: %w", err)
	}
	in := l.partial[string(f.session)]
	if in == nil {
		if total < 0 || total > maxPartsBytes {
			return fmt.Errorf("bench: message of %d bytes exceeds %d", total, maxPartsBytes)
		}
		in = newInbound(nil, getBuffer(total))
		l.began.Store(int64(clock()))
		l.partial[string(f.session)] = in
	}
	parts := in.parts
	if len(*parts)+len(data) > total {
		return errFrame
	}
	if *parts = append(*parts, data...); len(*parts) < total {
		return nil
	}
	delete(l.partial, string(f.session))
	defer in.release()
	return l.onFrame(*parts, in)
}
