package largeobj

import (
	"fmt"
	"io"
	"sync"
	"unsafe"

	"github.com/mycel-rpc/mycel/largeobj/internal/transfer"
)

// A View is an object that has been opened to read. It may be used by several goroutines until Release.
//
// The bytes of a view may be the memory of another process. They are valid until the view is released, and as long as the
// View itself is reachable: defer its Release.
type View struct {
	h      *handle
	source transfer.Source
	size   int64
	bytes  func() []byte
}

// newView returns a view of a content that is here, with a hold that the caller has.
func newView(h *handle) *View {
	c := h.c
	bytes, source, _ := c.here()
	v := &View{h: h, source: source, size: c.known()}
	if source == nil {
		v.source = transfer.Bytes(bytes)
	}
	v.bytes = func() []byte { return bytes }
	if bytes == nil && v.size > 0 {
		v.bytes = sync.OnceValue(v.readAll)
	}
	return v
}

func (v *View) readAll() []byte {
	b := make([]byte, v.size)
	if n, _ := v.source.ReadAt(b, 0); n < len(b) {
		return nil
	}
	return b
}

// Size returns the number of bytes.
func (v *View) Size() int64 { return v.size }

// Bytes returns the content, which must not be written to: on the same host a write to it is a fault. What was fetched
// into a temporary file is mapped; a file of this process ([FromFile]) is read into memory the first time, and Bytes returns
// nil when that fails: use ReadAt or WriteTo for it.
func (v *View) Bytes() []byte { return v.bytes() }

// ReadAt implements [io.ReaderAt].
func (v *View) ReadAt(p []byte, off int64) (int, error) { return v.source.ReadAt(p, off) }

// Reader returns a reader of the content from its start.
func (v *View) Reader() *io.SectionReader { return io.NewSectionReader(v, 0, v.size) }

// WriteTo implements [io.WriterTo].
func (v *View) WriteTo(w io.Writer) (int64, error) {
	if b, source, _ := v.h.c.here(); source == nil {
		n, err := w.Write(b)
		return int64(n), err
	}
	return io.Copy(w, v.Reader())
}

// Keep makes the view outlive the handler that received the object; it must then be released.
func (v *View) Keep() { v.h.kept.Store(true) }

// Release gives the object back; the bytes must not be touched afterwards. It is idempotent. In a handler it is also done
// when the call ends, unless the view is kept.
func (v *View) Release() { v.h.release() }

// Number is the element of a numeric array.
type Number interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64
}

// As returns b, the bytes of an object, as a slice of numbers in the byte order of this machine, without copying. Objects
// begin at addresses that suit every type. It panics if b is not aligned for T or not a whole number of elements.
func As[T Number](b []byte) []T {
	var t T
	size := int(unsafe.Sizeof(t))
	if len(b)%size != 0 {
		panic(fmt.Sprintf("largeobj: %d bytes are no whole number of elements of %d bytes", len(b), size))
	}
	if len(b) == 0 {
		return nil
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%unsafe.Alignof(t) != 0 {
		panic("largeobj: bytes are not aligned for the type of number")
	}
	return unsafe.Slice((*T)(p), len(b)/size)
}
