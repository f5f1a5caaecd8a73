//go:build amd64 || arm64

package shm

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// small is an arena of which little is soon full.
var small = ArenaConfig{SegmentBytes: 256 << 10, MaxBytes: 1 << 20, MaxSegments: 8}

func address(b *Block) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b.bytes))) }

func TestClassesHoldWhatTheyAreFor(t *testing.T) {
	for n := int64(1); n <= maxSegmentBytes; n += 1 + n/97 {
		size := classBytes(classFor(n))
		if size < n || n >= MinBlockBytes && size > n+n/4 || size%64 != 0 {
			t.Fatalf("%d bytes get %d", n, size)
		}
		if n >= MinBlockBytes && (classBytes(classIn(n)) > n || classBytes(classIn(n)+1) <= n) {
			t.Fatalf("a chunk of %d bytes is in the class of %d", n, classBytes(classIn(n)))
		}
	}
	if classIn(maxSegmentBytes) > 63 {
		t.Error("more classes than bits")
	}
}

func TestBlocksAreAligned(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	for _, n := range []int{1, 63, 4096, 4097, 5000, 70_000, 1 << 20, 40 << 20} {
		b := newBlock(t, a, n)
		defer b.Release()
		if address(b)%64 != 0 || len(b.Bytes()) != n || cap(b.Bytes()) != n {
			t.Errorf("%d bytes at %#x, length %d, capacity %d", n, address(b), len(b.Bytes()), cap(b.Bytes()))
		}
	}
}

func TestMemoryFreedLastIsUsedFirst(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	var blocks []*Block
	for range 8 {
		blocks = append(blocks, newBlock(t, a, 10_000))
	}
	for _, i := range []int{1, 5, 3} { // not beside each other
		blocks[i].Release()
	}
	for _, i := range []int{3, 5, 1} {
		b := newBlock(t, a, 10_000)
		defer b.Release()
		if address(b) != address(blocks[i]) {
			t.Errorf("a new block is at %#x, the one freed last was at %#x", address(b), address(blocks[i]))
		}
	}
	for _, i := range []int{0, 2, 4, 6, 7} {
		blocks[i].Release()
	}
}

func TestFreedNeighboursBecomeOne(t *testing.T) {
	a := newArena(t, ArenaConfig{SegmentBytes: 1 << 20, MaxBytes: 1 << 20})
	var blocks []*Block
	for {
		b, err := a.Alloc(MinBlockBytes)
		if err != nil {
			break
		}
		blocks = append(blocks, b)
	}
	if len(blocks) != 1<<20/MinBlockBytes {
		t.Errorf("%d blocks fit", len(blocks))
	}
	rand.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	for _, b := range blocks {
		b.Release()
		checkArena(t, a)
	}
	newBlock(t, a, 512<<10).Release()
}

func TestAFullArenaSaysWhatIsFull(t *testing.T) {
	for _, c := range []struct {
		name   string
		config ArenaConfig
		size   int
		knob   string
	}{
		{"bytes of shared segments", small, 10_000, "MaxBytes"},
		{"bytes of large blocks", small, 200_000, "MaxBytes"},
		{"segments", ArenaConfig{SegmentBytes: 64 << 10, MaxSegments: 2}, 40_000, "MaxSegments"},
		{"a block of more than everything", small, 2 << 20, "MaxBytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newArena(t, c.config)
			var blocks []*Block
			var full *FullError
			for {
				b, err := a.Alloc(c.size)
				if err != nil {
					if !errors.As(err, &full) || full.Knob != c.knob || full.Size != int64(c.size) {
						t.Errorf("the error is %v", err)
					}
					break
				}
				blocks = append(blocks, b)
			}
			if s := a.Stats(); s.SegmentBytes > a.config.MaxBytes || s.Segments > a.config.MaxSegments || s.Fulls != 1 {
				t.Errorf("full with %+v", s)
			}
			for _, b := range blocks {
				b.Release()
			}
		})
	}
}

func TestUnusedSegmentsMakeRoom(t *testing.T) {
	a := newArena(t, small)
	for _, n := range []int{10_000, 1 << 20, 10_000, 900_000, 300_000, 500_000, 10_000} {
		newBlock(t, a, n).Release()
	}
	b, err := a.AllocSealed(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	b.Release()
	if s := a.Stats(); s.Segments != 0 {
		t.Errorf("memory of a sealed block is kept: %+v", s)
	}
}

func TestIdleMemoryIsGivenBack(t *testing.T) {
	a := newArena(t, ArenaConfig{SegmentBytes: 256 << 10, IdleAfter: 20 * time.Millisecond})
	kept := newBlock(t, a, 5000)
	newBlock(t, a, 1<<20).Release()
	until(t, "the large segment to go", func() bool { return a.Stats().SegmentBytes == 256<<10 })
	fill(kept.Bytes(), 1)
	if !filled(kept.Bytes(), 1) {
		t.Error("the block in use is gone, too")
	}
	kept.Release()
	until(t, "the other segment to go", func() bool { return a.Stats().SegmentBytes == 0 })
}

func TestReleasingTwicePanics(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	b := newBlock(t, a, 1)
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("it was released twice")
		}
	}()
	b.Release()
}

