package main

import (
	"bytes"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTargetsSayWhatIsMetAndWhatIsNot(t *testing.T) {
	r := &report{}
	row := func(scenario, path, transport string, bulk int, m metrics) {
		r.addRound(rowKey{Scenario: scenario, Path: path, Transport: transport, Concurrency: bulk}, m)
	}
	queue := mixedPaths()[0].queueName()
	row("mixed-wan", queue, candidate, 0, metrics{P99Micros: 20e3})
	row("mixed-wan", queue, candidate, 1, metrics{P99Micros: 40e3, LinkShare: 0.9})
	row("wan-bulk", "20ms-1%", candidate, 1, metrics{MBPerS: 10})
	row("wan-bulk", "20ms-1%", "wss-bbr", 1, metrics{MBPerS: 12})
	row("wan-connect-cold", "50ms-0%", candidate, 1, metrics{P50Micros: 104e3})
	r.summarize()
	r.setLinkTargets()
	var out bytes.Buffer
	if err := r.writeLinkTargets(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"MISSED  mixed-wan, " + queue + ": p99 beside bulk over p99 alone is 2.00, wanted is at most 1.50",
		"met     mixed-wan, " + queue + ": share of the link that bulk has is 0.900, wanted is at least 0.850",
		"MISSED  wan: bulk over that of bbr, at 20 ms and 1 % is 0.833, wanted is at least 0.900",
		"met     wan-connect-cold: round trips of 50 ms until the first answer is 2.08, wanted is at most 2.10",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d targets, want only those that were measured:\n%s", n, out.String())
	}
}

func TestLabsAreMadeOnlyWhenAskedFor(t *testing.T) {
	for args, want := range map[string]bool{"": false, "-scenario small,mixed": false, "-scenario small,wan": true, "-scenario=mixed-wan": true, "netlab-emulator": true} {
		if got := labNeeded(strings.Fields(args)); got != want {
			t.Errorf("%q: %v, want %v", args, got, want)
		}
	}
}

// TestTransportsWorkOverALab: each makes calls and moves bulk over a link. Where there are no namespaces, it says so.
func TestTransportsWorkOverALab(t *testing.T) {
	if errLab != nil {
		t.Skipf("NOT TESTED: %v", errLab)
	}
	file := filepath.Join(t.TempDir(), "object")
	if err := writeRandomFile(file, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, x := range append([]wanTransport{{transport: transport{name: candidate}}}, wanTransports()...) {
		t.Run(x.name, func(t *testing.T) {
			w, err := startWAN(t.Context(), x, wanPath{rtt: 2 * time.Millisecond, queueBytes: wanQueueBytes}, file)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := w.close(); err != nil {
					t.Error(err)
				}
			}()
			if m, err := w.small(t.Context(), 50*time.Millisecond); err != nil || m.calls == 0 {
				t.Errorf("%d calls, %v", m.calls, err)
			}
			if _, err := w.beside(t.Context(), 0, func() error {
				for w.bulk.moved() < 1<<20 && t.Context().Err() == nil {
					sleepPrecisely(time.Now().Add(time.Millisecond))
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			if !x.own {
				p := &plan{progress: io.Discard}
				if err := measureConnects(t.Context(), w, rowKey{Transport: x.name, Path: "x"}, p, &report{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
