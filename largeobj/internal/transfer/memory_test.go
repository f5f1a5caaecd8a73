package transfer

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget(t, 4<<20, 2<<20)
		take := func(n int64) []byte {
			if !b.take(n, 0) {
				t.Fatalf("%d bytes do not fit", n)
			}
			return b.memory(n)
		}
		give := func(m []byte) {
			b.give(int64(len(m)))
			b.recycle(m)
		}
		first := take(300_000)
		give(first)
		second := take(299_000)
		if &second[0] != &first[0] || len(second) != 299_000 {
			t.Error("memory of the same class was not used again")
		}
		other := take(400_000)
		if &other[0] == &first[0] {
			t.Error("memory that is in use was given to another")
		}
		give(second)
		give(other)
		give(take(1 << 20)) // takes the place of the others
		waiting := func() (bytes int64, timer bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.mu.freeBytes, b.mu.timer
		}
		if n, _ := waiting(); n > 1<<20 {
			t.Errorf("%d bytes wait", n)
		}
		time.Sleep(2 * recycleTime)
		if n, timer := waiting(); n != 0 || timer {
			t.Errorf("%d bytes wait for nobody", n)
		}
		if n := b.Used(); n != 0 {
			t.Errorf("%d bytes are in use", n)
		}
	})
}

func TestMemoryClasses(t *testing.T) {
	for n := int64(recycledBytes); n < 1<<40; n += n/50 + 1 {
		size := classSize(n)
		if size < n || size > n+n/8 || classSize(size) != size {
			t.Fatalf("%d bytes have %d, and these %d", n, size, classSize(size))
		}
	}
}
