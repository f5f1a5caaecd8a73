package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mycel-rpc/mycel/bench/netlab"
)

func TestMain(m *testing.M) {
	if os.Getenv(remoteVariable) != "" {
		main()
		return
	}
	if errLab = netlab.Enter(); errLab != nil {
		fmt.Fprintf(os.Stderr, "\n*** %v\n*** What needs a lab is NOT TESTED.\n\n", errLab)
	}
	goleak.VerifyTestMain(m)
}

// dialTest starts a transport and returns a client of it. Both end with the test.
func dialTest(t *testing.T, tr transport) (endpoint, caller) {
	t.Helper()
	ep, err := tr.start()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ep.dial(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.close(), ep.close()); err != nil {
			t.Error(err)
		}
	})
	return ep, c
}

// callTransports returns the transports that make calls.
func callTransports() []transport {
	return slices.DeleteFunc(transports(), func(t transport) bool { return t.objects })
}

func TestEveryTransportEchoesEveryPayload(t *testing.T) {
	for _, tr := range callTransports() {
		t.Run(tr.name, func(t *testing.T) {
			_, c := dialTest(t, tr)
			for name, do := range map[string]operation{
				"small":        smallEcho(c, smallBytes),
				"medium":       mediumEcho(c, 16<<10),
				"100 KiB":      bytesEcho(c, 100<<10),
				"a whole part": bytesEcho(c, chunkBytes),
				"bulk, parts":  bulkEcho(c, bulkBytes),
				"5 MiB":        bytesEcho(c, 5<<20),
				"ticks":        readTicks(c, tickBytes),
				"blobs":        readBlobs(c, 1<<10),
			} {
				if _, err := do(t.Context(), 7); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestEveryByteOfALargeMessageArrives(t *testing.T) {
	for _, tr := range callTransports() {
		t.Run(tr.name, func(t *testing.T) {
			_, c := dialTest(t, tr)
			want := samples().bytes(0, 3<<20)
			got, err := c.bulk(t.Context(), &Bytes{Data: want})
			if err != nil || !bytes.Equal(got.Data, want) {
				t.Errorf("echo differs from the request (error %v)", err)
			}
		})
	}
}

func TestConcurrentCallsOfAllSizesGetTheirOwnAnswers(t *testing.T) {
	for _, tr := range callTransports() {
		t.Run(tr.name, func(t *testing.T) {
			_, c := dialTest(t, tr)
			var wg sync.WaitGroup
			for i := range 12 {
				do := []operation{smallEcho(c, smallBytes), mediumEcho(c, 16<<10), bulkEcho(c, bulkBytes)}[i%3]
				wg.Go(func() {
					for n := range uint64(20) {
						if _, err := do(t.Context(), n*16+uint64(i)); err != nil {
							t.Errorf("worker %d: %v", i, err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestCanceledCallsLeaveTheConnectionUsable(t *testing.T) {
	for _, tr := range callTransports() {
		t.Run(tr.name, func(t *testing.T) {
			_, c := dialTest(t, tr)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := c.small(ctx, &Small{}); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("canceled call: %v, want the cancellation or an answer that was quicker", err)
			}
			for _, err := range c.ticks(t.Context(), &StreamRequest{Count: 10_000}) {
				if err != nil {
					t.Error(err)
				}
				break
			}
			if _, err := smallEcho(c, smallBytes)(t.Context(), 1); err != nil {
				t.Errorf("call after canceled ones: %v", err)
			}
		})
	}
}

func TestEveryTransportCountsItsBytes(t *testing.T) {
	for _, tr := range callTransports() {
		t.Run(tr.name, func(t *testing.T) {
			ep, c := dialTest(t, tr)
			const payload = 64 << 10
			least, most := uint64(2*payload), uint64(2*payload+16<<10)
			if tr.name == candidate { // through shared memory, as soon as both sides have mapped it
				least = 100
			}
			fewest := uint64(math.MaxUint64)
			for range 10 { // what is sent again, or for other reasons, counts as well
				before := ep.wireBytes()
				if _, err := bytesEcho(c, payload)(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				got := ep.wireBytes() - before
				for deadline := time.Now().Add(5 * time.Second); got < least && time.Now().Before(deadline); runtime.Gosched() {
					got = ep.wireBytes() - before // what a system call has sent is counted when it returns
				}
				if fewest = min(fewest, got); fewest <= most {
					break
				}
			}
			if fewest < least || fewest > most {
				t.Errorf("an echo of %d bytes took %d on the wire, want %d to %d", payload, fewest, least, most)
			}
		})
	}
}

func TestCallsFailWhenTheConnectionIsGone(t *testing.T) {
	for _, tr := range callTransports() {
		t.Run(tr.name, func(t *testing.T) {
			ep, err := tr.start()
			if err != nil {
				t.Fatal(err)
			}
			c, err := ep.dial(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.close(), ep.close()); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := c.small(ctx, &Small{}); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("call on a closed client: %v, want an error at once", err)
			}
		})
	}
}

func TestResumedWebSocketSessionsAreResumed(t *testing.T) {
	ep, err := startWebSocket(true, direct)()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ep.close(); err != nil {
			t.Error(err)
		}
	}()
	for i, want := range []bool{false, true, true} {
		c, err := ep.dial(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := smallEcho(c, smallBytes)(t.Context(), 1); err != nil {
			t.Error(err)
		}
		if got := didResume(c); got != want {
			t.Errorf("client %d: resumed is %t, want %t", i, got, want)
		}
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}
