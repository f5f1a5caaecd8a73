package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mycel-rpc/mycel/bench/netlab"
	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
)

const (
	wanRate       = 100e6                // bits per second, of every emulated link
	wanQueueBytes = 256 << 10            // of the bottleneck of wan; mixed-wan has two sizes
	wanInterval   = 5 * time.Millisecond // 200 small calls per second
	// What happens in the first seconds, when the transports learn what the path is like, does not count.
	wanSettle   = 2 * time.Second
	bulkSettle  = 5 * time.Second
	wanDuration = 6 * time.Second // the least that gives a 99th percentile of calls at that interval a meaning
	wanConnects = 11              // connections of which the median is taken
)

// A wanPath is a link to measure over. Its round trip is that of the delay alone.
type wanPath struct {
	rtt        time.Duration
	loss       float64
	queueBytes int
	connects   bool // only the time to connect is of interest
}

func (p wanPath) String() string {
	return fmt.Sprintf("%v-%g%%", p.rtt, 100*p.loss)
}

// queueName is the path with its queue.
func (p wanPath) queueName() string { return p.String() + " queue " + size(p.queueBytes) }

func (p wanPath) link() netlab.Link {
	return netlab.Link{Delay: p.rtt / 2, Loss: p.loss, Rate: wanRate, QueueBytes: p.queueBytes}
}

// wanPaths are those of the scenario wan.
func wanPaths() []wanPath {
	var paths []wanPath
	for _, rtt := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond} {
		for _, loss := range []float64{0, 0.01, 0.03} {
			paths = append(paths, wanPath{rtt: rtt, loss: loss, queueBytes: wanQueueBytes})
		}
	}
	return append(paths, wanPath{rtt: 50 * time.Millisecond, queueBytes: wanQueueBytes, connects: true})
}

// mixedPaths are those of the scenario mixed-wan, by the size of the queue in front of the bottleneck.
func mixedPaths() []wanPath {
	return []wanPath{{rtt: 20 * time.Millisecond, queueBytes: 256 << 10}, {rtt: 20 * time.Millisecond, queueBytes: 2 << 20}}
}

// A wanTransport is one way to make calls over a lab.
type wanTransport struct {
	transport
	congestion string // of TCP; "" for QUIC
	own        bool   // bulk has a connection of its own, where the transport does not do that by itself
}

// wanTransports are those that take part in wan and mixed-wan.
func wanTransports() []wanTransport {
	var all []wanTransport
	add := func(congestion string, own bool, name, about string) {
		all = append(all, wanTransport{transport: transport{name: name, about: about + "; only in wan and mixed-wan", objects: true}, congestion: congestion, own: own})
	}
	for _, cc := range []string{"cubic", "bbr"} {
		add(cc, false, "wss-"+cc, "wss over the kernel's TCP with "+cc+", everything on one connection")
		add(cc, true, "wss-"+cc+"-2", "the same with a second connection for bulk")
	}
	return all
}

// A wanWorld is one transport on a path of its own.
type wanWorld struct {
	lab      *netlab.Lab
	endpoint endpoint
	client   caller  // for small calls
	bulk     wanBulk // for bulk
	close    func() error
}

// wanBulk downloads until its context ends.
type wanBulk interface {
	download(context.Context) error
	moved() int64 // bytes that have arrived at the client, or are on their way to it
}

// labNeeded reports whether a process with these arguments makes labs, so that it has to call netlab.Enter.
func labNeeded(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool {
		return a == "netlab-emulator" || slices.ContainsFunc(strings.FieldsFunc(a, func(r rune) bool { return r == ',' || r == '=' }), isLabScenario)
	})
}

func isLabScenario(name string) bool {
	return name == "wan" || name == "mixed-wan" || name == contentScenario
}

