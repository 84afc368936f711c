package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// system is something that takes events and posts them to its endpoints.
type system interface {
	writer
	// delivered returns how many events its endpoints have delivered, together.
	delivered() int
	// fanout returns how many endpoints there are.
	fanout() int
	// receiver returns what its endpoints deliver to.
	receiver() *receiver
}

// writer is a system of which only the writing is measured.
type writer interface {
	// prepare makes n events, and returns what writes the i-th, once.
	prepare(n int) (write func(i int) error)
	// stop gives up what is pending, and waits until nothing runs any more.
	stop() error
}

// prepared makes n events, and returns what writes the i-th, once, and drops it.
func prepared[E any](n int, next func() *E, write func(*E) error) func(int) error {
	events := make([]*E, n)
	for i := range events {
		events[i] = next()
	}
	return func(i int) error {
		e := events[i]
		events[i] = nil
		return write(e)
	}
}

// setup says how to start a system.
type setup struct {
	endpoints int
	single    bool    // one event an envelope
	conduct   conduct // of the receiver
	dead      bool    // the receiver never answers, and each endpoint hangs there
	unshared  bool    // events share no string: see maker
}

// starter starts a system.
type starter func(setup) (system, error)

// with measures a system that it starts. What measures stops it.
func with(start starter, s setup, do func(system, scale) ([]float64, error)) measure {
	return func(c scale) ([]float64, error) {
		system, err := start(s)
		if err != nil {
			return nil, err
		}
		return do(system, c)
	}
}

// hang writes an event, and waits until each endpoint waits for an answer to it.
func hang(s system) error {
	if err := s.prepare(1)(0); err != nil {
		return err
	}
	r := s.receiver()
	return until(func() bool { return r.posts.Load() >= int64(s.fanout()) })
}

// lot is how many events are made at once, at most, so that a million of them need
// no memory that they would not need in a registry.
const lot = 100_000

// deliver delivers n events in lots and returns how many a second, the making of
// them not counted.
func deliver(s system, n int) (rate float64, err error) { return deliverBy(1, s, n) }

// deliverBy is deliver with so many goroutines that write.
func deliverBy(writers int, s system, n int) (rate float64, err error) {
	var took time.Duration
	for left := n; left > 0; left -= lot {
		t, err := deliverLot(writers, s, min(left, lot))
		if err != nil {
			return 0, err
		}
		took += t
	}
	return float64(n) / took.Seconds(), nil
}

func deliverLot(writers int, s system, n int) (time.Duration, error) {
	write, before := s.prepare(n), s.delivered()
	runtime.GC()

	start := time.Now()
	if err := writeAllBy(writers, write, n); err != nil {
		return 0, err
	}
	err := delivers(s, before+n*s.fanout())
	return time.Since(start), err
}

func writeAll(write func(int) error, n int) error {
	for i := range n {
		if err := write(i); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// delivers waits until n deliveries were made since the start.
func delivers(s system, n int) error {
	if err := until(func() bool { return s.delivered() >= n }); err != nil {
		return fmt.Errorf("%d of %d delivered: %w", s.delivered(), n, err)
	}
	return nil
}

// finish stops a system that has delivered all, and lets its receiver confirm that.
func finish(s system, perPost int) error {
	least, err := eventBytes()
	if err != nil {
		return err
	}
	return errors.Join(s.receiver().had(s.delivered(), perPost, least), s.stop())
}
