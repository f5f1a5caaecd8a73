package netlab

import (
	"errors"
	"os/exec"
	"testing"
)

func TestADeadEmulatorIsNoticed(t *testing.T) {
	if err := ready(); err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	lab, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.emulator.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-lab.ended
	if _, err := lab.Stats(); err == nil {
		t.Error("a dead emulator has figures")
	}
	if err := lab.SetLinks(Link{}); err == nil {
		t.Error("a dead emulator takes a link")
	}
	if exit := (*exec.ExitError)(nil); !errors.As(lab.Close(), &exit) {
		t.Errorf("closing a lab with a dead emulator: %v", lab.Close())
	}
}
