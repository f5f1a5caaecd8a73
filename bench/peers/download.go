package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mycel-rpc/mycel/framework"
	"github.com/mycel-rpc/mycel/largeobj"
)

const (
	transferBytes = 1 << 30
	// transferRoom is what the directory for temporary files must have, in objects, for one of transferBytes; with less
	// room, objects are smaller.
	transferRoom = 3
	interruptAt  = 0.6 // of an object
)

// runTransfer measures downloads from a file to a file, over streams: a whole one, and one that is interrupted and
// resumed.
func runTransfer(ctx context.Context, p *plan, r *report) error {
	return transferObjects(ctx, p, r, transferBytes, largeobj.Config{StreamsOnly: true})
}

func transferObjects(ctx context.Context, p *plan, r *report, sizeBytes int64, conf largeobj.Config) (err error) {
	dir, err := os.MkdirTemp("", "mycel-bench")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(dir)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for sizeBytes > 1<<20 && sizeBytes > int64(fs.Bavail)*int64(fs.Bsize)/transferRoom {
		sizeBytes /= 2
	}
	t := transferring{plan: p, report: r, sizeBytes: sizeBytes, source: filepath.Join(dir, "source"), target: filepath.Join(dir, "target")}
	if err := writeRandomFile(t.source, sizeBytes); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if t.server, err = newMycel(loopback, conf, func(c *framework.ServerConfig) {
		c.Interceptors = []framework.ServerInterceptor{t.countFetches}
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.server.close()) }()
	c, err := t.server.dial(ctx, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t.client = c.(mycelClient)
	for range p.rounds {
		for _, do := range []func(context.Context) error{t.whole, t.resumed} {
			if err := do(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// transferring is the state of [runTransfer].
type transferring struct {
	*plan
	*report
	server         *mycelServer
	client         mycelClient
	sizeBytes      int64
	source, target string
	fetches        atomic.Int64                          // that are served at the moment
	sending        atomic.Pointer[func(context.Context)] // called before a chunk is sent, with the context of its fetch
}

func (t *transferring) countFetches(next framework.ServerFunc) framework.ServerFunc {
	return func(ctx context.Context, info *framework.CallInfo, s framework.Stream) error {
		if info.Method == "mycel.v1/FetchObject" {
			t.fetches.Add(1)
			defer t.fetches.Add(-1)
			s = &watchedStream{s, ctx, t}
		}
		return next(ctx, info, s)
	}
}

type watchedStream struct {
	framework.Stream
	ctx context.Context
	t   *transferring
}

func (s *watchedStream) Send(msg any) error {
	if f := s.t.sending.Load(); f != nil {
		(*f)(s.ctx)
	}
	return s.Stream.Send(msg)
}

// whole downloads the file in one go.
func (t *transferring) whole(ctx context.Context) error {
	return t.measure(ctx, "transfer", func(ctx context.Context, ref largeobj.Ref) (metrics, error) {
		return metrics{}, ref.Download(ctx, t.target)
	})
}

// resumed cancels a download when a share of it has been sent, and starts it again.
func (t *transferring) resumed(ctx context.Context) error {
	return t.measure(ctx, "transfer-resume", func(ctx context.Context, ref largeobj.Ref) (metrics, error) {
		before := t.server.far.Stats().BytesOut
		sent := func() int64 { return t.server.far.Stats().BytesOut - before }
		interrupted, interrupt := context.WithCancel(ctx)
		defer interrupt()
		var ranges atomic.Int64
		stop := func(fetch context.Context) {
			if float64(sent()) < interruptAt*float64(t.sizeBytes) {
				return
			}
			ranges.CompareAndSwap(0, t.fetches.Load())
			interrupt()
			<-fetch.Done() // so that nothing more arrives, however fast the machine is
		}
		t.sending.Store(&stop)
		err := ref.Download(interrupted, t.target)
		t.sending.Store(nil)
		if !errors.Is(err, context.Canceled) {
			return metrics{}, fmt.Errorf("bench: a download that is interrupted does not say so, but %v", err)
		}
		for t.fetches.Load() > 0 { // the server learns it a little later
			time.Sleep(time.Millisecond)
		}
		if err := ref.Download(ctx, t.target); err != nil {
			return metrics{}, err
		}
		return metrics{OpenRanges: float64(ranges.Load()), ResentBytes: float64(sent() - t.sizeBytes)}, nil
	})
}

// measure adds a round of a download to the report.
func (t *transferring) measure(ctx context.Context, scenario string, download func(context.Context, largeobj.Ref) (metrics, error)) error {
	p, err := fileMethod.Call(ctx, t.client.c, &FileRequest{Path: t.source})
	if err != nil {
		return err
	}
	defer p.Object.Release()
	defer os.Remove(t.target)
	m := measurement{row: rowKey{Scenario: scenario, Transport: mycelStreams, SizeBytes: int(t.sizeBytes), Concurrency: 1}, calls: 1}
	memory, err := resetPeak()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	before := readUsage(t.server)
	got, err := download(ctx, p.Object)
	if err != nil {
		return fmt.Errorf("bench: %s: %w", scenario, err)
	}
	after := readUsage(t.server)
	m.elapsed, m.consumed, m.peakBytes = after.at.Sub(before.at), after.since(before), max(0, peakRSS()-memory)
	figures := m.metrics()
	figures.ResentBytes, figures.OpenRanges = got.ResentBytes, got.OpenRanges
	if err := sameFiles(t.source, t.target); err != nil {
		return err
	}
	t.addRound(m.row, figures)
	fmt.Fprintf(t.progress, "%-15s %8s x%-5d  %s MB/s\n", scenario, size(m.row.SizeBytes), 1, number(figures.MBPerS))
	return nil
}

// resetPeak makes the peak that peakRSS returns begin with what the process has now, and returns that, after giving
// back what it does not use.
func resetPeak() (int64, error) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return 0, err
	}
	return procField("/proc/self/status", "VmRSS:"), nil
}

func peakRSS() int64 { return procField("/proc/self/status", "VmHWM:") }

// writeRandomFile makes a file of which no two MiB are the same.
func writeRandomFile(path string, sizeBytes int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for at := int64(0); at < sizeBytes && err == nil; at += 1 << 20 {
		block := bytes.Clone(samples().bytes(uint64(at>>20), 1<<20))
		copy(block, fmt.Sprint(at))
		_, err = f.Write(block[:min(1<<20, sizeBytes-at)])
	}
	return errors.Join(err, f.Close())
}

// sameFiles compares two files.
func sameFiles(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, errA := io.ReadFull(fa, bufA)
		m, errB := io.ReadFull(fb, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return errDigest
		}
		if errA != nil || errB != nil { // the end, as the files have the same length
			return nil
		}
	}
}
