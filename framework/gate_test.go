package framework

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// testTask records what the gate does with it. Its work is a sleep, which costs nothing in a bubble.
type testTask struct {
	work      time.Duration
	deadline  time.Time // zero: none
	goexit    bool
	submitted time.Time

	started chan struct{} // closed when it runs
	delay   time.Duration // from submitted to started
	refused *Error
	answers atomic.Int32 // calls of run and refuse
	onRun   func()
}

func newTestTask(work time.Duration) *testTask {
	return &testTask{work: work, submitted: time.Now(), started: make(chan struct{})}
}

// run takes as long as the work of the task; a task with work runs in a bubble.
func (t *testTask) run() {
	t.answers.Add(1)
	t.delay = time.Since(t.submitted)
	close(t.started)
	if t.onRun != nil {
		t.onRun()
	}
	time.Sleep(t.work)
	if t.goexit {
		runtime.Goexit()
	}
}

func (t *testTask) expired() bool {
	return !t.deadline.IsZero() && !time.Now().Before(t.deadline)
}

func (t *testTask) refuse(err *Error) {
	t.answers.Add(1)
	t.refused = err
}

func (t *testTask) wantRefused(tb testing.TB, code Code) {
	tb.Helper()
	if t.refused == nil || t.refused.Code != code || !t.refused.Unprocessed() {
		tb.Errorf("refused with %v, want %v and unprocessed", t.refused, code)
	}
}

func (t *testTask) wantDelay(tb testing.TB, want time.Duration) {
	tb.Helper()
	if t.refused != nil || t.answers.Load() != 1 || t.delay != want {
		tb.Errorf("started after %v (refused: %v), want %v", t.delay, t.refused, want)
	}
}

// testGate makes a gate that must be empty when the test of the bubble ends.
func testGate(t *testing.T, cfg Gates) *gate {
	t.Helper()
	g, err := newGate(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func finishGate(t *testing.T, g *gate) {
	t.Helper()
	g.drain()
	if err := g.wait(t.Context()); err != nil {
		t.Error(err)
	}
	for class := range wire.Class(wire.NumClasses) {
		if running, waiting := g.load(class); running != 0 || waiting != 0 {
			t.Errorf("class %v ends with %d running, %d waiting", class, running, waiting)
		}
	}
}

func TestGateQueuesInOrderAndRefusesBeyond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(t, Gates{RPC: GateLimits{Running: 2, Waiting: 3}})
		var tasks []*testTask
		for range 6 {
			task := newTestTask(time.Second)
			tasks = append(tasks, task)
			g.submit(wire.ClassRPC, task)
		}
		synctest.Wait()
		if running, waiting := g.load(wire.ClassRPC); running != 2 || waiting != 3 {
			t.Errorf("%d running, %d waiting, want 2 and 3", running, waiting)
		}
		tasks[5].wantRefused(t, ResourceExhausted)
		for _, part := range []string{"class rpc", "2 requests", "3 waiting", "ServerConfig.Gates"} {
			if !strings.Contains(tasks[5].refused.Message, part) {
				t.Errorf("refusal %q does not say %q", tasks[5].refused.Message, part)
			}
		}
		finishGate(t, g)
		for i, want := range []time.Duration{0, 0, 1, 1, 2} {
			tasks[i].wantDelay(t, want*time.Second)
		}
	})
}

func TestGateDropsWhatExpiredWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(t, Gates{Bulk: GateLimits{Running: 1, Waiting: 2}})
		long, late, patient := newTestTask(time.Minute), newTestTask(0), newTestTask(0)
		late.deadline = time.Now().Add(time.Second)
		g.submit(wire.ClassBulk, long)
		g.submit(wire.ClassBulk, late)
		g.submit(wire.ClassBulk, patient)
		finishGate(t, g)
		late.wantRefused(t, DeadlineExceeded)
		patient.wantDelay(t, time.Minute)
	})
}

func TestGateExpiredWaitersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(t, Gates{Bulk: GateLimits{Running: 1, Waiting: 2}})
		g.submit(wire.ClassBulk, newTestTask(time.Minute))
		late := []*testTask{newTestTask(0), newTestTask(0)}
		for _, task := range late {
			task.deadline = time.Now().Add(time.Second)
			g.submit(wire.ClassBulk, task)
		}
		refused := newTestTask(0)
		g.submit(wire.ClassBulk, refused)
		refused.wantRefused(t, ResourceExhausted)
		time.Sleep(time.Second)
		fresh := newTestTask(0)
		g.submit(wire.ClassBulk, fresh)
		for _, task := range late {
			task.wantRefused(t, DeadlineExceeded)
		}
		finishGate(t, g)
		fresh.wantDelay(t, 59*time.Second)
	})
}

func TestGateDropsWhatExpiredBeforeItGotAProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(t, Gates{})
		task := newTestTask(0)
		task.deadline = time.Now()
		g.submit(wire.ClassRPC, task)
		finishGate(t, g)
		task.wantRefused(t, DeadlineExceeded)
	})
}

func TestGateUrgentClassesDoNotWaitForAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const flood, limit = 512, 1
		g := testGate(t, Gates{Bulk: GateLimits{Running: limit}})
		var now, most int // guarded by mu
		var mu sync.Mutex
		var bulk []*testTask
		for range flood {
			task := newTestTask(time.Millisecond)
			task.onRun = func() {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.AfterFunc(time.Millisecond/2, func() {
					mu.Lock()
					now--
					mu.Unlock()
				})
			}
			bulk = append(bulk, task)
			g.submit(wire.ClassBulk, task)
		}
		var urgent []*testTask
		for range 50 {
			for _, class := range []wire.Class{wire.ClassControl, wire.ClassStream, wire.ClassRPC} {
				task := newTestTask(time.Millisecond)
				urgent = append(urgent, task)
				g.submit(class, task)
			}
			time.Sleep(5 * time.Millisecond)
		}
		finishGate(t, g)
		for _, task := range urgent {
			task.wantDelay(t, 0)
		}
		for i, task := range bulk {
			task.wantDelay(t, time.Duration(i)*time.Millisecond)
		}
		if most != limit {
			t.Errorf("%d background requests ran at once, want %d", most, limit)
		}
	})
}

func TestGateDrainLetsWaitersRunAndCloseRefusesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, closing := range []bool{false, true} {
			g := testGate(t, Gates{RPC: GateLimits{Running: 1}})
			first, second, third := newTestTask(time.Second), newTestTask(0), newTestTask(0)
			g.submit(wire.ClassRPC, first)
			g.submit(wire.ClassRPC, second)
			synctest.Wait() // the first runs
			if g.drain(); closing {
				g.close()
			}
			g.submit(wire.ClassRPC, third)
			third.wantRefused(t, Unavailable)

			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			if err := g.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("wait with a request running: %v", err)
			}
			cancel()
			finishGate(t, g)
			first.wantDelay(t, 0)
			if closing {
				second.wantRefused(t, Unavailable)
			} else {
				second.wantDelay(t, time.Second)
			}
		}
	})
}

func TestGateSurvivesGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := testGate(t, Gates{RPC: GateLimits{Running: 1}})
		for range 3 {
			task := newTestTask(time.Second)
			task.goexit = true
			g.submit(wire.ClassRPC, task)
		}
		last := newTestTask(0)
		g.submit(wire.ClassRPC, last)
		finishGate(t, g)
		last.wantDelay(t, 3*time.Second)
	})
}

