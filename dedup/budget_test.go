package dedup

import (
	"sync"
	"testing"
)

// fill makes an encoder keep n bodies.
func fill(t *testing.T, p *pair, n int) {
	t.Helper()
	for i := range n {
		body := config(uint64(i), 800)
		for range 2 {
			if _, err := p.dec.Decode(nil, p.enc.Append(nil, body, nil), 1<<16); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.notices()
}

func TestIdleTablesGiveTheirMemoryToBusyOnes(t *testing.T) {
	const size = 800 + entryBytes
	process := NewBudget(20 * size)
	idle := newPair(t, Options{Budgets: []*Budget{process}})
	fill(t, idle, 10) // both sides: all of it
	if process.Used() != 20*size {
		t.Fatalf("%d bytes used, want %d", process.Used(), 20*size)
	}
	busy := newPair(t, Options{Budgets: []*Budget{process}})
	fill(t, busy, 10) // the first time it finds both in use, then idle
	if s := busy.enc.Stats(); s.Inserts < 5 {
		t.Errorf("the busy table got room for %d bodies", s.Inserts)
	}
	if idle.dec.Stats().Bytes != 0 || process.Used() > 20*size {
		t.Errorf("the idle table keeps %d bytes; %d of %d used", idle.dec.Stats().Bytes, process.Used(), 20*size)
	}
	body := config(3, 800) // the idle one wakes up
	for range 4 {
		frame := idle.enc.Append(nil, body, nil)
		if _, err := idle.dec.Decode(nil, frame, 1<<16); err != nil {
			idle.notices()
			idle.receive(frame, body)
		}
		idle.notices()
	}
}

func TestPrincipalsCannotTakeWhatIsOfOthers(t *testing.T) {
	const size = 800 + entryBytes
	process, alice, bob := NewBudget(100*size), NewBudget(10*size), NewBudget(10*size)
	var of []*pair
	for range 3 {
		of = append(of, newPair(t, Options{Budgets: []*Budget{alice, process}}))
	}
	for _, p := range of {
		fill(t, p, 30)
	}
	other := newPair(t, Options{Budgets: []*Budget{bob, process}})
	fill(t, other, 5)
	if alice.Used() > 10*size || other.enc.Stats().Inserts != 5 || process.Used() != alice.Used()+bob.Used() {
		t.Errorf("alice uses %d of %d, bob has %d bodies, process %d", alice.Used(), 10*size, other.enc.Stats().Inserts, process.Used())
	}
}

func TestManyIdleTablesStayInsideTheBudget(t *testing.T) {
	process := NewBudget(256 << 10)
	var pairs []*pair
	for range 2000 {
		p := newPair(t, Options{Budgets: []*Budget{process}})
		fill(t, p, 1)
		pairs = append(pairs, p)
		if process.Used() > 256<<10 {
			t.Fatalf("%d bytes used", process.Used())
		}
	}
	served := 0
	for _, p := range pairs[1500:] {
		served += int(p.enc.Stats().Inserts)
	}
	if served < 400 {
		t.Errorf("%d of the last 500 tables got room", served)
	}
}

func TestBusyTablesKeepTheirs(t *testing.T) {
	const size = 800 + entryBytes
	process := NewBudget(5 * size)
	o := Options{Budgets: []*Budget{process}}
	busy, greedy := newPair(t, o), newPair(t, o)
	busy.dec, greedy.dec = newPair(t, Options{}).dec, newPair(t, Options{}).dec // not what this is about
	fill(t, busy, 5)
	for i := range 50 {
		busy.send(config(uint64(i%5), 800), nil, ref)
		greedy.enc.Append(nil, config(uint64(i/2), 800), nil)
	}
	if b, g := busy.enc.Stats(), greedy.enc.Stats(); b.Evictions != 0 || g.Inserts != 0 {
		t.Errorf("the busy table lost %d bodies, the other one has %d", b.Evictions, g.Inserts)
	}
	for i := range 50 { // now it is idle
		greedy.enc.Append(nil, config(uint64(i/2), 800), nil)
	}
	if b := busy.enc.Stats(); b.Evictions != 5 {
		t.Errorf("the idle table lost %d bodies", b.Evictions)
	}
}

func TestBudgetsAreSafeForConcurrentUse(t *testing.T) {
	process := NewBudget(10_000)
	var wg sync.WaitGroup
	for range 4 {
		p := newPair(t, Options{Budgets: []*Budget{process}})
		wg.Go(func() { // ends by itself; Wait below
			for i := range 300 {
				body := config(uint64(i/3), 300)
				got, err := p.dec.Decode(nil, p.enc.Append(nil, body, nil), 1<<16)
				if err == nil && string(got) != string(body) {
					t.Error("wrong message")
				}
				if b := p.enc.AppendNotices(nil, 1<<20); len(b) > 0 {
					if _, err := p.dec.Handle(b); err != nil {
						t.Error(err)
					}
				}
				if b := p.dec.AppendNotices(nil, 1<<10); len(b) > 0 {
					if err := p.enc.Handle(b); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if process.Used() > 10_000 {
		t.Errorf("%d bytes used of 10000", process.Used())
	}
}
