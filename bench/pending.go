package main

import (
	"fmt"
	"runtime"
)

// pendingHeap measures what an event takes while it waits, with so many endpoints.
func pendingHeap(endpoints int, bound float64) experiment {
	dead := setup{endpoints: endpoints, dead: true, unshared: true}
	return experiment{
		rows: []row{{
			name: fmt.Sprintf("pending/%d", endpoints), unit: "bytes/event", peer: distribution,
			targets: []target{atMost(ratio, bound)},
		}},
		round: inTurn(with(startOurs, dead, heapOf(200_000)), with(startTheirs, dead, heapOf(50_000)), nil),
	}
}

// heapOf measures the bytes that each of n events adds to the heap.
func heapOf(n int) func(system, scale) ([]float64, error) {
	return func(s system, c scale) ([]float64, error) {
		before := liveHeap()
		for range c.of(n) {
			if err := s.prepare(1)(0); err != nil {
				return nil, err
			}
		}
		after := liveHeap()
		return []float64{(float64(after) - float64(before)) / float64(c.of(n))}, s.stop()
	}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what has a finalizer takes two
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
