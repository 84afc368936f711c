package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/registry-notifications/notifications"
)

// Who else takes messages out of a stream, and acknowledges each: one consumer of all of them,
// or one for each partition, as a hub has. The faster one, too.
const (
	ackFaster = "each acknowledged"
	ackOne    = "one consumer"
	ackParted = "one a partition"
)

func streamDeliver() experiment {
	return experiment{
		rows: []row{
			{name: "stream/deliver", unit: eventsPerSecond, peer: ackFaster, targets: []target{atLeast(ratio, 0.6)}},
			{name: "stream/deliver vs one consumer", unit: eventsPerSecond, peer: ackOne},
			{name: "stream/deliver vs one a partition", unit: eventsPerSecond, peer: ackParted},
			{name: "stream/deliver/decoded", unit: eventsPerSecond, peer: ackFaster},
		},
		round: func(s scale) ([]sample, error) { return streamDeliverRound(s, 1) },
	}
}

func streamDeliver3() experiment {
	return experiment{
		rows: []row{
			{name: "stream/deliver-3", unit: eventsPerSecond, peer: ackFaster},
			{name: "stream/deliver-3 vs one consumer", unit: eventsPerSecond, peer: ackOne},
			{name: "stream/deliver-3 vs one a partition", unit: eventsPerSecond, peer: ackParted},
			{name: "stream/deliver-3/decoded", unit: eventsPerSecond, peer: ackFaster},
		},
		round: func(s scale) ([]sample, error) { return streamDeliverRound(s, 3) },
	}
}

// streamTurns is how often each takes the whole backlog.
const streamTurns = 2

func streamDeliverRound(s scale, servers int) (samples []sample, err error) {
	c, err := startCluster(servers)
	if err != nil {
		return nil, err
	}
	defer c.Stop()
	b, err := c.backlog(8, s.of(50_000))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	ways := []func(turn int) (time.Duration, error){
		func(turn int) (time.Duration, error) {
			t := &taker{expects: b.events, done: make(chan struct{})}
			return b.takeBy(encodedPlace(turn), t, t.done)
		},
		func(turn int) (time.Duration, error) {
			t := &reader{expects: b.events, done: make(chan struct{})}
			return b.takeBy(decodedPlace(turn), t, t.done)
		},
		func(int) (time.Duration, error) { return b.takeBare(1, ackEach) },
		func(int) (time.Duration, error) { return b.takeBare(b.config.Partitions, ackEach) },
		func(int) (time.Duration, error) { return b.takeBare(1, ackAll) },
	}
	took := make([]time.Duration, len(ways))
	for turn := range streamTurns {
		for i := range ways {
			i = (i + turn) % len(ways)
			runtime.GC()
			t, err := ways[i](turn)
			if err != nil {
				return nil, err
			}
			took[i] += t
		}
	}
	rates := make([]float64, len(ways))
	for i, t := range took {
		rates[i] = float64(streamTurns*b.events) / t.Seconds()
	}
	encoded, decoded, one, parted, all := rates[0], rates[1], rates[2], rates[3], rates[4]
	return []sample{
		{ours: encoded, peer: max(one, parted), ceiling: all},
		{ours: encoded, peer: one},
		{ours: encoded, peer: parted},
		{ours: decoded, peer: max(one, parted), ceiling: all},
	}, nil
}

// streamBacklog is a stream with events that nobody has had yet, for which there are places: a
// hub's sinks begin where they are added.
type streamBacklog struct {
	*bare
	cluster *cluster
	events  int
}

func encodedPlace(turn int) string { return fmt.Sprint("encoded-", turn) }
func decodedPlace(turn int) string { return fmt.Sprint("decoded-", turn) }

// backlog makes one with so many events, in so many partitions.
func (c *cluster) backlog(partitions, events int) (*streamBacklog, error) {
	config := c.config(partitions)
	p, err := c.newPublisher(config, true)
	if err != nil {
		return nil, err
	}
	b := &streamBacklog{bare: p.bare, cluster: c, events: events}
	if err := b.makePlaces(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if err := writeAll(p.prepare(events), events); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return b, p.holds(p.written)
}

// makePlaces adds all sinks, and removes none. The hub is closed when it has all partitions of
// each.
func (b *streamBacklog) makePlaces() (err error) {
	hub, err := b.cluster.open(b.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hub.close()) }()
	for turn := range streamTurns {
		for _, name := range []string{encodedPlace(turn), decodedPlace(turn)} {
			if err := hub.Add(name, nowhere{}); err != nil {
				return err
			}
			if err := until(func() bool { return hub.Stat().Partitions[name] == b.config.Partitions }); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// takeBy adds a sink, and returns how long it takes until it has all, and the servers know.
func (b *streamBacklog) takeBy(place string, sink notifications.Sink, done <-chan struct{}) (took time.Duration, err error) {
	hub, err := b.cluster.open(b.config)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = hub.Add(place, sink)
	if err == nil {
		select {
		case <-done:
			err = hub.nc.Flush()
		case <-time.After(patience):
			err = errPatience
		}
	}
	took = time.Since(start)
	return took, errors.Join(err, hub.close())
}

// reader takes events, and counts them.
type reader struct {
	takes, expects int
	done           chan struct{} // closed when it has as many as it expects
}

var _ notifications.Sink = (*reader)(nil)

func (r *reader) Write(_ context.Context, events ...*notifications.Event) error {
	r.takes += len(events)
	if r.takes == r.expects {
		close(r.done)
	}
	return nil
}

func (r *reader) Close(context.Context) error { return nil }
