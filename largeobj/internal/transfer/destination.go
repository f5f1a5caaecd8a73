package transfer

// A Destination is where the bytes of an object go: a [*Buffer], or a [*File]. It is for one [Receive] at a time.
type Destination interface {
	// begin prepares for an object. It returns the leaves that are there already, and the size if that is known to
	// either side. After an error, end is not called.
	begin(m Manifest) (have RangeSet, size int64, err error)
	// grow makes room for the first n bytes of an object of unknown size. One stream calls it, which has written all
	// bytes before.
	grow(n int64) error
	// slice returns the place of n bytes at off, or nil when it is not in memory.
	slice(off, n int64) []byte
	// writeAt writes bytes that are not in memory. It is called concurrently for parts that do not overlap.
	writeAt(p []byte, off int64) error
	// verified is called with everything that is there, whenever that has grown, and with the size or -1. It takes
	// ownership of have and does not block.
	verified(have RangeSet, size int64)
	// end is called when nothing is going on any more.
	end(size int64, complete bool) error
}
