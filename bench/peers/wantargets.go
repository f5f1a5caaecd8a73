package main

import (
	"fmt"
	"io"
)

// linkTarget is what Mycel should reach over an emulated link. It is met if value is at most or at least the bound.
type linkTarget struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Bound  float64 `json:"bound"`
	AtMost bool    `json:"at_most"`
	Met    bool    `json:"met"`
}

// setLinkTargets adds the targets for which everything was measured.
func (r *report) setLinkTargets() {
	get := func(scenario, path, transport string, bulk int) *row {
		for i := range r.Rows {
			x := &r.Rows[i]
			if x.Scenario == scenario && x.Path == path && x.Transport == transport && x.Concurrency == bulk {
				return x
			}
		}
		return nil
	}
	add := func(name string, value, bound float64, atMost bool) {
		r.LinkTargets = append(r.LinkTargets, linkTarget{name, value, bound, atMost, atMost == (value <= bound) || value == bound})
	}
	for _, p := range mixedPaths() {
		idle, loaded := get("mixed-wan", p.queueName(), candidate, 0), get("mixed-wan", p.queueName(), candidate, 1)
		if idle != nil && loaded != nil {
			add("mixed-wan, "+p.queueName()+": p99 beside bulk over p99 alone", loaded.P99Micros/idle.P99Micros, 1.5, true)
			add("mixed-wan, "+p.queueName()+": share of the link that bulk has", loaded.LinkShare, 0.85, false)
		}
	}
	const clean, lossy, long = "20ms-0%", "20ms-1%", "50ms-0%"
	if a, b := get("wan", clean, candidate, 1), get("wan", lossy, candidate, 1); a != nil && b != nil {
		add("wan: p90 with 1 % loss over p90 without, at 20 ms", b.P90Micros/a.P90Micros, 1.1, true)
	}
	if b := get("wan-bulk", lossy, candidate, 1); b != nil {
		if cubic := get("wan-bulk", lossy, "wss-cubic", 1); cubic != nil {
			add("wan: bulk over that of cubic, at 20 ms and 1 %", b.MBPerS/cubic.MBPerS, 5, false)
		}
		if bbr := get("wan-bulk", lossy, "wss-bbr", 1); bbr != nil {
			add("wan: bulk over that of bbr, at 20 ms and 1 %", b.MBPerS/bbr.MBPerS, 0.9, false)
		}
	}
	for _, c := range []struct {
		scenario string
		trips    float64
	}{{"wan-connect-cold", 2.1}, {"wan-connect-resumed", 1.1}} {
		if x := get(c.scenario, long, candidate, 1); x != nil {
			add(c.scenario+": round trips of 50 ms until the first answer", x.P50Micros/50e3, c.trips, true)
		}
	}
}

func (r *report) writeLinkTargets(w io.Writer) error {
	for _, t := range r.LinkTargets {
		verdict, relation := "MISSED", "at least"
		if t.Met {
			verdict = "met"
		}
		if t.AtMost {
			relation = "at most"
		}
		if _, err := fmt.Fprintf(w, "%-7s %s is %s, wanted is %s %s\n", verdict, t.Name, number(t.Value), relation, number(t.Bound)); err != nil {
			return fmt.Errorf("bench: write targets: %w", err)
		}
	}
	return nil
}
