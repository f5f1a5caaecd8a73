package streams

import (
	"errors"
	"io"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

const (
	// laneReadBytes holds the largest lane frame; a read takes whatever has arrived, many small frames at once.
	laneReadBytes = 2 * wire.MaxLaneFrameBytes
	// idleReadBytes is the buffer of a lane on which little arrives: most of those of a server with many clients wait.
	idleReadBytes = 2 << 10
	// streamReadBytes is the buffer of a call stream; larger payloads are read into a buffer of their own.
	streamReadBytes = 4 << 10
	// firstGrowBytes is how much is allocated for a large payload before more of it has arrived.
	firstGrowBytes = 256 << 10
)

// A frameReader cuts the bytes of one stream into frames. It belongs to the goroutine that reads the stream.
type frameReader struct {
	s       io.Reader
	meter   *creditMeter // streams of class bulk
	total   int          // bytes taken off the stream
	buf     *wire.Buffer
	pos     int // consumed part of buf.B
	size    int // of buf when much arrives; until then, and again when little does, it may be less
	last    int // bytes of the last fill
	maxLen  int
	knob    string
	own     bool    // the stream carries one call
	pending *budget // of the connection; large payloads are counted until they are complete
	idle    func(time.Time)
}

// A frame is one frame as it was read. Exactly one of payload and large holds the content.
type frame struct {
	wire.FrameHead
	payload []byte       // valid until the next call of next
	large   *wire.Buffer // owned by whoever called next
}

// take returns the payload as a buffer that the caller owns.
func (f *frame) take() *wire.Buffer {
	if f.large != nil {
		return f.large
	}
	return wire.CopyBuffer(f.payload)
}

func newFrameReader(s io.Reader, size, maxLen int, knob string) *frameReader {
	first := size
	if size > streamReadBytes {
		first = idleReadBytes
	}
	return &frameReader{s: s, buf: wire.NewBuffer(first), size: size, maxLen: maxLen, knob: knob}
}

// release gives the buffer back. The reader must not be used afterwards.
func (r *frameReader) release() {
	r.buf.Release()
	r.buf = nil
	if r.meter != nil {
		r.meter.end()
	}
}

// next returns the next frame; when it fails after the frame's head, the frame has that. At the end of the stream it returns io.EOF if the stream ends between frames,
// io.ErrUnexpectedEOF otherwise. Errors of package wire mean that the peer violated the protocol.
func (r *frameReader) next() (f frame, err error) {
	for {
		h, n, err := wire.ParseFrameHead(r.buf.B[r.pos:], r.maxLen, r.knob)
		if err == nil && h.Shared && r.own {
			return f, violation(wire.CloseProtocol, "handle of shared memory on the stream of a call")
		}
		switch {
		case err == nil && len(r.buf.B)-r.pos-n >= h.Len:
			start := r.pos + n
			r.pos = start + h.Len
			return frame{FrameHead: h, payload: r.buf.B[start:r.pos:r.pos]}, nil
		case err == nil && n+h.Len > max(cap(r.buf.B), r.size):
			r.pos += n
			large, err := r.readLarge(h.Len)
			return frame{FrameHead: h, large: large}, err
		case err != nil && !errors.Is(err, wire.ErrTruncated):
			return frame{FrameHead: h}, err
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && r.pos < len(r.buf.B) {
				err = io.ErrUnexpectedEOF
			}
			return f, err
		}
	}
}

// readByte returns the next byte of the stream, its preface.
func (r *frameReader) readByte() (byte, error) {
	for r.pos == len(r.buf.B) {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	b := r.buf.B[r.pos]
	r.pos++
	return b, nil
}

// fill moves what is left to the front and reads at least one byte.
func (r *frameReader) fill() error {
	b := r.buf.B
	full := len(b) == cap(b) // and more is likely to be there
	if r.pos > 0 || len(b) == 0 {
		b = b[:copy(b, b[r.pos:])]
		r.pos = 0
	}
	switch {
	case full && cap(b) < r.size:
		b = r.resize(b, r.size)
	case len(b) == 0 && r.size > streamReadBytes && cap(b) > idleReadBytes && r.last < idleReadBytes:
		b = r.resize(b, idleReadBytes)
	}
	n, err := r.read(b[len(b):cap(b)])
	r.buf.B, r.last = b[:len(b)+n], n
	if n > 0 {
		return nil
	}
	return err
}

// resize moves b to a buffer of another size.
func (r *frameReader) resize(b []byte, size int) []byte {
	next := wire.NewBuffer(size)
	next.B = append(next.B, b...)
	r.buf.Release()
	r.buf = next
	return next.B
}

func (r *frameReader) read(p []byte) (int, error) {
	if r.idle != nil {
		r.idle(time.Now().Add(stallTimeout))
	}
	for range 16 {
		n, err := r.s.Read(p)
		r.total += n
		if n > 0 && r.meter != nil {
			r.meter.read(r.total)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.ErrNoProgress
}

// readLarge reads a payload that does not fit the buffer, with memory that grows as the bytes arrive.
func (r *frameReader) readLarge(size int) (*wire.Buffer, error) {
	if r.pending != nil {
		if err := r.pending.add(size); err != nil {
			return nil, err
		}
		defer r.pending.sub(size)
	}
	out := wire.NewBuffer(min(size, firstGrowBytes))
	out.B = append(out.B, r.buf.B[r.pos:]...)
	r.buf.B, r.pos = r.buf.B[:0], 0
	for len(out.B) < size {
		if len(out.B) == cap(out.B) {
			grown := wire.NewBuffer(min(size, 4*cap(out.B)))
			grown.B = append(grown.B, out.B...)
			out.Release()
			out = grown
		}
		n, err := r.read(out.B[len(out.B):min(cap(out.B), size)])
		out.B = out.B[:len(out.B)+n]
		if err != nil && len(out.B) < size {
			out.Release()
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return out, nil
}
