package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// exampleReport has two rounds of a transport pair in one case.
func exampleReport() *report {
	r := &report{Host: host{CPU: "Example CPU", Cores: 2, MaxProcs: 2, OS: "linux 6.1", Go: "go1.26", Commit: "0123456789ab", Date: "2026-01-01T00:00:00Z",
		DurationMillis: 150, Rounds: 3, UDPReceiveBytes: 7 << 20, UDPSendBytes: 7 << 20, GSO: "on", HelloBytes: 9_000_000, HelloModules: 7}}
	key := rowKey{Scenario: "small", Transport: "wss", SizeBytes: 100, Concurrency: 64}
	for _, rate := range []float64{80_000, 100_000, 90_000} {
		r.addRound(key, metrics{CallsPerS: rate, P50Micros: 800, P99Micros: 2000, CPUMicrosPerCall: 20, AllocsPerCall: 40, WireBytesPerCall: 400})
	}
	key.Transport = candidate
	for _, rate := range []float64{400_000, 400_000, 450_000} {
		r.addRound(key, metrics{CallsPerS: rate, P50Micros: 200, P99Micros: 4000, CPUMicrosPerCall: 4, WireBytesPerCall: 100})
	}
	r.sort([]string{candidate, "wss"})
	r.summarize()
	return r
}

func TestRowsAreMediansWithExtremesAndTheCandidateIsFirst(t *testing.T) {
	r := exampleReport()
	if r.Rows[0].Transport != candidate {
		t.Errorf("first row is of %s", r.Rows[0].Transport)
	}
	if got := r.Rows[1]; got.CallsPerS != 90_000 || got.Min.CallsPerS != 80_000 || got.Max.CallsPerS != 100_000 {
		t.Errorf("rate %v, from %v to %v; want 90000, from 80000 to 100000", got.CallsPerS, got.Min.CallsPerS, got.Max.CallsPerS)
	}
}

func TestRatiosAreLargerThanOneWhereTheCandidateIsBetter(t *testing.T) {
	got := map[string]ratio{}
	for _, x := range exampleReport().Ratios {
		got[x.Metric] = x
	}
	for metric, want := range map[string]float64{
		"calls_per_s":         400_000. / 90_000, // more is better
		"p50_us":              4,                 // less is better
		"p99_us":              0.5,               // the candidate is worse
		"cpu_us_per_call":     5,
		"wire_bytes_per_call": 4,
	} {
		if got[metric].Value != want || got[metric].Over != "wss" {
			t.Errorf("%s: ratio %+v, want %v over wss", metric, got[metric], want)
		}
	}
	if x, ok := got["allocs_per_call"]; ok {
		t.Errorf("ratio %+v of a metric that one side did not measure", x)
	}
	if x := got["calls_per_s"]; x.Min != 4 || x.Max != 5 { // 400/100 and 400/80 or 450/90
		t.Errorf("ratios of paired rounds from %v to %v, want 4 to 5", x.Min, x.Max)
	}
}

// exampleCodecReport has one row of a transport, and a message in two codecs and two directions.
func exampleCodecReport() *report {
	r := &report{}
	r.addRound(rowKey{Scenario: "small", Transport: candidate, SizeBytes: 100, Concurrency: 1}, metrics{CallsPerS: 20_000})
	for _, direction := range []string{codecEncode, codecDecode} {
		key := rowKey{Scenario: direction, Transport: "cbor", SizeBytes: 28, Concurrency: 1, Message: "call"}
		r.addRound(key, metrics{NanosPerOp: 120, AllocsPerCall: 6, AllocBytesPerCall: 300, EncodedBytes: 42})
		r.addRound(key, metrics{NanosPerOp: 80, AllocsPerCall: 6, AllocBytesPerCall: 300, EncodedBytes: 42})
		key.Transport = candidate
		r.addRound(key, metrics{NanosPerOp: 20, EncodedBytes: 28})
		r.addRound(key, metrics{NanosPerOp: 20, EncodedBytes: 28})
		key.Message = "other" // has no ratio over the cbor of "call"
		r.addRound(key, metrics{NanosPerOp: 5, EncodedBytes: 28})
	}
	r.sort([]string{candidate, "cbor"})
	r.summarize()
	return r
}

