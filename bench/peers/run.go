package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// plan is what the flags ask for.
type plan struct {
	scenarios  []scenario
	transports []transport
	lab        []wanTransport // those of transports that take part in wan and mixed-wan
	paths      []string       // of wan; none means all
	clients    int            // of connections, at least 1
	rounds     int            // at least 1
	duration   time.Duration  // of a round of one transport
	warmup     time.Duration
	progress   io.Writer
}

// overtime is what a round may take beyond its duration before it counts as hanging.
const overtime = 30 * time.Second

// run measures everything and adds it to the report. A transport that fails in a case has no row there: the reason
// goes to progress at once, and the rest is still measured. It ends early when ctx does, with the complete cases.
func (p *plan) run(ctx context.Context, r *report) error {
	failures := 0
	for _, s := range p.scenarios {
		if s.run != nil {
			err := s.run(ctx, p, r)
			if ctx.Err() != nil {
				return stopped(ctx)
			}
			if err != nil {
				fmt.Fprintln(p.progress, err)
				failures++
			}
			continue
		}
		failed, err := p.runCases(ctx, s.cases, r)
		if err != nil {
			return err
		}
		failures += failed
	}
	if failures > 0 {
		return fmt.Errorf("bench: %d cases failed, see above", failures)
	}
	return nil
}

// runCases measures cases and adds them to the report. It returns how many failed; why went to progress. It ends early with
// an error when ctx does.
func (p *plan) runCases(ctx context.Context, cases []benchCase, r *report) (failures int, err error) {
	for _, c := range cases {
		start := time.Now()
		fmt.Fprintf(p.progress, "%-15s %8s x%-5d", cmp.Or(c.row.Message, c.row.Scenario), size(c.row.SizeBytes), c.row.Concurrency)
		measured, err := p.runCase(ctx, c)
		if ctx.Err() != nil {
			fmt.Fprintln(p.progress)
			return failures, stopped(ctx)
		}
		for i := range measured {
			r.addRound(measured[i].row, measured[i].metrics())
		}
		fmt.Fprintf(p.progress, "%s  (%.1f s)\n", p.summary(c.row, measured), time.Since(start).Seconds())
		if err != nil {
			fmt.Fprintln(p.progress, err)
			failures++
		}
	}
	return failures, nil
}

func stopped(ctx context.Context) error {
	return fmt.Errorf("bench: stopped early: %w", context.Cause(ctx))
}

// summary tells the median rates of a case in a few words.
func (p *plan) summary(key rowKey, measured []measurement) string {
	var out strings.Builder
	for _, t := range p.transports {
		key.Transport = t.name
		var rates []float64
		for i := range measured {
			if m := &measured[i]; m.row == key {
				rates = append(rates, m.metrics().CallsPerS)
			}
		}
		if len(rates) > 0 {
			fmt.Fprintf(&out, "  %s %s/s", t.name, number(median(rates)))
		}
	}
	return out.String()
}

// contender is a transport while a case is measured.
type contender struct {
	transport
	endpoint  endpoint
	client    caller
	measured  []measurement
	peakBytes int64
	err       error // ends its part
}

// runCase lets the transports take turns, round by round, so that whatever disturbs the machine disturbs them alike.
// Each round begins with another one.
func (p *plan) runCase(ctx context.Context, c benchCase) ([]measurement, error) {
	var contenders []*contender
	for _, t := range p.transports {
		if !c.takes(t) {
			continue
		}
		x := &contender{transport: t}
		contenders = append(contenders, x)
		if x.endpoint, x.err = t.start(); x.err == nil {
			x.client, x.err = x.endpoint.dial(ctx, false)
		}
		x.first(ctx, c)
		x.round(ctx, c, p.warmup, false)
	}
	if len(contenders) == 0 {
		return nil, nil
	}
	for n := range p.rounds {
		first := n % len(contenders)
		for _, x := range slices.Concat(contenders[first:], contenders[:first]) {
			x.round(ctx, c, p.duration, true)
		}
	}
	var measured []measurement
	var errs []error
	for _, x := range contenders {
		err := errors.Join(x.err, x.close())
		switch {
		case errors.Is(err, errNotApplicable):
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %s, %s, %d concurrent: %w", x.name, c.row.Scenario, size(c.row.SizeBytes), c.row.Concurrency, err))
		default:
			measured = append(measured, x.measured...)
		}
	}
	return measured, errors.Join(errs...)
}

// first is what a case does before the rounds.
func (x *contender) first(ctx context.Context, c benchCase) {
	if x.err != nil || c.first == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, overtime)
	defer cancel()
	x.peakBytes, x.err = c.first(ctx, &round{row: c.row, endpoint: x.endpoint, client: x.client})
}

// round measures once, unless the contender has failed before.
func (x *contender) round(ctx context.Context, c benchCase, d time.Duration, keep bool) {
	if x.err != nil || d <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d+overtime)
	defer cancel()
	runtime.GC() // the garbage of the others is not this one's
	ms, err := c.measure(ctx, &round{row: c.row, endpoint: x.endpoint, client: x.client, duration: d})
	if x.err = err; err != nil || !keep {
		return
	}
	for _, m := range ms {
		if m.row.Scenario == "" {
			m.row = c.row
		}
		if m.row.Transport == "" {
			m.row.Transport = x.name
		}
		m.peakBytes = x.peakBytes
		x.measured = append(x.measured, m)
	}
}

func (x *contender) close() error {
	var errs []error
	if x.client != nil {
		errs = append(errs, x.client.close())
	}
	if x.endpoint != nil {
		errs = append(errs, x.endpoint.close())
	}
	return errors.Join(errs...)
}
