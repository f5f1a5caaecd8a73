package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestContentIsTheSameForEverybodyAndLikeItself(t *testing.T) {
	for _, s := range []struct {
		name  string
		equal func(n, m uint64) bool // messages n and m, made one after the other
	}{
		{"dashboard", sameContent(fillDashboard, sumDashboard)},
		{"sensors", sameContent(fillSensors, sumSensors)},
		{"config", sameContent(fillConfig, sumConfig)},
		{"log", sameContent(fillLog, sumLog)},
		{"compressed", sameContent(fillCompressed, sumBytes)},
		{"random", sameContent(fillRandom, sumBytes)},
	} {
		for _, n := range []uint64{0, 1, 4095, 4096, 1_000_003} {
			if !s.equal(n, n) {
				t.Errorf("%s: message %d is not the same the second time", s.name, n)
			}
			if s.equal(n, n+1) || s.equal(n, n+contentRing) {
				t.Errorf("%s: message %d comes again", s.name, n)
			}
		}
	}
}

// sameContent compares messages, and expects that their sums tell the same.
func sameContent[T any](fill func(uint64, *T), sum func(*T) uint32) func(n, m uint64) bool {
	return func(n, m uint64) bool {
		a, b := new(T), new(T)
		fill(n, a)
		fill(m, b)
		equal := reflect.DeepEqual(a, b)
		return equal == (sum(a) == sum(b)) && equal
	}
}

func TestFewFieldsOfADashboardChange(t *testing.T) {
	var a, b Dashboard
	changes := 0
	for n := range uint64(1000) {
		fillDashboard(n, &a)
		fillDashboard(n+1, &b)
		v, w := reflect.ValueOf(a), reflect.ValueOf(b)
		if v.NumField() != 50 {
			t.Fatalf("%d fields, want 50", v.NumField())
		}
		for i := range v.NumField() {
			if !v.Field(i).Equal(w.Field(i)) {
				changes++
			}
		}
	}
	if changes < 3000 || changes > 4000 { // the revision, and two or three of which some may be the same
		t.Errorf("%.2f fields change from one message to the next, want 3 to 4", float64(changes)/1000)
	}
}

func TestSumsSeeEveryPart(t *testing.T) {
	var d Dashboard
	fillDashboard(1, &d)
	before := sumDashboard(&d)
	for i, v := 2, reflect.ValueOf(&d).Elem(); i < v.NumField(); i++ {
		was := reflect.ValueOf(v.Field(i).Interface())
		v.Field(i).SetZero()
		if sumDashboard(&d) == before {
			t.Errorf("field %s is not in the sum", v.Type().Field(i).Name)
		}
		v.Field(i).Set(was)
	}
	var c ConfigPush
	fillConfig(1, &c)
	sum := sumConfig(&c)
	c.Service.Options = slices.Clone(c.Service.Options)
	c.Service.Options[59].Value += "x"
	if sumConfig(&c) == sum {
		t.Error("the last option is not in the sum")
	}
	var b SensorBatch
	fillSensors(1, &b)
	sum = sumSensors(&b)
	b.Vibration = slices.Clone(b.Vibration)
	b.Vibration[63]++
	if sumSensors(&b) == sum {
		t.Error("the last sample is not in the sum")
	}
}