func TestRatiosOfCodecsAreOfTheSameMessageAndDirection(t *testing.T) {
	r := exampleCodecReport()
	want := []ratio{
		{codecEncode, 28, 1, "call", "", "ns_per_op", "", "cbor", 5, 4, 6},
		{codecEncode, 28, 1, "call", "", "encoded_bytes", "", "cbor", 1.5, 1.5, 1.5},
		{codecDecode, 28, 1, "call", "", "ns_per_op", "", "cbor", 5, 4, 6},
		{codecDecode, 28, 1, "call", "", "encoded_bytes", "", "cbor", 1.5, 1.5, 1.5},
	}
	if !slices.Equal(r.Ratios, want) {
		t.Errorf("ratios %+v, want %+v", r.Ratios, want)
	}
}

// exampleObjectReport has objects handed over in three ways.
func exampleObjectReport() *report {
	r := &report{}
	key := rowKey{Scenario: "large", SizeBytes: hugeBytes, Concurrency: 1}
	for _, x := range []struct {
		transport string
		m         metrics
	}{
		{candidate, metrics{MBPerS: 200_000, P50Micros: 1200, LastByteMicros: 100, CPUMicrosPerCall: 1100, PeakMB: 268, WireBytesPerCall: 200}},
		{mycelStreams, metrics{MBPerS: 240, P50Micros: 1_000_000, FirstByteMicros: 2000, LastByteMicros: 900_000, CPUMicrosPerCall: 1_800_000, PeakMB: 290}},
		{quicRaw, metrics{MBPerS: 300, P50Micros: 900_000, FirstByteMicros: 1000, LastByteMicros: 890_000, CPUMicrosPerCall: 900_000, PeakMB: 290}},
	} {
		key.Transport = x.transport
		r.addRound(key, x.m)
	}
	r.summarize()
	return r
}

func TestObjectsAsStreamsAreComparedWithTheRawNetworkAndTheBaseline(t *testing.T) {
	r := &report{}
	for transport, rate := range map[string]float64{candidate: 100, mycelStreams: 8, quicRaw: 10, "wss": 4, "mycel-copy": 50} {
		r.addRound(rowKey{Scenario: "large", Transport: transport, SizeBytes: hugeBytes, Concurrency: 1}, metrics{MBPerS: rate})
	}
	r.summarize()
	got := map[string]float64{}
	for _, x := range r.Ratios {
		got[x.Of+" over "+x.Over] = x.Value
	}
	want := map[string]float64{" over mycel-copy": 2, " over mycel-streams": 12.5, " over quic-raw": 10, " over wss": 25,
		"mycel-streams over quic-raw": 0.8, "mycel-streams over wss": 2}
	if !maps.Equal(got, want) {
		t.Errorf("ratios %v, want %v", got, want)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.values, got, test.want)
		}
	}
}

func TestReportsMatchTheGoldenFiles(t *testing.T) {
	var js, table, codecTable, objectTable, contentTable bytes.Buffer
	r := exampleReport()
	if err := r.writeJSON(&js); err != nil {
		t.Fatal(err)
	}
	if err := r.Host.write(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.writeTable(&table); err != nil {
		t.Fatal(err)
	}
	if err := exampleCodecReport().writeTable(&codecTable); err != nil {
		t.Fatal(err)
	}
	if err := exampleObjectReport().writeTable(&objectTable); err != nil {
		t.Fatal(err)
	}
	if err := exampleContentReport().writeTable(&contentTable); err != nil {
		t.Fatal(err)
	}
	for file, got := range map[string][]byte{"testdata/content.txt": contentTable.Bytes(), "testdata/objects.txt": objectTable.Bytes(), "testdata/report.json": js.Bytes(), "testdata/report.txt": table.Bytes(), "testdata/codec.txt": codecTable.Bytes()} {
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs; -update rewrites it. Got:\n%s", file, got)
		}
	}
}

