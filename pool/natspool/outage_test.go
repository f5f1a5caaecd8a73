package natspool

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// An engine that was away for longer than the time to live has forgotten everybody. Those who live never leave the set; those who
// died meanwhile do in the end.
func TestTheSetSurvivesTheEngine(t *testing.T) {
	for name, forget := range map[string]bool{"that is stopped": false, "that loses all it had": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEngine(t)
			alive, dead, clients := e.join(Config{}), e.join(Config{}), e.join(Config{})
			alive.register("s", at("alive:1"))
			dead.register("s", at("dead:1"))
			late := alive.register("s", at("late:1"))
			o := clients.watch("s")
			o.want("alive:1", "dead:1", "late:1")
			o.never = []string{"alive:1", "late:1"}

			e.stop()
			if err := o.wantError(); !errors.Is(err, nats.ErrDisconnected) {
				t.Errorf("without an engine: %v", err)
			}
			if _, err := alive.Register(t.Context(), "s", at("new:1")); !errors.Is(err, nats.ErrDisconnected) {
				t.Errorf("registered without an engine: %v", err)
			}
			dead.Close()
			<-time.After(ttl) // of all entries
			if forget {
				e.forget()
			}
			e.start()
			o.want("alive:1", "late:1")
			alive.register("s", at("new:1"))
			o.want("alive:1", "late:1", "new:1")
			o.never = nil
			late()
			o.want("alive:1", "new:1")
		})
	}
}

// What a client misses while its own connection is away, it knows afterwards.
func TestMissedChangesAreMadeUpFor(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	d := &switchable{}
	servers, clients := e.join(Config{}), e.join(Config{}, nats.SetCustomDialer(d))
	servers.register("s", at("stays:1"))
	leaves := servers.register("s", at("leaves:1"))
	o := clients.watch("s")
	o.want("leaves:1", "stays:1")
	o.never = []string{"stays:1"}

	d.off.Store(true)
	if err := clients.js.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	o.wantError()
	leaves()
	servers.register("s", at("comes:1"))
	d.off.Store(false)
	o.want("comes:1", "leaves:1", "stays:1") // nothing leaves at once after a failure
	o.want("comes:1", "stays:1")
}

// A registration that has missed its lease because its own connection was away comes back; one that was replaced meanwhile does not.
func TestAServerThatWasAwayComesBack(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	d := &switchable{}
	away, other := e.join(Config{}, nats.SetCustomDialer(d)), e.join(Config{})
	release, err := away.Register(t.Context(), "s", at("a:1"))
	if err != nil {
		t.Fatal(err)
	}
	away.register("s", at("b:1"))
	o := other.watch("s")
	o.want("a:1", "b:1")
	d.off.Store(true)
	if err := away.js.Conn().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	o.want() // both leases have ended
	if err := release(t.Context()); !errors.Is(err, nats.ErrDisconnected) {
		t.Errorf("released without a connection: %v", err)
	}
	replaced := at("b:1")
	replaced.Weight = 5
	other.register("s", replaced)
	o.want("b:1 5")
	away.register2(t, d)
	o.want("b:1 5", "c:1")
	away.wantLog("a registration has ended: somebody else has registered its address")
	if err := release(t.Context()); err != nil { // again, now that it can know
		t.Error(err)
	}
}

// register2 switches the connection on and registers another endpoint as soon as it is back.
func (p *party) register2(t *testing.T, d *switchable) {
	d.off.Store(false)
	until(t, "registered", func() bool {
		_, err := p.Register(t.Context(), "s", at("c:1"))
		return err == nil
	})
}
