package main

import (
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"
)

// costs measures what it takes to deliver a million events, which come as fast as
// they can be delivered.
func costs() experiment {
	return experiment{
		rows: []row{
			{name: "cost/cpu", unit: "CPU s/1,000,000", peer: distribution + ", × 100"},
			{name: "cost/heap", unit: "MiB at most", peer: distribution},
		},
		round: inTurn(
			with(startOurs, setup{endpoints: 1}, costOf(1_000_000, batch)),
			with(startTheirs, setup{endpoints: 1}, costOf(10_000, 1)),
			nil,
		),
	}
}

// costOf delivers n events, and measures the CPU seconds for a million and the peak of
// the heap in MiB.
func costOf(n, perPost int) func(system, scale) ([]float64, error) {
	return func(s system, c scale) ([]float64, error) {
		peak, before := watchHeap(), cpuTime()
		if _, err := deliver(s, c.of(n)); err != nil {
			return nil, err
		}
		million := (cpuTime() - before).Seconds() * 1e6 / float64(c.of(n))
		return []float64{million, float64(peak()) / (1 << 20)}, finish(s, perPost)
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // its arguments are right
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// watchHeap watches the heap until peak is called, which returns by how much it was
// larger than now, at most.
func watchHeap() (peak func() uint64) {
	runtime.GC()
	base := heapBytes()
	most := watch(heapBytes)
	return func() uint64 { return max(most(), base) - base }
}

// heapBytes is what objects take in the heap, the dead ones not yet freed included.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
