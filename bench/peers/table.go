package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// writeTable writes the rows of calls, then those of objects and of codecs, aligned, grouped by case. Beside each baseline
// stands by how much the candidate is better: rate, latencies, CPU, allocations, bytes on the wire.
func (r *report) writeTable(w io.Writer) error {
	tables := []struct {
		columns
		rows []*row
	}{{columns: callColumns}, {columns: objectColumns}, {columns: codecColumns}, {columns: wanColumns}, {columns: contentColumns}, {columns: connectionColumns}}
	for i := range r.Rows {
		row, t := &r.Rows[i], &tables[0]
		switch {
		case row.Scenario == contentScenario:
			t = &tables[4]
		case row.Scenario == connectionsScenario:
			t = &tables[5]
		case row.Path != "":
			t = &tables[3]
		case row.Message != "":
			t = &tables[2]
		case slices.Contains(objectScenarios, row.Scenario):
			t = &tables[1]
		}
		t.rows = append(t.rows, row)
	}
	written := false
	for i, t := range tables {
		if len(t.rows) == 0 && (i > 0 || len(r.Rows) > 0) {
			continue
		}
		if written {
			fmt.Fprintln(w) // an error shows in what follows
		}
		if err := r.writeGroups(w, t.rows, t.columns); err != nil {
			return err
		}
		written = true
	}
	return r.writeTargets(w)
}

// objectScenarios are those whose rows are about objects.
var objectScenarios = []string{"large", "transfer", "transfer-resume"}

// columns are what a table shows of a row, and of the ratios of the candidate over it.
type columns struct {
	header  string
	format  func(*row) string
	ratios  string   // continues the header
	metrics []string // of the ratios
	streams []string // of those of mycelStreams, which follow
}

var callColumns = columns{
	"scenario\tsize\tconc.\ttransport\tper s\tMB/s\tp50 µs\tp99 µs\tCPU µs\tallocs\tB alloc\tB wire\tmin..max per s\t",
	func(row *row) string {
		return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s..%s\t",
			row.Scenario, size(row.SizeBytes), row.Concurrency, row.Transport,
			number(row.CallsPerS), number(row.MBPerS), number(row.P50Micros), number(row.P99Micros), number(row.CPUMicrosPerCall),
			number(row.AllocsPerCall), number(row.AllocBytesPerCall), number(row.WireBytesPerCall),
			number(row.Min.CallsPerS), number(row.Max.CallsPerS))
	},
	candidate + " ×rate\t×p50\t×p99\t×CPU\t×allocs\t×wire\t",
	[]string{"calls_per_s", "p50_us", "p99_us", "cpu_us_per_call", "allocs_per_call", "wire_bytes_per_call"},
	nil,
}

var objectColumns = columns{
	"scenario\tsize\tconc.\ttransport\tGB/s\tfirst µs\tlast µs\tp50 µs\tp99 µs\tCPU µs\tpeak MB\tB wire\tMB twice\tranges\tmin..max GB/s\t",
	func(row *row) string {
		return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s..%s\t",
			row.Scenario, size(row.SizeBytes), row.Concurrency, row.Transport, number(row.MBPerS/1e3),
			number(row.FirstByteMicros), number(row.LastByteMicros), number(row.P50Micros), number(row.P99Micros),
			number(row.CPUMicrosPerCall), number(row.PeakMB), number(row.WireBytesPerCall), number(row.ResentBytes/1e6), number(row.OpenRanges),
			number(row.Min.MBPerS/1e3), number(row.Max.MBPerS/1e3))
	},
	candidate + " ×rate\t×p50\t×CPU\t×peak\t" + mycelStreams + " ×rate\t×CPU\t×peak\t",
	[]string{"mb_per_s", "p50_us", "cpu_us_per_call", "peak_mb"},
	[]string{"mb_per_s", "cpu_us_per_call", "peak_mb"},
}

