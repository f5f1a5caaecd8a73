package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
	"github.com/mycel-rpc/mycel/wire/codec"
)

const (
	contentScenario = "content"
	contentWorkers  = 8 // calls outstanding
	// contentWarmup is how many messages a connection carries before the rounds: the layer has then decided several times what
	// pays, and its tables are full.
	contentWarmup = 1024

	// The emulated link.
	contentRate       = 10e6 // bits per second
	contentRTT        = 20 * time.Millisecond
	contentQueueBytes = 64 << 10
	// contentLinkTime is how much longer rounds on the link are than on loopback: a few hundred messages must pass.
	contentLinkTime = 5

	// contentLinkStream is how many messages a stream on the link has.
	contentLinkStream = 1000

	mycelQUICOff = "mycel-quic-off"
	wssDeflate   = "wss+deflate"

	sensorsStream = "sensors"
)

// A contentTransport is one way to send the messages of the scenario "content".
type contentTransport struct {
	transport
	startAt func(site) (endpoint, error)
}

func contentTransports() []contentTransport {
	mycel := func(c framework.Compression) func(site) (endpoint, error) {
		return func(at site) (endpoint, error) {
			return newMycel(at, largeobj.Config{StreamsOnly: true}, func(conf *framework.ServerConfig) { conf.Compression = c })
		}
	}
	ws := func(mode writeMode) func(site) (endpoint, error) {
		return func(at site) (endpoint, error) { return newWebSocket(at, true, mode) }
	}
	return []contentTransport{
		{transport{name: mycelQUIC}, mycel(framework.CompressAdaptive)},
		{transport{name: mycelQUICOff, about: "mycel-quic that sends all messages as they are; only in content", objects: true}, mycel(framework.CompressOff)},
		{transport{name: "wss"}, ws(direct)},
		{transport{name: wssDeflate, about: "wss with permessage-deflate, both sides with context takeover; only in content", objects: true}, ws(deflated)},
	}
}

// A contentPlace is where the messages travel.
type contentPlace struct {
	path   string // of the rows; "" is loopback
	at     site
	lab    *netlab.Lab // nil on loopback
	stream uint32      // messages in each stream
	time   time.Duration
}

// contentEndpoint is an endpoint while a case is measured.
type contentEndpoint struct {
	endpoint
	next atomic.Uint64 // number of the next message; it never goes back, so that nothing is sent twice
}

// runContent measures each stream of messages at each place.
func runContent(ctx context.Context, p *plan, r *report) error {
	live := samples() // see "What is measured"
	defer runtime.KeepAlive(live)
	failures := 0
	measure := func(place contentPlace) error {
		here := *p
		here.duration, here.warmup = place.time, 0 // the messages before the rounds are counted
		here.transports = nil
		streams := contentStreams(place)
		for _, t := range contentTransports() {
			if !slices.Contains(names(p.transports), t.name) {
				continue
			}
			t.start = func() (endpoint, error) {
				ep, err := t.startAt(place.at)
				if err != nil {
					return nil, err
				}
				for _, s := range streams {
					s.serve(ep)
				}
				return &contentEndpoint{endpoint: ep}, nil
			}
			here.transports = append(here.transports, t.transport)
		}
		var cases []benchCase
		for _, s := range streams {
			cases = append(cases, s.measured(place, p.warmup > 0, names(here.transports)))
		}
		failed, err := here.runCases(ctx, cases, r)
		failures += failed
		return err
	}
	if err := measure(contentPlace{at: loopback, stream: 2000, time: p.duration}); err != nil {
		return err
	}
	if errLab != nil {
		r.note(p, "*** NOT MEASURED: content on a link of 10 Mbit/s, which needs network namespaces: %v", errLab)
	} else {
		lab, err := netlab.New(netlab.Config{Seed: 1, Link: netlab.Link{Delay: contentRTT / 2, Rate: contentRate, QueueBytes: contentQueueBytes}})
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		err = measure(contentPlace{path: "10mbit-20ms", at: labSite(lab), lab: lab, stream: contentLinkStream, time: contentLinkTime * p.duration})
		stats, failed := lab.Stats()
		if err := errors.Join(err, failed, lab.Close()); err != nil {
			return err
		}
		for _, s := range stats {
			if s.LatePackets > s.Packets/1000 || s.Dropped.Kernel+s.Dropped.Overflow > 0 {
				r.note(p, "the emulated link was not exact: of %d packets %d were more than 1 ms late, %v at most, and %d lost by the machine",
					s.Packets, s.LatePackets, s.MaxLateness, s.Dropped.Kernel+s.Dropped.Overflow)
			}
		}
	}
	if failures > 0 {
		return fmt.Errorf("bench: %d cases failed, see above", failures)
	}
	return nil
}