func TestRunReportsTheChosenRowsAndNothingElse(t *testing.T) {
	var out, progress bytes.Buffer
	file := t.TempDir() + "/report.json"
	err := run(t.Context(), []string{"-scenario", "connect,small", "-transport", "ws", "-duration", "5ms", "-warmup", "1ms", "-rounds", "1", "-json", file}, &out, &progress)
	if err != nil {
		t.Fatal(err)
	}
	js, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(js), `"scenario"`); n != 4 { // three of small; connect-cold, but nothing to resume
		t.Errorf("%d rows, want 4:\n%s%s", n, &progress, &out)
	}
}

func TestRunReportsEveryCodecInBothDirections(t *testing.T) {
	var out, progress bytes.Buffer
	file := t.TempDir() + "/report.json"
	err := run(t.Context(), []string{"-scenario", "codec", "-duration", "1ms", "-warmup", "0s", "-rounds", "2", "-json", file}, &out, &progress)
	if err != nil {
		t.Fatal(err)
	}
	js, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(js, &got); err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, row := range got.Rows {
		rows[row.Scenario+" "+row.Message]++
		if row.NanosPerOp <= 0 || row.EncodedBytes <= 0 || row.Min.NanosPerOp > row.NanosPerOp || row.Max.NanosPerOp < row.NanosPerOp {
			t.Errorf("row %+v", row)
		}
	}
	want := map[string]int{ // floats are also decoded into a value that is reused, and "evolved" compares two readers
		"codec-encode call": 5, "codec-encode call-2k": 5, "codec-encode float64x128": 5,
		"codec-decode call": 5, "codec-decode call-2k": 5, "codec-decode float64x128": 6, "codec-decode evolved": 2,
	}
	if !maps.Equal(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
}

func TestTheOverviewLeavesOutScenariosThatMustBeNamed(t *testing.T) {
	overview, err := chooseScenarios("")
	if err != nil || slices.ContainsFunc(overview, func(s scenario) bool { return s.name == "codec" }) || len(overview) < 8 ||
		slices.ContainsFunc(overview, func(s scenario) bool { return slices.ContainsFunc(s.cases, func(c benchCase) bool { return c.named }) }) {
		t.Errorf("%d of %d scenarios, error %v; want all but those that must be named", len(overview), len(scenarios()), err)
	}
	if named, err := chooseScenarios("codec"); err != nil || len(named) != 1 {
		t.Errorf("%d scenarios, error %v; want the one that is named", len(named), err)
	}
}

func TestRunRefusesWhatItCannotDo(t *testing.T) {
	for _, args := range [][]string{{"-scenario", "smal"}, {"-transport", "wss,wss"}, {"-rounds", "0"}, {"-duration", "0s"}, {"small"}} {
		if err := run(t.Context(), args, new(bytes.Buffer), new(bytes.Buffer)); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestMeasureBuildTellsSizeAndModules(t *testing.T) {
	bytes, modules, err := measureBuild("..") // the launcher: the standard library only
	if err != nil || bytes < 100_000 || modules != 0 {
		t.Errorf("%d bytes, %d modules, error %v", bytes, modules, err)
	}
}

func TestOthersPercentLeavesOutThisProcess(t *testing.T) {
	before := machineTime{busy: 100, total: 1000}
	after := machineTime{busy: 180, total: 1200, own: 300 * time.Millisecond} // 80 busy ticks of 200, 30 of them ours
	if got := after.othersPercent(before); got != 25 {
		t.Errorf("others used %v %%, want 25", got)
	}
}
