//go:build unix

package integration

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mycel-rpc/mycel/framework"
)

// A process is stopped for longer than SilenceTimeout while it waits for a call, as by a debugger or a machine that sleeps.
func TestACallSurvivesThatItsProcessIsStopped(t *testing.T) {
	const stopped, pause = "MYCEL_TEST_STOPPED", 3 * time.Second
	if os.Getenv(stopped) != "" {
		waitUntilStopped(t, pause)
		return
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errBored)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=50s")
	child.Env = append(os.Environ(), stopped+"=1")
	child.Stderr = os.Stderr
	out := must(child.StdoutPipe())(t, "pipe")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if lines.Text() != "waiting" {
			continue
		}
		if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		<-time.After(pause)
		if err := child.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	if err := child.Wait(); err != nil {
		t.Errorf("the process that was stopped: %v\n%s", err, &said)
	}
	if !strings.Contains(said.String(), "PASS") {
		t.Errorf("the process said %q", &said)
	}
}

// waitUntilStopped makes a call that is answered a second after the process has been stopped and continued.
func waitUntilStopped(t *testing.T, pause time.Duration) {
	started, release := make(chan context.Context, 1), make(chan struct{})
	p := overQUIC.start(t, setup{
		client: framework.ClientConfig{Limits: framework.ConnLimits{SilenceTimeout: time.Second}},
		serve: func(r framework.Registrar) {
			Say.Handle(r, func(ctx context.Context, q *Text) (*Text, error) {
				started <- ctx
				select {
				case <-release:
					return q, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})
		},
	})
	ended := make(chan error, 1)
	go func() {
		_, err := Say.Call(t.Context(), p.client, &Text{"x"})
		ended <- err
	}()
	<-started
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	last, left := time.Now(), time.Hour
	os.Stdout.WriteString("waiting\n")
	for left > 0 {
		<-ticks.C
		gap := time.Since(last)
		last = last.Add(gap)
		if left -= gap; gap > pause/2 { // it has been stopped
			left = time.Second
		}
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the call that waited meanwhile: %v", err)
	}
}