// A contentStream is a sequence of messages that all transports send alike.
type contentStream struct {
	name      string
	streaming bool

	plainBytes, packedBytes int // of a message, in the mean: of Mycel's codec, and of MessagePack
	messages                framework.Messages
	handle                  func(*framework.Server)
	handleWS                func(*serverConn, frame) error
	operation               func(caller, *contentEndpoint) operation
}

// contentStreams returns the streams. At each place Mycel has methods of its own, because what it learns of the messages of a
// method is for all connections of the process.
func contentStreams(place contentPlace) []contentStream {
	prefix := "bench.v1/loopback/"
	if place.path != "" {
		prefix = "bench.v1/" + place.path + "/"
	}
	return []contentStream{
		contentMessages(prefix, "dashboard-stream", place.stream, fillDashboard, sumDashboard),
		contentCalls(prefix, "dashboard", fillDashboard, sumDashboard),
		contentCalls(prefix, sensorsStream, fillSensors, sumSensors),
		contentCalls(prefix, "config", fillConfig, sumConfig),
		contentCalls(prefix, "log", fillLog, sumLog),
		contentCalls(prefix, "compressed", fillCompressed, sumBytes),
		contentCalls(prefix, "random", fillRandom, sumBytes),
	}
}

var errContent = errors.New("bench: what arrived is not what was sent")

// contentCalls makes a stream of unary calls whose requests are the messages. The response is what the handler saw.
func contentCalls[T any, P payload[T]](prefix, name string, fill func(uint64, P), sum func(P) uint32) contentStream {
	method := framework.NewUnary[T, Receipt](prefix + name)
	s := contentStream{name: name, messages: method.Requests()}
	s.plainBytes, s.packedBytes = meanSizes(fill)
	receive := func(v P) *Receipt { return &Receipt{Sum: sum(v)} }
	s.handle = func(srv *framework.Server) {
		method.Handle(srv, func(_ context.Context, q *T) (*Receipt, error) { return receive(q), nil })
	}
	s.handleWS = func(c *serverConn, f frame) error {
		q := P(new(T))
		if _, err := q.UnmarshalMsg(f.arg); err != nil {
			return err
		}
		return c.answer(f, resolve, receive(q))
	}
	s.operation = func(c caller, ep *contentEndpoint) operation {
		q := P(new(T))
		call := func(ctx context.Context) (*Receipt, error) {
			p := new(Receipt)
			return p, c.(*wsClient).call(ctx, name, q, p)
		}
		if m, ok := c.(mycelClient); ok {
			call = func(ctx context.Context) (*Receipt, error) { return method.Call(ctx, m.c, q) }
		}
		return func(ctx context.Context, _ uint64) (uint64, error) {
			fill(ep.next.Add(1)-1, q)
			p, err := call(ctx)
			if err == nil && p.Sum != sum(q) {
				err = errContent
			}
			return 1, err
		}
	}
	return s
}

// contentMessages makes a stream of messages that the server sends.
func contentMessages[T any, P payload[T]](prefix, name string, count uint32, fill func(uint64, P), sum func(P) uint32) contentStream {
	method := framework.NewServerStream[ContentRequest, T](prefix + name)
	s := contentStream{name: name, streaming: true, messages: method.Responses()}
	s.plainBytes, s.packedBytes = meanSizes(fill)
	send := func(q *ContentRequest, out func(P) error) error {
		v := P(new(T))
		for n := range uint64(q.Count) {
			fill(q.From+n, v)
			if err := out(v); err != nil {
				return err
			}
		}
		return nil
	}
	s.handle = func(srv *framework.Server) {
		method.Handle(srv, func(_ context.Context, q *ContentRequest, out framework.Sender[T]) error {
			return send(q, func(v P) error { return out.Send(v) })
		})
	}
	s.handleWS = func(c *serverConn, f frame) error {
		var q ContentRequest
		if _, err := q.UnmarshalMsg(f.arg); err != nil {
			return err
		}
		if err := send(&q, func(v P) error { return c.answer(f, next, v) }); err != nil {
			return err
		}
		return c.answer(f, resolve, none{})
	}
	s.operation = func(c caller, ep *contentEndpoint) operation {
		want := P(new(T))
		open := func(ctx context.Context, q *ContentRequest) iter.Seq2[P, error] {
			return consume[T, P](ctx, c.(*wsClient), name, q)
		}
		if m, ok := c.(mycelClient); ok {
			open = func(ctx context.Context, q *ContentRequest) iter.Seq2[P, error] {
				return func(yield func(P, error) bool) {
					method.Call(ctx, m.c, q)(func(v *T, err error) bool { return yield(v, err) })
				}
			}
		}
		return func(ctx context.Context, _ uint64) (received uint64, err error) {
			q := &ContentRequest{From: ep.next.Add(uint64(count)) - uint64(count), Count: count}
			for v, err := range open(ctx, q) {
				if err != nil {
					return received, err
				}
				if fill(q.From+received, want); sum(v) != sum(want) {
					return received, errContent
				}
				received++
			}
			if received != uint64(count) {
				return received, fmt.Errorf("bench: stream ended after %d of %d messages", received, count)
			}
			return received, nil
		}
	}
	return s
}