func TestClosedArenaKeepsBlocksInUse(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	b := newBlock(t, a, 5000)
	newBlock(t, a, 60<<20).Release()
	a.Close()
	fill(b.Bytes(), 1)
	if s := a.Stats(); s.Segments != 1 || s.Blocks != 1 {
		t.Errorf("closed with a block in use: %+v", s)
	}
	for _, n := range []int{1, 60 << 20} {
		if _, err := a.Alloc(n); !errors.Is(err, ErrClosed) {
			t.Errorf("allocating %d bytes of a closed arena: %v", n, err)
		}
	}
	if _, err := a.AllocSealed(1); !errors.Is(err, ErrClosed) {
		t.Errorf("allocating a sealed block of a closed arena: %v", err)
	}
	b.Release()
}

func TestWritingAfterSealIsAFault(t *testing.T) {
	a := newArena(t, ArenaConfig{})
	b, err := a.AllocSealed(10_000)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	fill(b.Bytes(), 1)
	at := address(b)
	for range 2 {
		if err := b.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a sealed block was written")
			}
		}()
		b.Bytes()[0]++
	}()
	if !filled(b.Bytes(), 1) || address(b) != at {
		t.Error("sealing changed the block")
	}
}

// FuzzArena interprets bytes as a program: each step allocates a size or releases a block. No two blocks may overlap, which
// their content shows, and the arena must be consistent at any time.
func FuzzArena(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		program := make([]byte, 300)
		for i := range program {
			program[i] = byte(r.Uint32())
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		a := newArena(t, small)
		type held struct {
			*Block
			seed uint64
		}
		var blocks []held
		release := func(i int) {
			if !filled(blocks[i].Bytes(), blocks[i].seed) {
				t.Fatalf("block %d has been overwritten", blocks[i].seed)
			}
			blocks[i].Release()
			blocks = append(blocks[:i], blocks[i+1:]...)
		}
		for seed := uint64(1); len(program) >= 3; seed++ {
			op, arg := program[0], int(binary.LittleEndian.Uint16(program[1:]))
			program = program[3:]
			if op%2 == 0 && len(blocks) > 0 {
				release(arg % len(blocks))
				checkArena(t, a)
				continue
			}
			n := 1 + arg<<(op>>1%4)
			alloc := a.Alloc
			if op > 240 {
				alloc = a.AllocSealed
			}
			b, err := alloc(n)
			if full := (*FullError)(nil); errors.As(err, &full) {
				if int64(n) > full.Limit-full.InUse || full.Knob == "MaxSegments" || n <= int(small.SegmentBytes)/2 {
					continue
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			fill(b.Bytes(), seed)
			if op > 248 {
				if err := b.Seal(); err != nil {
					t.Fatal(err)
				}
			}
			blocks = append(blocks, held{b, seed})
			checkArena(t, a)
		}
		for len(blocks) > 0 {
			release(0)
		}
	})
}

func TestArenaIsSafeForConcurrentUse(t *testing.T) {
	a := newArena(t, ArenaConfig{SegmentBytes: 256 << 10, MaxBytes: 4 << 20, IdleAfter: time.Millisecond})
	var wg sync.WaitGroup
	for worker := range uint64(8) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(worker, 1))
			var blocks []*Block
			for step := range uint64(2000) {
				if len(blocks) == 8 {
					for _, b := range blocks {
						if !filled(b.Bytes(), binary.LittleEndian.Uint64(append([]byte{byte(worker)}, make([]byte, 7)...))) {
							t.Error("a block has been overwritten")
						}
						b.Release()
					}
					blocks = blocks[:0]
				}
				n := 1 + r.IntN(20_000)
				if step%100 == 0 {
					n = 300_000
				}
				if b, err := a.Alloc(n); err == nil {
					fill(b.Bytes(), worker)
					blocks = append(blocks, b)
				}
			}
			for _, b := range blocks {
				b.Release()
			}
		})
	}
	wg.Wait()
	checkArena(t, a)
}

func BenchmarkAllocRelease(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"8KiB", 8 << 10}, {"1MiB", 1 << 20}} {
		b.Run(c.name, func(b *testing.B) {
			a := newArena(b, ArenaConfig{})
			newBlock(b, a, c.n).Release()
			b.ReportAllocs()
			for b.Loop() {
				block, err := a.Alloc(c.n)
				if err != nil {
					b.Fatal(err)
				}
				block.Release()
			}
		})
	}
	b.Run("8KiB-parallel", func(b *testing.B) {
		a := newArena(b, ArenaConfig{})
		newBlock(b, a, 8<<10).Release()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				block, err := a.Alloc(8 << 10)
				if err != nil {
					b.Error(err)
					return
				}
				block.Release()
			}
		})
	})
}

func BenchmarkFirstSegment(b *testing.B) {
	for b.Loop() {
		a, err := NewArena(ArenaConfig{})
		if err != nil {
			b.Fatal(err)
		}
		newBlock(b, a, 1).Release()
		a.Close()
	}
}

func BenchmarkAllocSealed(b *testing.B) {
	a := newArena(b, ArenaConfig{})
	b.SetBytes(1 << 20)
	for b.Loop() {
		block, err := a.AllocSealed(1 << 20)
		if err != nil {
			b.Fatal(err)
		}
		if err := block.Seal(); err != nil {
			b.Fatal(err)
		}
		block.Release()
	}
}
