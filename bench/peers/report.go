package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// report is everything that a run found out; its JSON form is what -json writes.
type report struct {
	Host   host    `json:"host"`
	Rows   []row   `json:"rows"`
	Ratios []ratio `json:"ratios"`
	// LinkTargets are those of wan and mixed-wan, as far as they were measured.
	LinkTargets []linkTarget `json:"link_targets,omitzero"`
	Targets     []target     `json:"targets,omitzero"` // of the scenario content
	Notes       []string     `json:"notes,omitzero"`   // what a reader of the figures must know besides
}

// rowKey says what a row is about.
type rowKey struct {
	Scenario    string `json:"scenario"`
	Transport   string `json:"transport"`
	SizeBytes   int    `json:"size_bytes"`  // of a request, or of a message of a stream
	Concurrency int    `json:"concurrency"` // calls outstanding; of mixed: the large calls beside
	// Message is what was encoded or decoded, in rows that are no calls: there Transport is a codec, and SizeBytes what
	// the candidate makes of the message.
	Message string `json:"message,omitzero"`
	// Path is the emulated link of rows that are not about loopback.
	Path string `json:"path,omitzero"`
}

// row is the median of its rounds, metric by metric, and the extremes.
type row struct {
	rowKey
	metrics
	// OfBaseline is the bytes on the wire in percent of those of wss, in the scenario content.
	OfBaseline float64 `json:"wire_percent_of_wss,omitzero"`
	Min        metrics `json:"min"`
	Max        metrics `json:"max"`

	rounds []metrics
}

// metrics are the figures of a row. One that was not measured is zero, and absent in JSON. In the rows of codecs, a call
// is an encoding or a decoding.
type metrics struct {
	CallsPerS           float64 `json:"calls_per_s,omitzero"`     // or messages per second
	MBPerS              float64 `json:"mb_per_s,omitzero"`        // 10^6 bytes of payload, one direction
	P50Micros           float64 `json:"p50_us,omitzero"`          // latency
	P90Micros           float64 `json:"p90_us,omitzero"`          // latency, on emulated links only
	P99Micros           float64 `json:"p99_us,omitzero"`          // latency
	CPUMicrosPerCall    float64 `json:"cpu_us_per_call,omitzero"` // of the whole process: client, server, harness
	AllocsPerCall       float64 `json:"allocs_per_call,omitzero"`
	AllocBytesPerCall   float64 `json:"alloc_bytes_per_call,omitzero"`
	WireBytesPerCall    float64 `json:"wire_bytes_per_call,omitzero"`    // both directions, without IP, TCP and UDP headers
	NanosPerOp          float64 `json:"ns_per_op,omitzero"`              // to encode or decode a message once
	EncodedBytes        float64 `json:"encoded_bytes,omitzero"`          // of that message
	FirstByteMicros     float64 `json:"first_byte_us,omitzero"`          // from the call to the first bytes at the receiver, median
	LastByteMicros      float64 `json:"last_byte_us,omitzero"`           // to all of them
	PeakMB              float64 `json:"peak_mb,omitzero"`                // 10^6 bytes of memory, at most, above what there was before
	ResentBytes         float64 `json:"resent_bytes,omitzero"`           // that a resumed transfer sent twice
	OpenRanges          float64 `json:"open_ranges,omitzero"`            // under way when it was interrupted
	PayloadBytesPerCall float64 `json:"payload_bytes_per_call,omitzero"` // of the message itself, as it was sent
	LinkBytesPerCall    float64 `json:"link_bytes_per_call,omitzero"`    // on an emulated link, both directions, with all headers from IP on
	LinkShare           float64 `json:"link_share,omitzero"`             // of the rate of an emulated link that bulk got, 0 to 1
	MaxQueueMicros      float64 `json:"max_queue_us,omitzero"`           // the longest wait in front of its bottleneck

	Server footprint `json:"server_conn,omitzero"` // of the server for each idle connection
	Client footprint `json:"client_conn,omitzero"` // of the clients
}

// metricOf describes each metric once.
var metricOf = []struct {
	name         string // in JSON
	get          func(*metrics) *float64
	moreIsBetter bool
}{
	{"calls_per_s", func(m *metrics) *float64 { return &m.CallsPerS }, true},
	{"mb_per_s", func(m *metrics) *float64 { return &m.MBPerS }, true},
	{"p50_us", func(m *metrics) *float64 { return &m.P50Micros }, false},
	{"p90_us", func(m *metrics) *float64 { return &m.P90Micros }, false},
	{"p99_us", func(m *metrics) *float64 { return &m.P99Micros }, false},
	{"cpu_us_per_call", func(m *metrics) *float64 { return &m.CPUMicrosPerCall }, false},
	{"allocs_per_call", func(m *metrics) *float64 { return &m.AllocsPerCall }, false},
	{"alloc_bytes_per_call", func(m *metrics) *float64 { return &m.AllocBytesPerCall }, false},
	{"wire_bytes_per_call", func(m *metrics) *float64 { return &m.WireBytesPerCall }, false},
	{"ns_per_op", func(m *metrics) *float64 { return &m.NanosPerOp }, false},
	{"encoded_bytes", func(m *metrics) *float64 { return &m.EncodedBytes }, false},
	{"first_byte_us", func(m *metrics) *float64 { return &m.FirstByteMicros }, false},
	{"last_byte_us", func(m *metrics) *float64 { return &m.LastByteMicros }, false},
	{"peak_mb", func(m *metrics) *float64 { return &m.PeakMB }, false},
	{"resent_bytes", func(m *metrics) *float64 { return &m.ResentBytes }, false},
	{"open_ranges", func(m *metrics) *float64 { return &m.OpenRanges }, false},
	{"server_conn_heap_bytes", func(m *metrics) *float64 { return &m.Server.HeapBytes }, false},
	{"server_conn_stack_bytes", func(m *metrics) *float64 { return &m.Server.StackBytes }, false},
	{"server_conn_goroutines", func(m *metrics) *float64 { return &m.Server.Goroutines }, false},
	{"server_conn_rss_bytes", func(m *metrics) *float64 { return &m.Server.RSSBytes }, false},
	{"client_conn_heap_bytes", func(m *metrics) *float64 { return &m.Client.HeapBytes }, false},
	{"client_conn_stack_bytes", func(m *metrics) *float64 { return &m.Client.StackBytes }, false},
	{"client_conn_goroutines", func(m *metrics) *float64 { return &m.Client.Goroutines }, false},
	{"client_conn_rss_bytes", func(m *metrics) *float64 { return &m.Client.RSSBytes }, false},
	{"payload_bytes_per_call", func(m *metrics) *float64 { return &m.PayloadBytesPerCall }, false},
	{"link_bytes_per_call", func(m *metrics) *float64 { return &m.LinkBytesPerCall }, false},
	{"link_share", func(m *metrics) *float64 { return &m.LinkShare }, true},
	{"max_queue_us", func(m *metrics) *float64 { return &m.MaxQueueMicros }, false},
}