// meanSizes returns how many bytes the messages have in the mean, in Mycel's codec and in MessagePack.
func meanSizes[T any, P payload[T]](fill func(uint64, P)) (plain, packed int) {
	const messages = 256
	c, err := codec.Of[T]()
	if err != nil {
		panic("bench: " + err.Error()) // of types that are ours
	}
	v := P(new(T))
	for n := range uint64(messages) {
		fill(n, v)
		a, err := c.Append(nil, v)
		b, failed := v.MarshalMsg(nil)
		if err := errors.Join(err, failed); err != nil {
			panic("bench: " + err.Error()) // the same
		}
		plain, packed = plain+len(a), packed+len(b)
	}
	return plain / messages, packed / messages
}

// serve makes a server send or receive the messages, before clients connect.
func (s *contentStream) serve(ep endpoint) {
	switch e := ep.(type) {
	case *mycelServer:
		s.handle(e.server)
	case *wsServer:
		if e.more == nil {
			e.more = map[string]func(*serverConn, frame) error{}
		}
		e.more[servicePrefix+s.name] = s.handleWS
	}
}

// measured returns the case of a stream at a place.
func (s *contentStream) measured(place contentPlace, warmup bool, transports []string) benchCase {
	workers := contentWorkers
	if s.streaming {
		workers = 1
	}
	c := benchCase{row: rowKey{Scenario: contentScenario, Message: s.name, Path: place.path, SizeBytes: s.plainBytes, Concurrency: workers}, only: transports}
	c.first = func(ctx context.Context, r *round) (int64, error) {
		if !warmup {
			return 0, nil
		}
		return 0, s.warmUp(ctx, r.client, r.endpoint.(*contentEndpoint), workers)
	}
	c.measure = func(ctx context.Context, r *round) ([]measurement, error) {
		ep := r.endpoint.(*contentEndpoint)
		server, _ := ep.endpoint.(*mycelServer)
		on := server != nil && server.compression != framework.CompressOff
		before := s.messages.Stats()
		carried, err := place.carried()
		if err != nil {
			return nil, err
		}
		m, err := closedLoop(ctx, r.endpoint, workers, r.duration, func() operation { return s.operation(r.client, ep) })
		if err != nil {
			return nil, err
		}
		if s.streaming {
			m.latency = histogram{} // that of whole streams, which nobody asked for
		}
		switch {
		case on && s.name == sensorsStream: // whose lists are packed while they are encoded, which nobody counts
		case on:
			after := s.messages.Stats()
			m.payloadBytes = after.SentBytes - before.SentBytes
			if tried := after.Messages - before.Messages; tried < m.calls { // nothing was tried with the others
				m.payloadBytes += (m.calls - tried) * uint64(s.plainBytes)
			}
		case server != nil:
			m.payloadBytes = m.calls * uint64(s.plainBytes)
		case ep.endpoint.(*wsServer).mode == direct:
			m.payloadBytes = m.calls * uint64(s.packedBytes)
		}
		all, err := place.carried()
		m.linkBytes = all - carried
		return []measurement{m}, err
	}
	return c
}

// warmUp sends the messages that do not count.
func (s *contentStream) warmUp(ctx context.Context, c caller, ep *contentEndpoint, workers int) error {
	errs := make(chan error, workers)
	for range workers {
		do := s.operation(c, ep)
		go func() { // ends when the messages have been sent; the receive below waits
			for ep.next.Load() < contentWarmup {
				if _, err := do(ctx, 0); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var err error
	for range workers {
		err = errors.Join(err, <-errs)
	}
	return err
}

// carried returns the bytes that the emulated link has carried so far in both directions, 0 on loopback.
func (p contentPlace) carried() (uint64, error) {
	if p.lab == nil {
		return 0, nil
	}
	s, err := p.lab.Stats()
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return s[netlab.LeftToRight].Bytes + s[netlab.RightToLeft].Bytes, nil
}
