package main

import (
	"encoding/json"
	"runtime"
	"time"

	theirs "github.com/distribution/distribution/v3/notifications"

	"github.com/registry-notifications/notifications"
)

// encodeOurs appends the JSON of an event, which has not been made before.
func encodeOurs(dst []byte, e *notifications.Event) ([]byte, error) { return e.AppendJSON(dst) }

// encodeTheirs makes the JSON of an event without the white space that the peer's
// endpoint puts in. It knows of no buffer to append to.
func encodeTheirs(_ []byte, e *theirs.Event) ([]byte, error) { return json.Marshal(e) }

func encoding() experiment {
	return experiment{
		rows: []row{{name: "encode", unit: "ns", peer: distribution, targets: []target{atMost(ratio, 0.2)}}},
		round: averaged(10, inTurn(
			func(s scale) ([]float64, error) { return timeEncoding(s.of(200_000), newMaker().ours, encodeOurs) },
			func(s scale) ([]float64, error) { return timeEncoding(s.of(50_000), newMaker().theirs, encodeTheirs) },
			nil,
		)),
	}
}

// averaged does a round of times in so many small ones, for the reason that often has.
func averaged(times int, round func(scale) ([]sample, error)) func(scale) ([]sample, error) {
	return func(s scale) ([]sample, error) {
		var mean []sample
		for range times {
			samples, err := round(s * scale(times))
			if err != nil {
				return nil, err
			}
			if mean == nil {
				mean = make([]sample, len(samples))
			}
			for i, one := range samples {
				mean[i].ours += one.ours / float64(times)
				mean[i].peer += one.peer / float64(times)
			}
		}
		return mean, nil
	}
}

// timeEncoding returns the nanoseconds that it takes to encode an event into a buffer
// that is used again, or a new one. There are few events, so that the time is not that
// of fetching them from memory.
func timeEncoding[E any](n int, next func() *E, encode func([]byte, *E) ([]byte, error)) ([]float64, error) {
	events := make([]*E, min(n, 256))
	for i := range events {
		events[i] = next()
	}
	var buffer []byte
	runtime.GC()

	start := time.Now()
	for i := range n {
		b, err := encode(buffer[:0], events[i%len(events)])
		if err != nil {
			return nil, err
		}
		buffer = b
	}
	return []float64{float64(time.Since(start).Nanoseconds()) / float64(n)}, nil
}
