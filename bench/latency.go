package main

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

func latencySteady() experiment {
	const rate = 1000
	at := func(start starter) measure {
		return func(s scale) ([]float64, error) { return latency(start, rate, s.of(3*rate)) }
	}
	return experiment{rows: latencyRows("latency/1000"), round: inTurn(at(startOurs), at(startTheirs), nil)}
}

func latencyHalf() experiment {
	at := func(start starter, n int) measure {
		return func(s scale) ([]float64, error) {
			most, err := maximum(start, s.of(n))
			if err != nil {
				return nil, err
			}
			values, err := latency(start, most/2, s.of(n))
			return append(values, most/2), err
		}
	}
	rows := append(latencyRows("latency/half"), row{name: "latency/half/rate", unit: eventsPerSecond, peer: distribution})
	return experiment{rows: rows, round: inTurn(at(startOurs, 200_000), at(startTheirs, 4_000), nil)}
}

func latencyRows(name string) (rows []row) {
	for _, p := range []string{"p50", "p99", "p999"} {
		rows = append(rows, row{name: name + "/" + p, unit: "µs", peer: distribution})
	}
	return rows
}

// maximum returns how many events a second a system delivers to a receiver that
// looks for their IDs.
func maximum(start starter, n int) (rate float64, err error) {
	watch := newStopwatch(n)
	s, err := start(setup{endpoints: 1, conduct: conduct{seen: watch.seen}})
	if err != nil {
		return 0, err
	}
	if rate, err = deliver(s, n); err != nil {
		return 0, err
	}
	return rate, s.stop()
}

// latency writes n events at a rate, and returns the median and the 99th and 99.9th
// percentile of the microseconds until the receiver had them.
func latency(start starter, rate float64, n int) ([]float64, error) {
	watch := newStopwatch(n)
	s, err := start(setup{endpoints: 1, conduct: conduct{seen: watch.seen}})
	if err != nil {
		return nil, err
	}
	write := s.prepare(n)
	runtime.GC()

	begin := time.Now()
	for written := 0; written < n; {
		due := min(n, 1+int(time.Since(begin).Seconds()*rate))
		for ; written < due; written++ {
			watch.sends(written)
			if err := write(written); err != nil {
				return nil, err
			}
		}
		time.Sleep(min(time.Millisecond, time.Duration(float64(time.Second)/rate)))
	}
	if err := delivers(s, n); err != nil {
		return nil, err
	}
	if err := s.stop(); err != nil {
		return nil, err
	}
	return watch.percentiles(0.5, 0.99, 0.999)
}

// stopwatch keeps the time that each event took. Its times are nanoseconds since it
// was made.
type stopwatch struct {
	start      time.Time
	sent, took []atomic.Int64
}

func newStopwatch(n int) *stopwatch {
	return &stopwatch{start: time.Now(), sent: make([]atomic.Int64, n), took: make([]atomic.Int64, n)}
}

func (w *stopwatch) sends(i int) { w.sent[i].Store(int64(time.Since(w.start))) }

// seen finds the IDs in a body: they are the only ones that begin so.
func (w *stopwatch) seen(body []byte) {
	now := int64(time.Since(w.start))
	for {
		_, rest, found := bytes.Cut(body, []byte(idPrefix))
		if !found {
			return
		}
		const digits = 12
		if i, err := strconv.ParseUint(string(rest[:digits]), 16, 64); err == nil {
			w.took[i].Store(now - w.sent[i].Load())
		}
		body = rest[digits:]
	}
}

// percentiles returns microseconds.
func (w *stopwatch) percentiles(parts ...float64) ([]float64, error) {
	took := make([]int64, len(w.took))
	for i := range took {
		if took[i] = w.took[i].Load(); took[i] == 0 {
			return nil, fmt.Errorf("event %d never came", i)
		}
	}
	slices.Sort(took)
	values := make([]float64, len(parts))
	for i, p := range parts {
		values[i] = float64(took[int(p*float64(len(took)-1))]) / 1000
	}
	return values, nil
}