// TestRunReportsContent: every message arrives as it was sent, which the scenario checks, in each row; what the layer can do
// nothing for does not become longer.
func TestRunReportsContent(t *testing.T) {
	var out, progress bytes.Buffer
	file := t.TempDir() + "/report.json"
	if err := run(t.Context(), []string{"-scenario", "content", "-duration", "5ms", "-warmup", "0s", "-rounds", "1", "-json", file}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	js, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(js, &got); err != nil {
		t.Fatal(err)
	}
	places := 2
	if errLab != nil {
		places = 1
		if len(got.Notes) == 0 || !strings.Contains(out.String(), "NOT MEASURED") {
			t.Errorf("the report does not say that there was no link:\n%s", &out)
		}
	}
	streams, ways := len(contentStreams(contentPlace{})), len(contentTransports())
	if len(got.Rows) != places*streams*ways || len(got.Targets) != 2*places*streams {
		t.Errorf("%d rows and %d targets, want %d and %d:\n%s", len(got.Rows), len(got.Targets), places*streams*ways, 2*places*streams, &progress)
	}
	for _, row := range got.Rows {
		if row.CallsPerS <= 0 || row.WireBytesPerCall <= 0 || row.OfBaseline <= 0 || (row.PayloadBytesPerCall > 0) == (row.Transport == wssDeflate || row.Transport == mycelQUIC && row.Message == sensorsStream) ||
			(row.LinkBytesPerCall > 0) != (row.Path != "") {
			t.Errorf("row %+v", row)
		}
		if (row.Message == "random" || row.Message == "compressed") && row.Transport == mycelQUIC && row.PayloadBytesPerCall > 1.01*float64(row.SizeBytes) {
			t.Errorf("%s: %.0f bytes for messages of %d", row.Message, row.PayloadBytesPerCall, row.SizeBytes)
		}
	}
	if !strings.Contains(out.String(), "Targets of mycel-quic") {
		t.Errorf("no targets:\n%s", &out)
	}
}

// exampleContentReport has a message at both places.
func exampleContentReport() *report {
	r := &report{Notes: []string{"*** NOT MEASURED: something"}}
	for _, path := range []string{"", "10mbit-20ms"} {
		for _, x := range []struct {
			transport string
			m         metrics
		}{
			{mycelQUIC, metrics{CallsPerS: 380, P50Micros: 21_000, WireBytesPerCall: 150, PayloadBytesPerCall: 102, LinkBytesPerCall: 270}},
			{mycelQUICOff, metrics{CallsPerS: 300, P50Micros: 24_000, WireBytesPerCall: 3700, PayloadBytesPerCall: 3554, LinkBytesPerCall: 3900}},
			{"wss", metrics{CallsPerS: 230, P50Micros: 30_000, WireBytesPerCall: 4500, PayloadBytesPerCall: 4207, LinkBytesPerCall: 4900}},
			{wssDeflate, metrics{CallsPerS: 330, P50Micros: 23_000, WireBytesPerCall: 1300, LinkBytesPerCall: 1500}},
		} {
			if path == "" {
				x.m.LinkBytesPerCall = 0
				x.m.CallsPerS *= 100
			}
			r.addRound(rowKey{Scenario: contentScenario, Transport: x.transport, SizeBytes: 3554, Concurrency: 8, Message: "config", Path: path}, x.m)
		}
	}
	r.summarize()
	return r
}

func TestContentIsMeasuredByItsTargets(t *testing.T) {
	got := exampleContentReport().Targets
	want := []target{
		{Message: "config", What: "bytes of wss", Want: 5, Got: 100 * 150. / 4500, Met: true},
		{Message: "config", What: "messages/s without the layer", Want: 95, AtLeast: true, Got: 100 * 380. / 300, Met: true},
		{Message: "config", Path: "10mbit-20ms", What: "bytes of wss", Want: 5, Got: 100 * 150. / 4500, Met: true},
		// The bytes would allow 14 times as many, but eight calls at a time that take 20 ms each are 400 a second.
		{Message: "config", Path: "10mbit-20ms", What: "messages/s without the layer", Want: 106.67, AtLeast: true, Got: 100 * 380. / 300, Met: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("targets\n%+v, want\n%+v", got, want)
	}
	r := exampleContentReport()
	r.Rows[0].rounds[0].WireBytesPerCall = 226
	r.Rows[0].rounds[0].CallsPerS = 28_000
	r.summarize()
	for i, x := range r.Targets[:2] {
		if x.Met {
			t.Errorf("target %d: %+v is met", i, x)
		}
	}
}
