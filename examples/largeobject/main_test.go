package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain makes the test binary the server when the client starts it as that.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "-serve" {
		if err := server(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestArraysReachAnotherProcess(t *testing.T) {
	var out bytes.Buffer
	if err := client(&out, 16<<20); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 8 {
		t.Fatalf("%d lines:\n%s", len(lines), &out)
	}
	for i, line := range lines {
		want := []string{"131072 numbers", ", 256 pages"}
		if i%4 >= 2 {
			want = []string{"2097152 numbers", ", 4096 pages"}
		}
		for _, w := range want {
			if !strings.Contains(line, w) {
				t.Errorf("line %d lacks %q: %s", i, w, line)
			}
		}
	}
}
