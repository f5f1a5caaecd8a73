package compress

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

// windowBytes is how far back matches reach, and so most of the memory of a pooled encoder.
const windowBytes = 1 << 20

// Encoders and decoders start no goroutines at a concurrency of 1 and hold nothing but memory: the collector may have
// them. One of each is as much as a processor can use.
var (
	zstdEncoders = sync.Pool{New: func() any {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(windowBytes))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	}}
	zstdDecoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return d
	}}
)

func appendZstd(dst, src []byte) []byte {
	e := zstdEncoders.Get().(*zstd.Encoder)
	defer zstdEncoders.Put(e)
	return e.EncodeAll(src, dst)
}

// decodeZstd fills plain, whose capacity bounds what is decoded, and reports whether src is just that.
func decodeZstd(plain, src []byte) bool {
	d := zstdDecoders.Get().(*zstd.Decoder)
	defer zstdDecoders.Put(d)
	out, err := d.DecodeAll(src, plain[:0])
	return err == nil && len(out) == len(plain)
}
