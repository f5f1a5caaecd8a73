package codec

import (
	"testing"

	"github.com/mycel-rpc/mycel/wire/compress"
)

// BenchmarkPacked compares the forms of batches of measurements: of 3.2 KB in columns, and of rows.
func BenchmarkPacked(b *testing.B) {
	benchPacked(b, "columns-100", newColumns(100))
	benchPacked(b, "columns-1024", newColumns(1024))
	benchPacked(b, "rows-100", newBatch(100))
	benchPacked(b, "rows-1024", newBatch(1024))
}

func benchPacked[T any](b *testing.B, name string, v *T) {
	c, plain, packed := codecOf(b, v), appendOf(b, v), packedOf(b, v)
	generic, err := c.AppendGeneric(nil, v)
	if err != nil {
		b.Fatal(err)
	}
	buf, got := make([]byte, 0, 2*len(plain)), new(T)
	run := func(what string, size int, f func() error) {
		b.Run(name+"/"+what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size), "bytes")
			b.ReportMetric(100*float64(size)/float64(len(generic)), "%ofmaps")
		})
	}
	fast := compress.Path{CPUPerByte: 0.1}
	p, idle := pinnedPacker(b, v), c.NewPacker()
	run("encode", len(plain), func() error { _, err := c.Append(buf, v); return err })
	run("encode-unpacked", len(plain), func() error { _, err := c.AppendWith(buf, v, AppendOptions{Packer: idle, Path: fast}); return err })
	run("encode-packed", len(packed), func() error { _, err := c.AppendWith(buf, v, AppendOptions{Packer: p, Path: slow}); return err })
	run("decode", len(plain), func() error { return c.Decode(plain, got, Limits{}) })
	run("decode-packed", len(packed), func() error { return c.Decode(packed, got, Limits{}) })
}
