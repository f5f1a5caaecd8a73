package transfer

import "testing"

func TestMemoryClasses(t *testing.T) {
	last := -1
	for n := int64(pooledBytes); n < 1<<40; n += n/50 + 1 {
		class, size := classOf(n)
		if size < n || size > n+n/8 || class < last || class >= len(memories) {
			t.Fatalf("%d bytes: class %d of %d bytes after class %d", n, class, size, last)
		}
		if c, s := classOf(size); c != class || s != size {
			t.Fatalf("%d bytes: class %d of %d, which is itself of class %d of %d", n, class, size, c, s)
		}
		last = class
	}
	m := takeMemory(100_000)
	m[0] = 7
	putMemory(m)
	if m = takeMemory(99_999); len(m) != 99_999 || cap(m) < 99_999 {
		t.Errorf("%d bytes of %d", len(m), cap(m))
	}
}
