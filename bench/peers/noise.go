package main

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// stalls spins for d and returns the share of that time, in percent, during which the loop did not run, and the
// longest interruption in milliseconds.
func stalls(d time.Duration) (percent, longestMillis float64) {
	const noticeable = 100 * time.Microsecond
	start := time.Now()
	var sum, longest time.Duration
	for last := start; last.Sub(start) < d; {
		now := time.Now()
		if gap := now.Sub(last); gap > noticeable {
			sum += gap
			longest = max(longest, gap)
		}
		last = now
	}
	return 100 * float64(sum) / float64(d), float64(longest) / float64(time.Millisecond)
}

// machineTime is the CPU time of the whole machine and of this process so far.
type machineTime struct {
	busy, total float64 // of the machine, in clock ticks
	own         time.Duration
}

func readMachineTime() machineTime {
	m := machineTime{own: cpuTime()}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return m // othersPercent then knows nothing, and says 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, field := range strings.Fields(line) {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil || i > 8 { // the name "cpu" in front; guests are part of user time
			continue
		}
		if m.total += ticks; i != 4 && i != 5 { // idle, iowait
			m.busy += ticks
		}
	}
	return m
}

// othersPercent returns the share of the machine's CPU time since before that went to others: processes, and guests
// of the same host as far as the kernel knows of them.
func (m machineTime) othersPercent(before machineTime) float64 {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all architectures that matter
	if m.total == before.total {
		return 0
	}
	others := m.busy - before.busy - float64((m.own-before.own)/tick)
	return max(0, 100*others/(m.total-before.total))
}
