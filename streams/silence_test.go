package streams

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mycel-rpc/mycel/wire"
)

// TestASilentPeerIsNoticedAtOnceAndForgiven: within a second calls that can be made elsewhere are let go, others go on
// waiting, and when the peer is heard of again all is well.
func TestASilentPeerIsNoticedAtOnceAndForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		serve, started, reasons := watched()
		noticed := make(chan time.Time, 100)
		silent := func(c *Conn) {
			noticed <- time.Now()
			c.LetGo()
		}
		client, _ := p.connect(t, Config{Silent: silent, IdleTimeout: time.Minute}, Config{Serve: serve, IdleTimeout: time.Minute})
		var calls [2]*Call
		for i := range calls {
			call, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
			if err != nil {
				t.Fatal(err)
			}
			calls[i] = call
		}
		calls[0].Movable()
		first, second := <-started, <-started
		time.Sleep(time.Second)
		if client.Silent() {
			t.Error("a peer that answers pings is taken for silent")
		}
		p.set(func() { p.loss = 1 })
		gone := time.Now()
		if _, _, err := calls[0].Recv(); !errors.Is(err, ErrSilent) {
			t.Errorf("the call that can move: %v", err)
		}
		if took := (<-noticed).Sub(gone); took > 4*tick {
			t.Errorf("noticed after %v, want at most %v", took, 4*tick)
		}
		if !client.Silent() || client.Err() != nil {
			t.Errorf("silent: %v, ended: %v", client.Silent(), client.Err())
		}
		p.set(func() { p.loss = 0 })
		time.Sleep(2 * time.Second)
		if client.Silent() {
			t.Error("the peer is back and still taken for silent")
		}
		if reason := <-reasons; reason.Code != wire.Canceled {
			t.Errorf("the callee of the call that moved was told %v", reason)
		}
		first.Refuse(wire.Aborted, "")
		second.Refuse(wire.Aborted, "")
		if code := result(t, calls[1]); code != wire.Aborted {
			t.Errorf("the call that waited ended with %v", code)
		}
		calls[0].Close(wire.Cancel{})
	})
}

// TestASilentPeerIsProbedWithoutCalls: when all calls have been let go, the connection still finds out what became of its peer.
func TestASilentPeerIsProbedWithoutCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		serve, started, _ := watched()
		client, _ := p.connect(t, Config{Silent: (*Conn).LetGo, IdleTimeout: time.Minute, SilenceTimeout: 3 * time.Second},
			Config{Serve: serve, IdleTimeout: time.Minute})
		call, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil))
		if err != nil {
			t.Fatal(err)
		}
		call.Movable()
		in := <-started
		p.set(func() { p.loss = 1 })
		gone := time.Now()
		_, _, err = call.Recv()
		call.Close(wire.Cancel{})
		if !errors.Is(err, ErrSilent) {
			t.Errorf("got %v", err)
		}
		<-client.Done()
		if took := time.Since(gone); took < 3*time.Second-2*tick || took > 3*time.Second+2*tick {
			t.Errorf("the connection ended after %v, want 3s", took)
		}
		p.set(func() { p.loss = 0 })
		in.Refuse(wire.Aborted, "")
	})
}

// TestPeersTellTheirLoad: a dialer with calls in progress learns how busy its peer is.
func TestPeersTellTheirLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		serve, started, _ := watched()
		busy := 17
		client, _ := p.connect(t, Config{}, Config{Serve: serve, Load: func() int { return busy }})
		if _, at := client.PeerLoad(); !at.IsZero() {
			t.Errorf("the load was told at %v, before anybody has asked", at)
		}
		call := start(t, client, wire.ClassRPC, wire.Bidi)
		in := <-started
		time.Sleep(askInterval + 2*tick)
		if n, at := client.PeerLoad(); n != 16 || time.Since(at) > askInterval+2*tick { // without the one of this client
			t.Errorf("the load of others is %d, told at %v; want 16", n, at)
		}
		in.Refuse(wire.Aborted, "")
		result(t, call)
	})
}

// TestARetiredConnectionLosesNothing: calls in progress end well, new ones are refused before they have begun.
func TestARetiredConnectionLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		serve, started, _ := watched()
		client, _ := p.connect(t, Config{}, Config{Serve: serve})
		call := start(t, client, wire.ClassRPC, wire.Bidi)
		in := <-started
		retired := make(chan error, 1)
		go func() { retired <- client.Retire(t.Context(), "not needed") }()
		synctest.Wait()
		if _, err := client.Start(t.Context(), wire.ClassRPC, wire.Unary, true, request("m", nil)); !errors.Is(err, ErrDraining) {
			t.Errorf("a new call: %v", err)
		}
		in.Refuse(wire.Aborted, "")
		if code := result(t, call); code != wire.Aborted {
			t.Errorf("the call in progress ended with %v", code)
		}
		if err := <-retired; err != nil {
			t.Error(err)
		}
		<-client.Done()
	})
}

