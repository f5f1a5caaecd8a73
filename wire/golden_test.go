package wire

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

var update = flag.Bool("update", false, "write the golden vectors anew: a change of the protocol")

// TestGoldenVectors compares the bytes of every sample with testdata/golden.txt, where each stands with what
// fxamacker/cbor, as a second opinion, says it means.
func TestGoldenVectors(t *testing.T) {
	var b strings.Builder
	b.WriteString("# A change in this file is a change of the protocol. Written by: go test -run Golden -update\n")
	for _, c := range frameHeads {
		fmt.Fprintf(&b, "\n[frame head: %s]\nbytes  %x\nmeans  %+v\n", c.name, AppendFrameHead(nil, c.head), c.head)
	}
	for _, s := range samples() {
		diag, err := cbor.Diagnose(s.bytes)
		if err != nil {
			t.Fatalf("%s: fxamacker/cbor: %v", s.name, err)
		}
		fmt.Fprintf(&b, "\n[%s]\nbytes  %x\nmeans  %s\n", s.name, s.bytes, diag)
	}
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	if len(gotLines) != len(wantLines) {
		t.Errorf("%s has %d lines, want %d", path, len(wantLines), len(gotLines))
	}
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Fatalf("line %d of %s:\ngot  %s\nwant %s", i+1, path, gotLines[i], wantLines[i])
		}
	}
}