// startWAN puts a transport on a path.
func startWAN(ctx context.Context, t wanTransport, path wanPath, file string) (w *wanWorld, err error) {
	w = &wanWorld{}
	var undo []func() error
	w.close = func() error {
		var errs []error
		for _, f := range slices.Backward(undo) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.lab, err = netlab.New(netlab.Config{Seed: 1, Link: path.link()}); err != nil {
		return w, fmt.Errorf("bench: %w", err)
	}
	undo = append(undo, w.lab.Close)
	if t.name == candidate {
		at := labSite(w.lab)
		s, err := newMycel(at, largeobj.Config{StreamsOnly: true, MemoryBytes: 2 << 30, InMemoryBytes: 1 << 30})
		if err != nil {
			return w, err
		}
		w.endpoint = s
		undo = append(undo, s.close)
	} else {
		s, err := newWebSocket(labSite(w.lab, netlab.WithCongestion(t.congestion)), true, direct)
		if err != nil {
			return w, err
		}
		w.endpoint = s
		undo = append(undo, s.close)
	}
	if w.client, err = w.endpoint.dial(ctx, false); err != nil {
		return w, err
	}
	undo = append(undo, w.client.close)
	switch c := w.client.(type) {
	case mycelClient:
		w.bulk = &objectDownload{c, file}
	case *wsClient:
		if t.own {
			second, err := w.endpoint.dial(ctx, false)
			if err != nil {
				return w, err
			}
			undo = append(undo, second.close)
			c = second.(*wsClient)
		}
		w.bulk = &messageDownload{client: c}
	}
	return w, nil
}

// objectDownload fetches a large object again and again.
type objectDownload struct {
	mycelClient
	file string
}

func (d *objectDownload) download(ctx context.Context) error {
	for {
		p, err := fileMethod.Call(ctx, d.c, &FileRequest{Path: d.file})
		if err == nil {
			_, err = p.Object.Open(ctx)
			p.Object.Release()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d *objectDownload) moved() int64 { return d.s.far.Stats().BytesOut }

// messageDownload reads a stream of messages as large as hypha-rpc makes the parts of large ones.
type messageDownload struct {
	client caller
	n      atomic.Int64
}

func (d *messageDownload) download(ctx context.Context) error {
	const part = 240 << 10
	for {
		for b, err := range d.client.blobs(ctx, &StreamRequest{Count: math.MaxUint32, SizeBytes: part}) {
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			d.n.Add(int64(len(b.Data)))
		}
	}
}

func (d *messageDownload) moved() int64 { return d.n.Load() }

// small makes small calls at a fixed rate for the duration.
func (w *wanWorld) small(ctx context.Context, d time.Duration) (measurement, error) {
	return openLoop(ctx, wanInterval, d, sleepPrecisely, func(ctx context.Context, n uint64) (uint64, error) {
		return smallEcho(w.client, smallBytes)(ctx, n)
	})
}

// beside runs f while bulk saturates the link, after a time to settle, and returns the goodput of bulk meanwhile in bytes
// per second.
func (w *wanWorld) beside(ctx context.Context, settle time.Duration, f func() error) (goodput float64, err error) {
	bulk, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)                   // one result is sent
	go func() { ended <- w.bulk.download(bulk) }() // ends with bulk; the receive below waits
	time.Sleep(settle)
	start, before := time.Now(), w.bulk.moved()
	err = f()
	goodput = float64(w.bulk.moved()-before) / time.Since(start).Seconds()
	stop()
	return goodput, errors.Join(err, <-ended)
}

// runWAN measures small calls, bulk and connecting over paths with delay and loss.
func runWAN(ctx context.Context, p *plan, r *report) error {
	return overPaths(ctx, p, r, wanPaths(), func(ctx context.Context, w *wanWorld, t wanTransport, path wanPath) error {
		key := rowKey{Scenario: "wan", Transport: t.name, SizeBytes: smallBytes, Concurrency: 1, Path: path.String()}
		if !t.own && (path.connects || path.loss == 0) {
			if err := measureConnects(ctx, w, key, p, r); err != nil {
				return err
			}
		}
		if path.connects {
			return nil
		}
		d := max(p.duration, wanDuration)
		if !t.own {
			if _, err := w.small(ctx, wanSettle); err != nil {
				return err
			}
			m, err := w.small(ctx, d)
			if err != nil {
				return err
			}
			m.row = key
			r.addRound(key, m.metrics())
			p.tell(key, m.metrics())
		}
		goodput, err := w.beside(ctx, bulkSettle, func() error {
			time.Sleep(d)
			return ctx.Err()
		})
		key.Scenario, key.SizeBytes = "wan-bulk", 0
		figures := metrics{MBPerS: goodput / 1e6, LinkShare: goodput * 8 / wanRate}
		r.addRound(key, figures)
		p.tell(key, figures)
		return err
	})
}

// runMixedWAN measures small calls alone and beside bulk that saturates the link.
func runMixedWAN(ctx context.Context, p *plan, r *report) error {
	return overPaths(ctx, p, r, mixedPaths(), func(ctx context.Context, w *wanWorld, t wanTransport, path wanPath) error {
		key := rowKey{Scenario: "mixed-wan", Transport: t.name, SizeBytes: smallBytes, Path: path.queueName()}
		d := max(p.duration, wanDuration)
		if _, err := w.small(ctx, wanSettle); err != nil {
			return err
		}
		idle, err := w.small(ctx, d)
		if err != nil {
			return err
		}
		idle.row = key
		r.addRound(key, idle.metrics())
		p.tell(key, idle.metrics())
		var loaded measurement
		goodput, err := w.beside(ctx, bulkSettle, func() (err error) {
			loaded, err = w.small(ctx, d)
			return err
		})
		key.Concurrency = 1
		loaded.row = key
		figures := loaded.metrics()
		figures.MBPerS, figures.LinkShare = goodput/1e6, goodput*8/wanRate
		if stats, failed := w.lab.Stats(); failed == nil {
			figures.MaxQueueMicros = float64(stats[netlab.RightToLeft].MaxQueueDelay.Microseconds())
		}
		r.addRound(key, figures)
		p.tell(key, figures)
		return err
	})
}

// overPaths runs measure for each path and transport, round by round.
func overPaths(ctx context.Context, p *plan, r *report, paths []wanPath, measure func(context.Context, *wanWorld, wanTransport, wanPath) error) error {
	offered, err := netlab.Congestions()
	if err == nil {
		err = errLab
	}
	if err != nil {
		return fmt.Errorf("bench: *** NOT MEASURED, this needs network namespaces: %w", err)
	}
	dir, err := os.MkdirTemp("", "mycel-bench")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "object")
	if err := writeRandomFile(file, 256<<20); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	failures := 0
	for range p.rounds {
		for _, path := range paths {
			if len(p.paths) > 0 && !slices.Contains(p.paths, path.String()) {
				continue
			}
			for _, t := range p.lab {
				if t.congestion != "" && !slices.Contains(offered, t.congestion) {
					fmt.Fprintf(p.progress, "*** NOT MEASURED: the kernel offers no %s, only %v\n", t.congestion, offered)
					continue
				}
				ctx, cancel := context.WithTimeout(ctx, 4*wanDuration+4*p.duration+2*overtime)
				w, err := startWAN(ctx, t, path, file)
				if err == nil {
					err = errors.Join(measure(ctx, w, t, path), w.close())
				}
				cancel()
				if err != nil {
					fmt.Fprintf(p.progress, "%s, %v: %v\n", t.name, path, err)
					failures++
				}
			}
			if ctx.Err() != nil {
				return stopped(ctx)
			}
		}
	}
	if failures > 0 {
		return fmt.Errorf("bench: %d measurements failed, see above", failures)
	}
	return nil
}

func (p *plan) tell(key rowKey, m metrics) {
	fmt.Fprintf(p.progress, "%-15s %-24s %-12s p50 %s p90 %s p99 %s ms, %s MB/s, %.0f %% of the link, queue at most %s ms\n", key.Scenario, key.Path, key.Transport,
		number(m.P50Micros/1e3), number(m.P90Micros/1e3), number(m.P99Micros/1e3), number(m.MBPerS), 100*m.LinkShare, number(m.MaxQueueMicros/1e3))
}

// measureConnects measures the time from nothing to the first answer.
func measureConnects(ctx context.Context, w *wanWorld, key rowKey, p *plan, r *report) error {
	for _, resume := range []bool{false, true} {
		key.Scenario = "wan-connect-cold"
		if resume {
			key.Scenario = "wan-connect-resumed"
		}
		m := measurement{row: key}
		begun := time.Now()
		for n := range uint64(wanConnects + 1) {
			start := time.Now()
			end, err := firstCall(ctx, w.endpoint, resume, n)
			if err != nil {
				return err
			}
			if n > 0 { // the first one has nothing to resume
				m.latency.record(time.Since(start))
				m.calls++
			}
			if resume { // a ticket comes after the handshake
				time.Sleep(2 * w.lab.Link(netlab.LeftToRight).Delay)
			}
			if err := end(); err != nil {
				return err
			}
		}
		m.elapsed = time.Since(begun)
		r.addRound(key, m.metrics())
		p.tell(key, m.metrics())
	}
	return nil
}

// firstCall connects and makes a call. end closes the client.
func firstCall(ctx context.Context, ep endpoint, resume bool, n uint64) (end func() error, err error) {
	s, ok := ep.(*mycelServer)
	if !ok {
		c, err := ep.dial(ctx, resume)
		if err != nil {
			return nil, err
		}
		_, err = smallEcho(c, smallBytes)(ctx, n)
		return c.close, err
	}
	conf := framework.ClientConfig{TLS: s.clientTLS.Clone(), EarlyData: resume}
	if resume {
		conf.TLS.ClientSessionCache = s.sessions
	}
	c, err := s.client(conf)
	if err != nil {
		return nil, err
	}
	q := samples().small[n%uint64(len(samples().small))]
	q.ID = n
	got, err := lookupMethod.Call(ctx, c, &q)
	if err == nil && got.ID != n {
		err = errEcho
	}
	return c.Close, err
}
