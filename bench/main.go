package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// run builds the nested module and runs it. It returns the exit code.
func run(args []string) (int, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/mycel-rpc/mycel").Output()
	if err != nil {
		return 1, errors.New("bench: run this inside the repository of github.com/mycel-rpc/mycel")
	}
	tmp, err := os.MkdirTemp("", "mycel-bench")
	if err != nil {
		return 1, fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "bench")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join(string(bytes.TrimSpace(root)), "bench", "peers")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return 1, fmt.Errorf("bench: build bench/peers: %w", err)
	}

	signals := make(chan os.Signal, 4) // a few, in case they come before the program can take them
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	cmd := exec.Command(binary, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("bench: %w", err)
	}
	ended := make(chan error, 1)        // one value is sent
	go func() { ended <- cmd.Wait() }() // ends with the program; the loop below waits
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // fails only when it has ended, which the next turn sees
		case err := <-ended:
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				return max(1, exit.ExitCode()), nil // -1 after a signal
			}
			return 0, err
		}
	}
}
