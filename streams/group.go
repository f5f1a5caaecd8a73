package streams

import (
	"sync"
	"sync/atomic"
)

// A group counts short-lived goroutines that anybody may start, until it is closed. (A WaitGroup forbids starting
// one when the count is zero and somebody waits, which is just what happens when a connection ends.)
type group struct {
	count atomic.Int64 // plus groupClosed once closed
	once  sync.Once
	done  chan struct{} // closed when the group is closed and the last goroutine has left
}

const groupClosed = -1 << 62

func (g *group) init() { g.done = make(chan struct{}) }

// enter reports false when the group is closed. Otherwise leave must be called.
func (g *group) enter() bool {
	if g.count.Add(1) > 0 {
		return true
	}
	g.leave()
	return false
}

func (g *group) leave() {
	if g.count.Add(-1) == groupClosed {
		g.once.Do(func() { close(g.done) })
	}
}

// close lets nobody enter any more and waits until everybody has left. It is called once.
func (g *group) close() {
	g.count.Add(groupClosed + 1)
	g.leave()
	<-g.done
}
