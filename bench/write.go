package main

import (
	"fmt"
	"runtime"
	"time"
)

// writes measures one Write, and what it allocates, while nothing can be delivered.
func writes() experiment {
	const ns, times, allocs = "ns", "× the time", "allocations"
	return experiment{
		rows: []row{
			{name: "write/1", unit: ns, peer: distribution},
			{name: "write/10", unit: ns, peer: distribution, targets: []target{atMost(ratio, 0.2)}},
			{name: "write/100", unit: ns, peer: distribution},
			{name: "write/growth-10", unit: times, peer: distribution, targets: []target{atMost(own, 4)}},
			{name: "write/growth-100", unit: times, peer: distribution, targets: []target{atMost(own, 4)}},
			{name: "write/allocs-1", unit: allocs, peer: distribution, targets: []target{atMost(own, 1)}},
			{name: "write/allocs-10", unit: allocs, peer: distribution, targets: []target{atMost(own, 1)}},
			{name: "write/1 vs go-events", unit: ns, peer: goEvents},
			{name: "write/10 vs go-events", unit: ns, peer: goEvents},
			{name: "write/100 vs go-events", unit: ns, peer: goEvents},
			{name: "write/1 vs go-events queue", unit: ns, peer: goEvents + " queue"},
			{name: "write/10 vs gochannel", unit: ns, peer: goChannel},
		},
		round: writeRound,
	}
}

func writeRound(s scale) ([]sample, error) {
	samples, err := inTurn(
		writesTo(100_000, func(n int) (writer, error) { return startOurs(setup{endpoints: n, dead: true}) }),
		writesTo(20_000, func(n int) (writer, error) { return startTheirs(setup{endpoints: n, dead: true}) }),
		nil,
	)(s)
	if err != nil {
		return nil, err
	}
	ours1, ours10, ours100 := samples[0].ours, samples[1].ours, samples[2].ours

	others, err := writesTo(20_000, func(n int) (writer, error) { return startGoEvents(n) })(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", goEvents, err)
	}
	queue, err := startGoEventsQueue()
	if err != nil {
		return nil, fmt.Errorf("%s queue: %w", goEvents, err)
	}
	queued, err := timeWrites(queue, s.of(100_000))
	if err != nil {
		return nil, fmt.Errorf("%s queue: %w", goEvents, err)
	}
	channel, err := startGoChannel(10)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", goChannel, err)
	}
	published, err := timeWrites(channel, s.of(2_000)) // each leaves eleven goroutines
	if err != nil {
		return nil, fmt.Errorf("%s: %w", goChannel, err)
	}
	return append(samples,
		sample{ours: ours1, peer: others[0]},
		sample{ours: ours10, peer: others[1]},
		sample{ours: ours100, peer: others[2]},
		sample{ours: ours1, peer: queued.ns},
		sample{ours: ours10, peer: published.ns},
	), nil
}

// warmUp is how many endpoints are written to first, for no result: whoever is first
// pays for the growing of the heap.
const warmUp = 1

// writesTo measures n writes each to 1, 10 and 100 endpoints: the times, by what they
// grow, and the allocations with 1 and 10.
func writesTo(n int, start func(endpoints int) (writer, error)) measure {
	return func(s scale) ([]float64, error) {
		var costs []writeCost
		for _, endpoints := range []int{warmUp, 1, 10, 100} {
			w, err := start(endpoints)
			if err != nil {
				return nil, err
			}
			cost, err := timeWrites(w, s.of(n))
			if err != nil {
				return nil, err
			}
			costs = append(costs, cost)
		}
		one, ten, hundred := costs[1], costs[2], costs[3]
		return []float64{
			one.ns, ten.ns, hundred.ns, ten.ns / one.ns, hundred.ns / ten.ns,
			one.allocs, ten.allocs,
		}, nil
	}
}

// writeCost is what one Write costs.
type writeCost struct{ ns, allocs float64 }

// timeWrites measures n writes, and stops the writer.
func timeWrites(w writer, n int) (writeCost, error) {
	write := w.prepare(n)
	runtime.GC()

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	if err := writeAll(write, n); err != nil {
		return writeCost{}, err
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return writeCost{
		ns:     float64(took.Nanoseconds()) / float64(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
	}, w.stop()
}
