package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// A target is what the layer for the content of messages is to reach in a row, and whether it does.
type target struct {
	Message string  `json:"message"`
	Path    string  `json:"path,omitzero"`
	What    string  `json:"what"`
	Want    float64 `json:"want"` // percent, at most or at least
	AtLeast bool    `json:"at_least,omitzero"`
	Got     float64 `json:"got"`
	Met     bool    `json:"met"`
}

const (
	contentSpeed = 95 // percent of the messages per second without the layer, on loopback
	// contentGain is how much of the bytes that are saved must show in messages per second where the link is the limit, in percent.
	contentGain = 80
)

// note adds a remark to the report, and tells it at once.
func (r *report) note(p *plan, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Fprintln(p.progress, text)
	r.Notes = append(r.Notes, text)
}

// compareContent fills in what the rows of the scenario content are of their baselines, and the targets.
func (r *report) compareContent() {
	r.Targets = nil
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Scenario != contentScenario {
			continue
		}
		if base := r.rowOf(row.rowKey, "wss"); base != nil && base.WireBytesPerCall > 0 {
			row.OfBaseline = 100 * row.WireBytesPerCall / base.WireBytesPerCall
		}
		if row.Transport == mycelQUIC {
			r.Targets = append(r.Targets, r.targetsOf(row)...)
		}
	}
}

func (r *report) targetsOf(row *row) (ts []target) {
	add := func(what string, want, got float64, atLeast bool) {
		ts = append(ts, target{Message: row.Message, Path: row.Path, What: what, Want: want, AtLeast: atLeast, Got: got,
			Met: atLeast && got >= want || !atLeast && got <= want})
	}
	if row.OfBaseline > 0 {
		for _, s := range contentTargets {
			if s.message == row.Message {
				add("bytes of wss", s.mostPercent, row.OfBaseline, false)
			}
		}
	}
	off := r.rowOf(row.rowKey, mycelQUICOff)
	if off == nil || off.Min.CallsPerS == 0 || row.LinkBytesPerCall == 0 && row.Path != "" {
		return ts
	}
	var paired []float64 // what disturbs the machine during a round disturbs both
	for i := range min(len(row.rounds), len(off.rounds)) {
		paired = append(paired, 100*row.rounds[i].CallsPerS/off.rounds[i].CallsPerS)
	}
	speed := median(paired)
	if row.Path == "" {
		add("messages/s without the layer", contentSpeed, speed, true)
		return ts
	}
	// As many more as there are fewer bytes, unless the round trips or the processors are the limit before.
	possible := 100 * off.LinkBytesPerCall / row.LinkBytesPerCall
	if row.P50Micros == 0 { // each stream takes a round trip besides
		s := contentLinkStream / (off.CallsPerS * possible / 100)
		possible = 100 * contentLinkStream / (s + contentRTT.Seconds()) / off.CallsPerS
	} else {
		possible = min(possible, 100*float64(row.Concurrency)/contentRTT.Seconds()/off.CallsPerS)
	}
	here := row.rowKey
	here.Path = ""
	if loopback := r.rowOf(here, mycelQUIC); loopback != nil {
		possible = min(possible, 100*loopback.CallsPerS/off.CallsPerS)
	}
	add("messages/s without the layer", math.Round(possible*contentGain)/100, speed, true)
	return ts
}

// contentTargets are the bytes on the wire that are wanted, in percent of those of wss.
var contentTargets = []struct {
	message     string
	mostPercent float64
}{{"dashboard-stream", 5}, {"dashboard", 5}, {"sensors", 35}, {"config", 5}, {"log", 35}, {"compressed", 101}, {"random", 101}}

var contentColumns = columns{
	"message\tsize\tpath\tconc.\ttransport\tper s\tp50 µs\tCPU µs\tallocs\tB alloc\tB wire\t% of wss\tB payload\tB link\tmin..max per s\t",
	func(row *row) string {
		path := row.Path
		if path == "" {
			path = "loopback"
		}
		return fmt.Sprintf("%s\t%d B\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s..%s\t",
			row.Message, row.SizeBytes, path, row.Concurrency, row.Transport, number(row.CallsPerS), number(row.P50Micros), number(row.CPUMicrosPerCall),
			number(row.AllocsPerCall), number(row.AllocBytesPerCall), number(row.WireBytesPerCall), number(row.OfBaseline), number(row.PayloadBytesPerCall),
			number(row.LinkBytesPerCall), number(row.Min.CallsPerS), number(row.Max.CallsPerS))
	},
	"", nil, nil,
}

// writeTargets writes the targets and the notes, if there are any.
func (r *report) writeTargets(w io.Writer) error {
	var b strings.Builder
	if len(r.Targets) > 0 {
		fmt.Fprintf(&b, "\nTargets of %s, in percent:\n", mycelQUIC)
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, x := range r.Targets {
			path, bound, met := x.Path, "at most", "met"
			if path == "" {
				path = "loopback"
			}
			if x.AtLeast {
				bound = "at least"
			}
			if !x.Met {
				met = "MISSED"
			}
			fmt.Fprintf(t, "  %s\t%s\tof the %s\t%s %s\tis %s\t%s\n", x.Message, path, x.What, bound, number(x.Want), number(x.Got), met)
		}
		_ = t.Flush() // a strings.Builder takes everything
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("bench: write table: %w", err)
	}
	return nil
}
