package transfer

import (
	"testing"
)

func BenchmarkServeReceive(b *testing.B) {
	const size = 64 << 20
	data := random(size)
	for _, verify := range []bool{true, false} {
		name := "verified"
		if !verify {
			name = "unverified"
		}
		for _, cached := range []bool{false, true} {
			if !verify && cached {
				continue
			}
			if cached {
				name += "/hashes-cached"
			}
			b.Run(name, func(b *testing.B) {
				f := newLoopback(b, Bytes(data), 0)
				dst := NewBuffer(nil, "")
				defer dst.Close()
				b.SetBytes(size)
				b.ReportAllocs()
				for i := byte(0); b.Loop(); i++ {
					if !cached {
						f = newLoopback(b, Bytes(data), 0)
					}
					f.leaves.off = !verify
					dst.have = RangeSet{} // the memory is there already
					receive(b, Manifest{Size: size}, f, dst, Options{Unverified: !verify})
				}
			})
		}
	}
}

func BenchmarkFile(b *testing.B) {
	const size = 256 << 20
	data := random(size)
	path := b.TempDir() + "/object"
	b.SetBytes(size)
	for b.Loop() {
		receive(b, Manifest{Size: size}, newLoopback(b, Bytes(data), 0), NewFile(path), Options{})
	}
}
