package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// A footprint is what a process holds, or what it holds for each connection.
type footprint struct {
	HeapBytes  float64 `json:"heap_bytes"`  // reachable
	StackBytes float64 `json:"stack_bytes"` // of goroutines
	Goroutines float64 `json:"goroutines"`
	RSSBytes   float64 `json:"rss_bytes"` // resident set size after a garbage collection; 0 where the system does not tell
}

// readFootprint collects garbage first, and gives what is free back to the system.
func readFootprint() footprint {
	runtime.GC() // moves what pools hold aside
	debug.FreeOSMemory()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	return footprint{
		HeapBytes: float64(ms.HeapAlloc), StackBytes: float64(ms.StackInuse), Goroutines: float64(runtime.NumGoroutine()),
		RSSBytes: float64(procField("/proc/self/status", "VmRSS:")),
	}
}

func (f footprint) since(before footprint) footprint {
	return footprint{f.HeapBytes - before.HeapBytes, f.StackBytes - before.StackBytes, f.Goroutines - before.Goroutines, f.RSSBytes - before.RSSBytes}
}

func (f footprint) each(n int) footprint {
	d := float64(n)
	return footprint{f.HeapBytes / d, f.StackBytes / d, f.Goroutines / d, f.RSSBytes / d}
}

func (f footprint) String() string {
	return fmt.Sprintf("%.1f KB of heap, %.1f KB of stacks in %.1f goroutines, %.1f KB resident", f.HeapBytes/1e3, f.StackBytes/1e3, f.Goroutines, f.RSSBytes/1e3)
}