// Random programs: whatever happens, each task gets one answer and no class runs more than its limit.
func TestGateAnswersEveryTaskOnce(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			limits := GateLimits{Running: 1 + rnd.IntN(3), Waiting: 1 + rnd.IntN(5)}
			g := testGate(t, Gates{Stream: limits, RPC: limits, Bulk: limits})
			var tasks []*testTask
			for range 200 {
				task := newTestTask(time.Duration(rnd.IntN(5)) * time.Millisecond)
				task.goexit = rnd.IntN(10) == 0
				if rnd.IntN(3) == 0 {
					task.deadline = time.Now().Add(time.Duration(rnd.IntN(10)) * time.Millisecond)
				}
				tasks = append(tasks, task)
				g.submit(wire.Class(rnd.IntN(wire.NumClasses)), task)
				for _, class := range []wire.Class{wire.ClassStream, wire.ClassRPC, wire.ClassBulk} {
					if running, waiting := g.load(class); running > limits.Running || waiting > limits.Waiting {
						t.Fatalf("seed %d: %d running, %d waiting, limits %+v", seed, running, waiting, limits)
					}
				}
				if rnd.IntN(4) == 0 {
					time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
				}
			}
			if rnd.IntN(2) == 0 {
				g.close()
			}
			finishGate(t, g)
			for i, task := range tasks {
				if n := task.answers.Load(); n != 1 {
					t.Errorf("seed %d: task %d got %d answers", seed, i, n)
				}
			}
		})
	}
}

func TestGateLimitsAreChecked(t *testing.T) {
	for _, cfg := range []Gates{
		{Stream: GateLimits{Running: -1}},
		{RPC: GateLimits{Waiting: -1}},
		{Bulk: GateLimits{Waiting: maxGateLimit + 1}},
	} {
		if _, err := newGate(cfg); CodeOf(err) != InvalidArgument {
			t.Errorf("%+v: got error %v", cfg, err)
		}
	}
	g := testGate(t, Gates{RPC: GateLimits{Running: 7}})
	if got := g.classes[wire.ClassRPC].limits; got != (GateLimits{7, 4096}) {
		t.Errorf("limits of class rpc are %+v", got)
	}
	if got := g.classes[wire.ClassBulk].limits.Running; got != max(1, runtime.GOMAXPROCS(0)-1) {
		t.Errorf("%d running of class bulk", got)
	}
}

func TestTaskRingKeepsOrder(t *testing.T) {
	var r taskRing
	var model []task
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		if rnd.IntN(5) < 3 {
			task := &benchTask{}
			r.push(task)
			model = append(model, task)
		} else if len(model) > 0 {
			if r.first() != model[0] || r.pop() != model[0] {
				t.Fatal("order differs from a slice")
			}
			model = slices.Delete(model, 0, 1)
		}
		if r.n != len(model) {
			t.Fatalf("%d tasks, want %d", r.n, len(model))
		}
	}
}

type benchTask struct{ done sync.WaitGroup }

func (t *benchTask) run()          { t.done.Done() }
func (t *benchTask) expired() bool { return false }
func (t *benchTask) refuse(*Error) { t.done.Done() }

func TestGateSubmitDoesNotAllocate(t *testing.T) {
	g := testGate(t, Gates{})
	task := &benchTask{}
	submit := func() {
		task.done.Add(1)
		g.submit(wire.ClassRPC, task)
		task.done.Wait()
	}
	submit() // the queue grows once
	if n := testing.AllocsPerRun(200, submit); n >= 1 {
		t.Errorf("%v allocations per request", n)
	}
	finishGate(t, g)
}

func BenchmarkGateSubmit(b *testing.B) {
	b.Run("burst of 256", func(b *testing.B) {
		g, err := newGate(Gates{})
		if err != nil {
			b.Fatal(err)
		}
		task := &benchTask{}
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			task.done.Add(1)
			g.submit(wire.ClassRPC, task)
			if n++; n%256 == 0 {
				task.done.Wait()
			}
		}
		task.done.Wait()
	})
	b.Run("round trip", func(b *testing.B) {
		g, err := newGate(Gates{})
		if err != nil {
			b.Fatal(err)
		}
		task := &benchTask{}
		b.ReportAllocs()
		for b.Loop() {
			task.done.Add(1)
			g.submit(wire.ClassRPC, task)
			task.done.Wait()
		}
	})
}
