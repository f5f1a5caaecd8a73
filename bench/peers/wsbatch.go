package main

import (
	"encoding/binary"
	"sync"
)

const (
	frameLengthBytes = 4 // little-endian length before each frame of a combined message
	// maxCombinedBytes bounds the frames waiting for the writer. A single larger frame is accepted when none waits.
	maxCombinedBytes = 256 << 10
)

// combiner lets whoever finds the connection idle write for everyone who arrives meanwhile. No goroutine and no timer
// is involved: a frame that finds the connection idle is written at once, alone.
type combiner struct {
	writeMessage func([]byte) error

	mu struct {
		sync.Mutex
		room    sync.Cond // signalled when queued has been taken
		queued  []byte    // frames behind their lengths
		spare   []byte    // the buffer that is not queued, unless it is being written
		writing bool
		err     error // of the first failed write; sticky
	}
}

func (c *combiner) init(writeMessage func([]byte) error) {
	c.writeMessage = writeMessage
	c.mu.room.L = &c.mu
}

// write queues the frame made of head and tail and, if nobody is writing, writes what is queued. It borrows both.
// It blocks while too much is queued. An error may be that of an earlier frame.
func (c *combiner) write(head, tail []byte) error {
	n := len(head) + len(tail)
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.mu.queued) > 0 && len(c.mu.queued)+frameLengthBytes+n > maxCombinedBytes && c.mu.err == nil {
		c.mu.room.Wait()
	}
	if c.mu.err != nil {
		return c.mu.err
	}
	c.mu.queued = binary.LittleEndian.AppendUint32(c.mu.queued, uint32(n))
	c.mu.queued = append(c.mu.queued, head...)
	c.mu.queued = append(c.mu.queued, tail...)
	if c.mu.writing {
		return nil
	}
	return c.flushLocked()
}

// flushLocked writes until nothing is queued. It unlocks while it writes.
func (c *combiner) flushLocked() error {
	c.mu.writing = true
	for len(c.mu.queued) > 0 && c.mu.err == nil {
		b := c.mu.queued
		c.mu.queued, c.mu.spare = c.mu.spare[:0], nil
		c.mu.room.Broadcast()
		c.mu.Unlock()
		err := c.writeMessage(b)
		c.mu.Lock()
		c.mu.spare = b[:0]
		c.mu.err = err
	}
	c.mu.writing = false
	if c.mu.err != nil {
		c.mu.room.Broadcast()
	}
	return c.mu.err
}