// ratio compares the candidate with a baseline. It is larger than 1 where the candidate is better, whichever
// direction of the metric that is.
type ratio struct {
	Scenario    string  `json:"scenario"`
	SizeBytes   int     `json:"size_bytes"`
	Concurrency int     `json:"concurrency"`
	Message     string  `json:"message,omitzero"`
	Path        string  `json:"path,omitzero"`
	Metric      string  `json:"metric"`
	Of          string  `json:"of,omitzero"` // what is compared, if not the candidate
	Over        string  `json:"over"`        // the baseline
	Value       float64 `json:"value"`       // of the medians
	Min         float64 `json:"min"`         // of the rounds, each compared with the same round of the baseline
	Max         float64 `json:"max"`
}

// addRound adds a round to the row of its key, which it creates if there is none.
func (r *report) addRound(key rowKey, m metrics) {
	i := slices.IndexFunc(r.Rows, func(have row) bool { return have.rowKey == key })
	if i < 0 {
		i = len(r.Rows)
		r.Rows = append(r.Rows, row{rowKey: key})
	}
	r.Rows[i].rounds = append(r.Rows[i].rounds, m)
}

// summarize fills in the medians, the extremes and the ratios.
func (r *report) summarize() {
	for i := range r.Rows {
		row := &r.Rows[i]
		for _, metric := range metricOf {
			values := make([]float64, len(row.rounds))
			for j := range row.rounds {
				values[j] = *metric.get(&row.rounds[j])
			}
			*metric.get(&row.metrics), *metric.get(&row.Min), *metric.get(&row.Max) = median(values), slices.Min(values), slices.Max(values)
		}
	}
	r.compareContent()
	r.Ratios = []ratio{}
	for i := range r.Rows {
		base := &r.Rows[i]
		for _, of := range []string{candidate, mycelStreams} {
			if base.Transport == of || of == mycelStreams && !slices.Contains(streamBaselines, base.Transport) {
				continue
			}
			if c := r.rowOf(base.rowKey, of); c != nil {
				r.Ratios = append(r.Ratios, ratiosOf(c, base)...)
			}
		}
	}
}

// streamBaselines are what objects that travel as streams are compared with.
var streamBaselines = []string{quicRaw, "wss"}

// rowOf returns a transport's row beside that of a baseline, or nil.
func (r *report) rowOf(key rowKey, transport string) *row {
	key.Transport = transport
	i := slices.IndexFunc(r.Rows, func(have row) bool { return have.rowKey == key })
	if i < 0 {
		return nil
	}
	return &r.Rows[i]
}

// ratiosOf leaves out metrics that either side did not measure.
func ratiosOf(c, base *row) []ratio {
	var out []ratio
	of := c.Transport
	if of == candidate {
		of = ""
	}
	for _, metric := range metricOf {
		better := func(c, base *metrics) float64 {
			if metric.moreIsBetter {
				return *metric.get(c) / *metric.get(base)
			}
			return *metric.get(base) / *metric.get(c)
		}
		if *metric.get(&c.Min) == 0 || *metric.get(&base.Min) == 0 {
			continue
		}
		var paired []float64
		for i := range min(len(c.rounds), len(base.rounds)) {
			paired = append(paired, better(&c.rounds[i], &base.rounds[i]))
		}
		out = append(out, ratio{base.Scenario, base.SizeBytes, base.Concurrency, base.Message, base.Path, metric.name, of, base.Transport,
			better(&c.metrics, &base.metrics), slices.Min(paired), slices.Max(paired)})
	}
	return out
}

// median returns the middle value, or the mean of the two in the middle. There must be one.
func median(values []float64) float64 {
	s := slices.Clone(values)
	slices.Sort(s)
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// sort groups the rows of a case, in the order in which the cases were first seen, and orders them their transports
// or codecs as listed.
func (r *report) sort(listed []string) {
	first := map[rowKey]int{}
	caseOf := func(k rowKey) rowKey { k.Transport = ""; return k }
	for i, row := range r.Rows {
		if _, ok := first[caseOf(row.rowKey)]; !ok {
			first[caseOf(row.rowKey)] = i
		}
	}
	slices.SortStableFunc(r.Rows, func(a, b row) int {
		return cmp.Or(
			cmp.Compare(first[caseOf(a.rowKey)], first[caseOf(b.rowKey)]),
			cmp.Compare(slices.Index(listed, a.Transport), slices.Index(listed, b.Transport)),
		)
	})
}

func (r *report) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("bench: write report: %w", err)
	}
	return nil
}
