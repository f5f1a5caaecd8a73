package framework

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// Gates bounds how many requests of each channel class a server works on at the same time and how many wait for
// their turn. Requests of class control are not bounded: they are short and must get through.
//
// A request whose class has no free slot waits, first come first served, and takes the slot of the next one of
// its class that ends. One that finds the waiting room full is refused with [ResourceExhausted]; one whose
// deadline passes while it waits is dropped. Both are [Error.Unprocessed].
type Gates struct {
	Stream GateLimits // default 1024 running, 1024 waiting
	RPC    GateLimits // default 1024 running, 4096 waiting
	Bulk   GateLimits // default GOMAXPROCS-1 running, at least 1; 4096 waiting
}

// GateLimits are the bounds of one channel class, in requests. Zero means the default of the class; negative
// values and values above 1048576 are refused.
type GateLimits struct {
	Running int
	Waiting int
}

const maxGateLimit = 1 << 20

// busyGoroutines is how many goroutines of its class a starting one finds when it may have waited long for a
// processor, so that its request may have expired. With fewer, that is not worth reading the clock.
const busyGoroutines = 256

// task is one request at a gate. Each task gets exactly one of run and refuse, in a goroutine of the gate or of
// the submitter.
type task interface {
	// run works on the request and returns when the handler has returned.
	run()
	// expired reports whether nobody waits for the answer any more. It must not block.
	expired(now time.Time) bool
	// refuse answers the request with err without running it. It must not block for long.
	refuse(err *Error)
}

// A gate starts requests, each in a goroutine of its own, within the limits of its class.
//
// Classes share nothing: whoever waits, waits because its own class is full, so a slot that becomes free goes to
// the next of the same class, and no class can starve another. Between running goroutines Go's scheduler is fair;
// what keeps urgent requests fast is that few goroutines of class bulk run at all.
//
// Every goroutine is counted in live; wait returns when none is left.
type gate struct {
	classes [wire.NumClasses]classGate
	live    atomic.Int64 // goroutines, plus one until drain
	drained sync.Once
	idle    chan struct{} // closed when drain was called and the last goroutine has ended
}

// classGate is the part of a gate for one class.
type classGate struct {
	gate   *gate
	class  wire.Class
	limits GateLimits
	work   func() // c.startOne, made once so that starting a goroutine allocates nothing

	mu struct {
		sync.Mutex
		queue    taskRing // the starting, then the waiting; waiting is 0 unless running is at its limit
		starting int      // goroutines that have not taken their first task yet
		running  int      // goroutines, starting or not
		closed   bool     // nothing is accepted any more
	}
}

// newGate returns a gate with the limits of cfg. Errors: InvalidArgument for a limit out of range.
func newGate(cfg Gates) (*gate, error) {
	limits := [wire.NumClasses]GateLimits{
		wire.ClassControl: {Running: int(^uint(0) >> 1)},
	}
	for _, c := range []struct {
		class      wire.Class
		name       string
		given, def GateLimits
	}{
		{wire.ClassStream, "Stream", cfg.Stream, GateLimits{1024, 1024}},
		{wire.ClassRPC, "RPC", cfg.RPC, GateLimits{1024, 4096}},
		{wire.ClassBulk, "Bulk", cfg.Bulk, GateLimits{max(1, runtime.GOMAXPROCS(0)-1), 4096}},
	} {
		l := &limits[c.class]
		var err error
		if l.Running, err = gateLimit(c.name+".Running", c.given.Running, c.def.Running); err != nil {
			return nil, err
		}
		if l.Waiting, err = gateLimit(c.name+".Waiting", c.given.Waiting, c.def.Waiting); err != nil {
			return nil, err
		}
	}
	g := &gate{idle: make(chan struct{})}
	g.live.Store(1)
	for i := range g.classes {
		c := &g.classes[i]
		c.gate, c.class, c.limits = g, wire.Class(i), limits[i]
		c.work = c.startOne
	}
	return g, nil
}

func gateLimit(name string, given, def int) (int, error) {
	if given < 0 || given > maxGateLimit {
		return 0, Errorf(InvalidArgument, "Gates.%s is %d, want 1 to %d, or 0 for the default", name, given, maxGateLimit)
	}
	if given == 0 {
		return def, nil
	}
	return given, nil
}

// submit runs t in a goroutine, now or when a slot of the class becomes free, or refuses it before it returns:
// with ResourceExhausted when the waiting room is full, Unavailable after drain. It does not block.
// The class must be valid.
func (g *gate) submit(class wire.Class, t task) {
	c := &g.classes[class]
	c.mu.Lock()
	switch {
	case c.mu.closed:
		c.mu.Unlock()
		t.refuse(refusal(Unavailable, "server is shutting down"))
	case c.mu.running < c.limits.Running:
		c.mu.running++
		c.mu.starting++
		c.mu.queue.push(t)
		g.live.Add(1)
		c.mu.Unlock()
		go c.work() // ends when its class has no waiter left; wait waits for it
	case c.waitingLocked() < c.limits.Waiting:
		c.mu.queue.push(t)
		c.mu.Unlock()
	default:
		c.submitFullLocked(t)
	}
}

