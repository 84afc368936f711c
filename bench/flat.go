package main

import (
	"fmt"
	"runtime"
	"time"
)

// flat compares ours with ours: a long backlog must not slow deliveries down.
func flat() experiment {
	const n = 200_000
	return experiment{
		rows: []row{{
			name: "flat", unit: eventsPerSecond, peer: "ours, 1,000 pending",
			targets: []target{atLeast(ratio, 0.9)},
		}},
		round: inTurn(
			func(s scale) ([]float64, error) { return backlogRate(s.of(n), s.of(1_000_000)) },
			func(s scale) ([]float64, error) { return backlogRate(s.of(n), 1_000) },
			nil,
		),
	}
}

// backlogRate returns at what rate n events are delivered, of which so many wait
// behind the envelope under way at any time: as many are written as were delivered.
func backlogRate(n, backlog int) ([]float64, error) {
	posted := make(chan struct{}, 1)
	o, err := newOurHub(setup{endpoints: 1, dead: true, conduct: conduct{posted: func() {
		select {
		case posted <- struct{}{}:
		default:
		}
	}}})
	if err != nil {
		return nil, err
	}
	if err := writeAll(o.prepare(backlog), backlog); err != nil {
		return nil, err
	}
	write := o.prepare(n)
	runtime.GC()

	start := time.Now()
	o.to.open()
	for written := 0; written < n; {
		select {
		case <-posted:
		case <-time.After(patience):
			return nil, fmt.Errorf("%d of %d written: %w", written, n, errPatience)
		}
		for range min(n-written, batch+backlog-o.pending()) {
			if err := write(written); err != nil {
				return nil, err
			}
			written++
		}
	}
	rate := float64(o.delivered()) / time.Since(start).Seconds()
	return []float64{rate}, o.stop()
}
