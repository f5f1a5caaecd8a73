package codec

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/mycel-rpc/mycel/wire/schema"
)

var update = flag.Bool("update", false, "write the golden vectors anew: a change of the wire")

const goldenFile = "golden.txt"

// TestGoldenVectors compares the bytes of every sample with testdata/golden.txt, where each has its schema, its message
// and, as a second opinion, what fxamacker/cbor says the message is; and the message with all packed that can be, if that is
// another one. A later packer may write other bytes, but these must still mean the same.
func TestGoldenVectors(t *testing.T) {
	var b strings.Builder
	b.WriteString("# A change in this file is a change of the wire. Written by: go test -run Golden -update\n")
	all := samples()
	delete(all, "envelope") // its map has several entries, which are in no order
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v := all[name]
		msg := appendOf(t, v)
		diag, err := cbor.Diagnose(msg)
		if err != nil {
			t.Fatalf("%s: fxamacker/cbor: %v", name, err)
		}
		s := codecOf(t, v).Schema()
		fmt.Fprintf(&b, "\n[%s]\nid      %s\nschema  %x\nmessage %x\nmeans   %s\n", name, s.ID(), s.Canonical(), msg, diag)
		if codecOf(t, v).NewPacker() == nil {
			continue
		}
		packed := packedOf(t, v)
		if diag, err = cbor.Diagnose(packed); err != nil {
			t.Fatalf("%s: fxamacker/cbor: %v", name, err)
		}
		if !bytes.Equal(packed, msg) {
			fmt.Fprintf(&b, "packed  %x\nmeans   %s\n", packed, diag)
		}
	}
	path := filepath.Join("testdata", goldenFile)
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
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Fatalf("line %d of %s:\ngot  %s\nwant %s", i+1, path, gotLines[i], wantLines[i])
		}
	}
	if len(gotLines) != len(wantLines) {
		t.Fatalf("%s has %d lines, want %d", path, len(wantLines), len(gotLines))
	}
}

// TestGoldenVectorsDecode reads the file alone, as another implementation would.
func TestGoldenVectorsDecode(t *testing.T) {
	file, err := os.ReadFile(filepath.Join("testdata", goldenFile))
	if err != nil {
		t.Fatal(err)
	}
	all := samples()
	var v any
	var name string
	for line := range strings.Lines(string(file)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "[") {
			name = strings.Trim(strings.TrimSpace(line), "[]")
			v = all[name]
			continue
		}
		raw, _ := hex.DecodeString(strings.TrimSpace(value))
		switch key {
		case "schema":
			s, err := schema.Parse(raw, schema.Limits{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(s.Canonical(), codecOf(t, v).Schema().Canonical()) {
				t.Errorf("%s: schema differs", name)
			}
		case "message", "packed":
			got := newOf(v)
			if err := codecOf(t, v).Decode(raw, got, Limits{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if !reflect.DeepEqual(got, v) {
				t.Errorf("%s: got %+v, want %+v", name, got, v)
			}
		}
	}
	if name == "" {
		t.Fatal("no vectors")
	}
}