// submitFullLocked handles t when the waiting room is full. Those who came first and have expired meanwhile make
// room. It unlocks c.mu.
func (c *classGate) submitFullLocked(t task) {
	var gone []task
	for now := time.Now(); c.waitingLocked() > 0 && c.mu.queue.first().expired(now); {
		gone = append(gone, c.mu.queue.pop())
	}
	room := len(gone) > 0
	if room {
		c.mu.queue.push(t)
	}
	c.mu.Unlock()
	for _, t := range gone {
		t.refuse(expiredInGate())
	}
	if !room {
		t.refuse(refusal(ResourceExhausted, "%d requests of class %s are running and %d waiting, the limits of the server (ServerConfig.Gates)",
			c.limits.Running, c.class, c.limits.Waiting))
	}
}

func expiredInGate() *Error {
	return refusal(DeadlineExceeded, "the deadline of the call passed before the server could start it")
}

// waitingLocked returns the number of tasks without a goroutine.
func (c *classGate) waitingLocked() int { return c.mu.queue.n - c.mu.starting }

// startOne is a goroutine's life: the task it was started for, then waiters until there are none.
func (c *classGate) startOne() {
	c.mu.Lock()
	c.mu.starting--
	t, busy := c.mu.queue.pop(), c.mu.running >= busyGoroutines
	c.mu.Unlock()
	if busy && t.expired(time.Now()) {
		t.refuse(expiredInGate())
		t = c.next()
	}
	c.runAll(t)
}

// runAll runs t and whatever next returns after it.
func (c *classGate) runAll(t task) {
	defer func() {
		if t == nil {
			return
		}
		// The handler ended its goroutine with runtime.Goexit. The slot goes on without it.
		if t := c.next(); t != nil {
			go c.runAll(t) // replaces this goroutine, also in live
		}
	}()
	for t != nil {
		t.run()
		t = c.next()
	}
}

// next returns the waiter that takes over the slot of the task that has ended. Without one it gives the slot
// back and returns nil, and the goroutine must end.
func (c *classGate) next() task {
	for {
		c.mu.Lock()
		if c.waitingLocked() == 0 {
			c.mu.running--
			c.mu.Unlock()
			c.gate.leave()
			return nil
		}
		t := c.mu.queue.pop()
		c.mu.Unlock()
		if !t.expired(time.Now()) {
			return t
		}
		t.refuse(expiredInGate())
	}
}

// load returns how many requests of the class have a goroutine and how many wait for one.
func (g *gate) load(class wire.Class) (running, waiting int) {
	c := &g.classes[class]
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.running, c.waitingLocked()
}

// drain makes submit refuse from now on. What waits already still gets its turn.
func (g *gate) drain() {
	for i := range g.classes {
		c := &g.classes[i]
		c.mu.Lock()
		c.mu.closed = true
		c.mu.Unlock()
	}
	g.drained.Do(g.leave)
}

// close drains and refuses what waits. It does not end what runs; the server does, by its contexts.
func (g *gate) close() {
	g.drain()
	for i := range g.classes {
		c := &g.classes[i]
		var waiting []task
		c.mu.Lock()
		for range c.waitingLocked() {
			// The first in the queue belong to starting goroutines, which take whatever is first; all tasks
			// in the queue are equally without a goroutine, so which of them go does not matter.
			waiting = append(waiting, c.mu.queue.pop())
		}
		c.mu.Unlock()
		for _, t := range waiting {
			t.refuse(refusal(Unavailable, "server is shutting down"))
		}
	}
}

// wait returns nil when, after drain, the last goroutine has ended, or an error with the cause of ctx.
func (g *gate) wait(ctx context.Context) error {
	select {
	case <-g.idle:
		return nil
	default:
	}
	select {
	case <-g.idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("framework: %d requests still running: %w", g.live.Load(), context.Cause(ctx))
	}
}

// leave takes one from live.
func (g *gate) leave() {
	if g.live.Add(-1) == 0 {
		close(g.idle)
	}
}

// taskRing is a first-in-first-out queue in a slice that grows by doubling and is kept.
type taskRing struct {
	buf  []task // its length is a power of two
	head int
	n    int
}

func (r *taskRing) push(t task) {
	if r.n == len(r.buf) {
		buf := make([]task, max(16, 2*len(r.buf)))
		for i := range r.n {
			buf[i] = r.buf[(r.head+i)&(len(r.buf)-1)]
		}
		r.buf, r.head = buf, 0
	}
	r.buf[(r.head+r.n)&(len(r.buf)-1)] = t
	r.n++
}

func (r *taskRing) first() task { return r.buf[r.head] }

func (r *taskRing) pop() task {
	t := r.buf[r.head]
	r.buf[r.head] = nil
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	return t
}
