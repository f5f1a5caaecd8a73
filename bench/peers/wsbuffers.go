package main

import "sync"

const (
	headerBytes    = 512       // more than the routing part of a frame takes
	largeBytes     = 256 << 10 // from here on a buffer is large
	maxLargeBytes  = 320 << 20 // larger ones are left to the garbage collector
	largeFreeCount = 16        // bounds the large buffers that are kept
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([]byte) }}
	// largeBuffers is not a sync.Pool because the garbage of large messages makes the collector empty those often.
	largeBuffers = make(chan *[]byte, largeFreeCount)
)

// getBuffer returns an empty buffer with room for sizeBytes. Its owner hands it to putBuffer once.
func getBuffer(sizeBytes int) *[]byte {
	var b *[]byte
	if sizeBytes < largeBytes {
		b = smallBuffers.Get().(*[]byte)
	} else {
		select {
		case b = <-largeBuffers:
		default:
			b = new([]byte)
		}
	}
	if *b = (*b)[:0]; cap(*b) < sizeBytes {
		*b = make([]byte, 0, sizeBytes)
	}
	return b
}

// dropBuffers leaves the large buffers to the garbage collector.
func dropBuffers() {
	for {
		select {
		case <-largeBuffers:
		default:
			return
		}
	}
}

func putBuffer(b *[]byte) {
	switch size := cap(*b); {
	case size < largeBytes:
		smallBuffers.Put(b)
	case size <= maxLargeBytes:
		select {
		case largeBuffers <- b:
		default:
		}
	}
}
