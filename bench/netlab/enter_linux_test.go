package netlab_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// otherUser is one without privileges.
func otherUser() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// unprivileged skips a test that cannot start a process without privileges.
func unprivileged(t *testing.T) {
	t.Helper()
	if entered != nil {
		t.Skipf("NOT TESTED: %v", entered)
	}
	// Inside a user namespace there is no other user; but then these tests have come here by what they test.
	if uids, err := os.ReadFile("/proc/self/uid_map"); err != nil || len(strings.Fields(string(uids))) != 3 || strings.Fields(string(uids))[2] == "1" {
		t.Skip("NOT TESTED: only root outside of user namespaces can start a process without privileges")
	}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func TestAnOrdinaryUserIsRunOnceMore(t *testing.T) {
	unprivileged(t)
	cmd := helper(t, "input", true)
	cmd.Stdin = strings.NewReader("from stdin")
	out, err := cmd.Output()
	if code := exitCode(t, err); code != 7 {
		t.Errorf("exit code %d, want 7: %s", code, out)
	}
	if got := strings.TrimSpace(string(out)); got != `from stdin ["one" "two"] <nil>` {
		t.Errorf("output %q", got)
	}
}

func TestASignalReachesTheProcessThatWasRunOnceMore(t *testing.T) {
	unprivileged(t)
	cmd := helper(t, "signal", true)
	out := must(cmd.StdoutPipe())(t, "pipe")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Errorf("output %q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 8 {
		t.Errorf("exit code %d, want 8", code)
	}
}

func TestWithoutEnterThereIsNoLab(t *testing.T) {
	out := must(helper(t, "no Enter", false).Output())(t, "helper")
	if got := string(out); !strings.HasPrefix(got, "true ") || !strings.Contains(got, "netlab.Enter") {
		t.Errorf("New says %q", got)
	}
}

func TestTheEmulatorEndsWithItsProcess(t *testing.T) {
	if entered != nil {
		t.Skipf("NOT TESTED: %v", entered)
	}
	cmd := helper(t, "signal", false)
	out := must(cmd.StdoutPipe())(t, "pipe")
	held, theirs, err := os.Pipe() // the emulator has it, too
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	cmd.Stderr = theirs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Errorf("output %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	_ = held.SetReadDeadline(time.Now().Add(patience))
	if text, err := io.ReadAll(held); err != nil || len(text) > 0 {
		t.Errorf("the emulator is still there, or has written something: %q, %v", text, err)
	}
}
