package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// roleVariable tells a process that Enter started what it is for.
const (
	roleVariable = "MYCEL_NETLAB"
	roleInside   = "inside"   // has been run once more, in namespaces
	roleEmulator = "emulator" // forwards packets
)

// entered is what Enter found.
var entered struct {
	sync.Mutex
	called bool
	err    error
}

// ready returns why this process cannot make a lab.
func ready() error {
	entered.Lock()
	defer entered.Unlock()
	if !entered.called {
		return fmt.Errorf("netlab: %w: the program must call netlab.Enter at its start, because it is its own emulator", ErrUnsupported)
	}
	return entered.err
}

func enter() error {
	entered.Lock()
	defer entered.Unlock()
	if !entered.called {
		entered.err = enterLocked()
		entered.called = true
	}
	return entered.err
}

func enterLocked() error {
	role := os.Getenv(roleVariable)
	if err := os.Unsetenv(roleVariable); err != nil { // not for the processes that this one starts
		return fmt.Errorf("netlab: %w", err)
	}
	if role == roleEmulator {
		if err := emulate(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	failed := tryNamespace()
	switch {
	case role == roleInside && failed != nil:
		return fmt.Errorf("netlab: %w: no network namespace inside a user namespace: %w", ErrUnsupported, failed)
	case role == roleInside:
		if err := setUpLoopback(); err != nil {
			return fmt.Errorf("netlab: %w: no loopback device inside the namespace: %w", ErrUnsupported, err)
		}
		return nil
	case failed == nil:
		return nil
	}
	return runInside(failed)
}

// tryNamespace makes a network namespace, as a test, and leaves it again.
func tryNamespace() error {
	return outside(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
}

// outside runs f on a thread that may leave its network namespace, and puts the thread back. A thread that cannot be put
// back is thrown away.
func outside(f func() error) error {
	done := make(chan error) // f may panic, which ends the program
	go func() {              // ends with f; the caller waits
		runtime.LockOSThread()
		home, err := os.Open(threadNamespace)
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		_ = home.Close()
		done <- err
	}()
	return <-done
}

const threadNamespace = "/proc/thread-self/ns/net"

// runInside runs this program once more, in a user and a network namespace, and exits as it does. It returns only when that
// fails at the start; failed is why it is necessary.
func runInside(failed error) error {
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the process
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 16) // some, in case they come before the process can take them
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGQUIT)
	defer signal.Stop(signals)
	terminal := ofTerminal()

	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), roleVariable+"="+roleInside)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("netlab: %w: no network namespace as this user (%w), and no user namespace (%w)%s", ErrUnsupported, failed, err, hint())
	}
	ended := make(chan error, 1)        // one value is sent
	go func() { ended <- cmd.Wait() }() // ends with the process; the loop below waits
	for {
		select {
		case s := <-signals:
			if terminal && (s == syscall.SIGINT || s == syscall.SIGQUIT) {
				continue // the terminal has sent it to both processes
			}
			_ = cmd.Process.Signal(s) // fails only when it has ended, which the next turn sees
		case err := <-ended:
			os.Exit(exitCode(err))
		}
	}
}

// exitCode is that of a shell.
func exitCode(err error) int {
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 1
	}
	if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return exit.ExitCode()
}

// ofTerminal reports whether a terminal sends its signals to this process and those it starts.
func ofTerminal() bool {
	for fd := range 3 {
		if group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil && group == unix.Getpgrp() {
			return true
		}
	}
	return false
}

// hint names the settings that forbid user namespaces, as far as they are set.
func hint() (text string) {
	for _, s := range []struct{ file, forbids string }{
		{"/proc/sys/user/max_user_namespaces", "0"},
		{"/proc/sys/user/max_net_namespaces", "0"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"},
	} {
		if b, err := os.ReadFile(s.file); err == nil && len(b) > 0 && string(b[:len(b)-1]) == s.forbids {
			text += fmt.Sprintf("; %s is %s", s.file, s.forbids)
		}
	}
	return text
}

// The first descriptors of the emulator, behind the standard ones.
const (
	leftDescriptor = 3 + iota
	rightDescriptor
	controlDescriptor
)

// emulatorCommand is this program as the emulator. files are for leftDescriptor and so on.
func emulatorCommand(files []*os.File) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{os.Args[0], "netlab-emulator"} // for those who look at processes; nobody reads it
	cmd.Env = append(os.Environ(), roleVariable+"="+roleEmulator,
		"GODEBUG=asyncpreemptoff=1",                        // its one goroutine never runs for long
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0") // the race detector would let Close wait for a second
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's signals are not for the emulator
	return cmd, nil
}

// controlPair returns both ends of the way that requests take to the emulator.
func controlPair() (ours net.Conn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	file := os.NewFile(uintptr(pair[0]), "control")
	defer file.Close() // FileConn has a copy
	theirs = os.NewFile(uintptr(pair[1]), "control")
	ours, err = net.FileConn(file)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
