package framework

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

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

// yieldAfter is how many handlers a goroutine runs before it lets others have the processor, such as the one that
// writes the responses.
const yieldAfter = 32

// task is one request at a gate. Each task gets exactly one of run and refuse, in a goroutine of the gate or of
// the submitter.
type task interface {
	// run works on the request and returns when the handler has returned.
	run()
	// expired reports whether nobody waits for the answer any more. It must not block.
	expired() bool
	// refuse answers the request with err without running it. It must not block for long.
	refuse(err *Error)
}

// A gate runs requests in goroutines, within the limits of their class. A request never waits for the handler of
// another, but while handlers are quick few goroutines do: whoever takes a request from a queue that has more starts
// the next goroutine first, and takes another request when its handler has returned. A burst of quick requests is
// thus worked off by one goroutine for each processor; one whose handler blocks has a successor already. Measured
// against a goroutine for each request: 30 % less CPU for a small call, most of it the growing of new stacks.
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
	work   func() // c.serve, made once so that starting a goroutine allocates nothing

	mu struct {
		sync.Mutex
		queue    taskRing // accepted, not taken by a goroutine yet
		starting bool     // a goroutine is about to take from the queue; true whenever there is something to take and a free slot
		running  int      // tasks that a goroutine has taken
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
		c.work = c.serve
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
	case c.waitingLocked() < c.limits.Waiting || c.freeLocked() > c.mu.queue.n:
		c.mu.queue.push(t)
		start := c.startLocked()
		c.mu.Unlock()
		if start {
			go c.work() // ends when there is nothing more to take; wait waits for it
		}
	default:
		c.submitFullLocked(t)
	}
}

// freeLocked returns the number of free slots.
func (c *classGate) freeLocked() int { return c.limits.Running - c.mu.running }

// waitingLocked returns the number of tasks that wait for a slot.
func (c *classGate) waitingLocked() int { return max(0, c.mu.queue.n-c.freeLocked()) }

// startLocked reports whether a goroutine has to be started, and counts it.
func (c *classGate) startLocked() bool {
	if c.mu.starting || c.mu.queue.n == 0 || c.freeLocked() == 0 {
		return false
	}
	c.mu.starting = true
	c.gate.live.Add(1)
	return true
}

// submitFullLocked handles t when the waiting room is full. Those who came first and have expired meanwhile make
// room. It unlocks c.mu.
func (c *classGate) submitFullLocked(t task) {
	var gone []task
	for c.waitingLocked() > 0 && c.mu.queue.first().expired() {
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

// serve is the life of a goroutine: it takes tasks until there are none, or no slots.
func (c *classGate) serve() {
	var t task
	defer func() {
		if t == nil {
			c.gate.leave()
			return
		}
		// The handler ended its goroutine with runtime.Goexit. Another one goes on without it, also in live.
		c.mu.Lock()
		c.mu.running--
		c.mu.starting = true
		c.mu.Unlock()
		go c.work()
	}()
	c.mu.Lock()
	c.mu.starting = false
	for taken := 1; c.mu.queue.n > 0 && c.freeLocked() > 0; taken++ {
		t = c.mu.queue.pop()
		c.mu.running++
		start := c.startLocked()
		c.mu.Unlock()
		if start {
			go c.work() // the successor of a goroutine whose handler may block
		}
		if t.expired() {
			t.refuse(expiredInGate())
		} else {
			t.run()
		}
		t = nil
		if taken%yieldAfter == 0 {
			runtime.Gosched()
		}
		c.mu.Lock()
		c.mu.running--
	}
	c.mu.Unlock()
}

// load returns how many requests of the class have a goroutine and how many wait for one.
func (g *gate) load(class wire.Class) (running, waiting int) {
	c := &g.classes[class]
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.running, c.waitingLocked()
}

// occupancy returns how many requests run and wait, of all classes.
func (g *gate) occupancy() (requests int) {
	for class := range wire.Class(wire.NumClasses) {
		running, waiting := g.load(class)
		requests += running + waiting
	}
	return requests
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
		for c.mu.queue.n > 0 {
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