var codecColumns = columns{
	"scenario\tmessage\tcodec\tns\tallocs\tB alloc\tB encoded\tmin..max ns\t",
	func(row *row) string {
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s..%s\t",
			row.Scenario, row.Message, row.Transport,
			number(row.NanosPerOp), number(row.AllocsPerCall), number(row.AllocBytesPerCall), number(row.EncodedBytes),
			number(row.Min.NanosPerOp), number(row.Max.NanosPerOp))
	},
	candidate + " ×time\t×allocs\t×B alloc\t×encoded\t",
	[]string{"ns_per_op", "allocs_per_call", "alloc_bytes_per_call", "encoded_bytes"},
	nil,
}

var wanColumns = columns{
	"scenario\tpath\tbulk\ttransport\tp50 ms\tp90 ms\tp99 ms\tMB/s\t% of link\tqueue ms\tmin..max p99\t",
	func(row *row) string {
		return fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s..%s\t",
			row.Scenario, row.Path, row.Concurrency, row.Transport, number(row.P50Micros/1e3), number(row.P90Micros/1e3), number(row.P99Micros/1e3),
			number(row.MBPerS), number(100*row.LinkShare), number(row.MaxQueueMicros/1e3), number(row.Min.P99Micros/1e3), number(row.Max.P99Micros/1e3))
	},
	candidate + " ×p50\t×p90\t×p99\t×rate\t",
	[]string{"p50_us", "p90_us", "p99_us", "mb_per_s"},
	nil,
}

var connectionColumns = columns{
	header: "scenario\tclients\ttransport\topened per s\tserver: heap KB\tstack KB\tgoroutines\tRSS KB\tclient: heap KB\tstack KB\tgoroutines\tRSS KB\tbroadcast: half ms\tlast ms\t",
	format: func(row *row) string {
		each := func(f footprint) string {
			return fmt.Sprintf("%s\t%s\t%s\t%s", number(f.HeapBytes/1e3), number(f.StackBytes/1e3), number(f.Goroutines), number(f.RSSBytes/1e3))
		}
		return fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t", row.Scenario, row.Concurrency, row.Transport, number(row.CallsPerS),
			each(row.Server), each(row.Client), number(row.P50Micros/1e3), number(row.LastByteMicros/1e3))
	},
}

func (r *report) writeGroups(w io.Writer, rows []*row, c columns) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	compared, several := len(r.Ratios) > 0, false
	for _, row := range rows {
		several = several || row.Transport != rows[0].Transport
	}
	header := c.header
	if compared {
		header += c.ratios
	}
	fmt.Fprintln(t, header)
	var last rowKey
	for i, row := range rows {
		this := row.rowKey
		this.Transport = ""
		if i > 0 && this != last && several {
			fmt.Fprintln(t, strings.Repeat("\t", strings.Count(header, "\t")))
		}
		last = this
		fmt.Fprint(t, c.format(row))
		if compared {
			for _, metric := range c.metrics {
				fmt.Fprintf(t, "%s\t", r.ratioText("", row.rowKey, metric))
			}
			for _, metric := range c.streams {
				fmt.Fprintf(t, "%s\t", r.ratioText(mycelStreams, row.rowKey, metric))
			}
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("bench: write table: %w", err)
	}
	return nil
}

func (r *report) ratioText(of string, over rowKey, metric string) string {
	for _, x := range r.Ratios {
		if x.Of == of && x.Scenario == over.Scenario && x.SizeBytes == over.SizeBytes && x.Concurrency == over.Concurrency && x.Message == over.Message && x.Path == over.Path && x.Over == over.Transport && x.Metric == metric {
			return strconv.FormatFloat(x.Value, 'f', 2, 64)
		}
	}
	return ""
}

// number formats a figure with three significant digits, or all of a larger integral part.
func number(v float64) string {
	if v == 0 {
		return "-"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func size(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return strconv.Itoa(bytes>>20) + " MiB"
	case bytes >= 1<<10:
		return strconv.Itoa(bytes>>10) + " KiB"
	}
	return strconv.Itoa(bytes) + " B"
}
