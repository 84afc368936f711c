package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// gang is how many goroutines write at once, where it is not one.
const gang = 64

// contender is one of those whose writing is compared.
type contender struct {
	start   func() (writer, error)
	events  int // that it writes in all
	writers int // goroutines, each of which waits until its event is written
}

// turns is how often each contender writes a part of its events. They take turns,
// because a disk changes its speed within seconds.
const turns = 10

// contest compares what ours writes in a second with a raw file and with the peers, each
// in a row of its own. The making of the events is not counted.
func contest(ours, raw contender, peers ...contender) func(scale) ([]sample, error) {
	return func(s scale) ([]sample, error) {
		rates, err := compete(s, append([]contender{ours, raw}, peers...))
		if err != nil {
			return nil, err
		}
		samples := []sample{{ours: rates[0], ceiling: rates[1]}}
		for i, rate := range rates[2:] {
			if i > 0 {
				samples = append(samples, sample{ours: rates[0]})
			}
			samples[i].peer = rate
		}
		return samples, nil
	}
}

// compete returns how many events each contender writes in a second.
func compete(s scale, contenders []contender) (rates []float64, err error) {
	var writers []writer
	defer func() {
		for _, w := range writers {
			err = errors.Join(err, w.stop())
		}
	}()
	for _, c := range contenders {
		w, err := c.start()
		if err != nil {
			return nil, err
		}
		writers = append(writers, w)
	}
	took := make([]time.Duration, len(contenders))
	for turn := range turns {
		for i := range contenders {
			i = (i + turn) % len(contenders)
			t, err := timeTurn(writers[i], contenders[i].part(s), contenders[i].writers)
			if err != nil {
				return nil, err
			}
			took[i] += t
		}
	}
	for i, c := range contenders {
		rates = append(rates, float64(turns*c.part(s))/took[i].Seconds())
	}
	return rates, nil
}

// part is how many events a contender writes in a turn: the same number for each writer.
func (c contender) part(s scale) int { return max(1, s.of(c.events)/turns/gang) * gang }

func timeTurn(w writer, n, writers int) (time.Duration, error) {
	write := w.prepare(n)
	runtime.GC()
	start := time.Now()
	err := writeAllBy(writers, write, n)
	return time.Since(start), err
}

// writeAllBy is writeAll by so many goroutines, each of which takes the next event when it
// has written one.
func writeAllBy(writers int, write func(int) error, n int) error {
	if writers == 1 {
		return writeAll(write, n)
	}
	var (
		all  sync.WaitGroup
		next atomic.Int64
	)
	errs := make([]error, writers)
	for w := range writers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[w] == nil; i = int(next.Add(1)) - 1 {
				errs[w] = write(i)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