// TestAProcessThatWasStoppedDoesNotBlameItsPeer: only the time in which this side was running counts as silence of the peer.
func TestAProcessThatWasStoppedDoesNotBlameItsPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		client, _ := p.connect(t, Config{SilenceTimeout: 3 * time.Second}, Config{})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		var beat heartbeat
		stats, now := client.t.stats(), time.Now() // made up from here on: nothing is received any more
		for _, pass := range []time.Duration{0, time.Hour, tick, time.Minute, tick, tick} {
			now = now.Add(pass)
			if !beat.check(client, stats, now) {
				t.Fatalf("closed %v later: %v", pass, client.Err())
			}
			if pass == time.Hour && client.Silent() {
				t.Error("taken for silent because of the hour in which this side was stopped")
			}
		}
		running := 5 * tick // so far: a tick for each look
		for ; beat.check(client, stats, now); running += tick {
			now = now.Add(tick)
			if running > time.Minute {
				t.Fatal("the silence of the peer is never noticed")
			}
		}
		if running < 3*time.Second || running > 3*time.Second+3*tick {
			t.Errorf("closed after a silence of %v, want 3s", running)
		}
	})
}

// TestAPeerThatOnlyAcknowledgesIsSilent: packets arrive, but no answer to any ping, as when all longer packets vanish.
func TestAPeerThatOnlyAcknowledgesIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		client, _ := p.connect(t, Config{}, Config{})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.set(func() { p.loss = 1 })
		var beat heartbeat
		stats, begun := client.t.stats(), time.Now()
		var silent time.Duration
		for now := begun; beat.check(client, stats, now); now = now.Add(tick) {
			stats.PacketsReceived++
			took := now.Sub(begun)
			if client.Silent() && silent == 0 {
				silent = took
			}
			if took > time.Minute {
				t.Fatal("it is never noticed")
			}
		}
		if silent != deafAfter {
			t.Errorf("taken for silent after %v, want %v", silent, deafAfter)
		}
	})
}

// TestSubscriptionsCostLittle: while calls do nothing but wait the peer is asked every few seconds only, which is enough to notice
// that it is gone in time; the next call has it watched as closely as ever.
func TestSubscriptionsCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPath(20 * time.Millisecond)
		serve, started, _ := watched()
		noticed := make(chan time.Time, 100)
		client, _ := p.connect(t, Config{Silent: func(*Conn) { noticed <- time.Now() }, IdleTimeout: time.Minute},
			Config{Serve: serve, IdleTimeout: time.Minute})
		waits := start(t, client, wire.ClassStream, wire.Bidi)
		first := <-started
		time.Sleep(restShare * DefaultSilenceTimeout / 2)
		before := client.pings.Load()
		time.Sleep(time.Minute)
		if n := client.pings.Load() - before; n < 15 || n > 30 {
			t.Errorf("%d pings in a minute, want one in 2.5 seconds and a look at the answer", n)
		}
		if client.Silent() || len(noticed) > 0 {
			t.Error("a peer that answers pings is taken for silent")
		}

		p.set(func() { p.loss = 1 })
		call := start(t, client, wire.ClassStream, wire.Bidi)
		begun := time.Now()
		if took := (<-noticed).Sub(begun); took > 4*tick {
			t.Errorf("noticed %v after a call began, want at most %v", took, 4*tick)
		}
		p.set(func() { p.loss = 0 })
		second := <-started
		time.Sleep(restShare * DefaultSilenceTimeout / 2)

		p.set(func() { p.loss = 1 })
		gone := time.Now()
		for len(noticed) > 0 {
			<-noticed
		}
		if took := (<-noticed).Sub(gone); took > DefaultSilenceTimeout/2+3*tick {
			t.Errorf("noticed after %v while calls did nothing but wait", took)
		}
		<-client.Done()
		if took := time.Since(gone); took > DefaultSilenceTimeout+2*tick {
			t.Errorf("the connection ended after %v, want %v", took, DefaultSilenceTimeout)
		}
		p.set(func() { p.loss = 0 })
		first.Refuse(wire.Aborted, "")
		second.Refuse(wire.Aborted, "")
		waits.Close(wire.Cancel{})
		call.Close(wire.Cancel{})
	})
}
