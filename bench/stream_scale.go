package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registry-notifications/notifications"
)

// point is one of those at which it is measured how delivering grows.
type point struct {
	partitions, instances int
	pause                 pause
	events                int
}

// pause is how long a sink takes.
type pause struct {
	name            string
	aBlock, anEvent time.Duration
}

func (p point) String() string {
	return fmt.Sprintf("stream/scale/%dx%d%s", p.partitions, p.instances, p.pause.name)
}

func scalePoints() (all []point) {
	for _, p := range []pause{
		{}, {name: "/1ms", aBlock: time.Millisecond}, {name: "/100µs an event", anEvent: 100 * time.Microsecond},
	} {
		// Half of them are more than what is read ahead: 2,048 a partition.
		for _, n := range []struct{ partitions, events int }{{8, 50_000}, {32, 140_000}} {
			for _, instances := range []int{1, 2, 4} {
				all = append(all, point{n.partitions, instances, p, n.events})
			}
		}
	}
	return all
}

// streamScale measures what several instances deliver to one sink, which they share.
func streamScale() experiment {
	e := experiment{once: true}
	points := scalePoints()
	for _, p := range points {
		e.rows = append(e.rows, row{name: p.String(), unit: eventsPerSecond})
	}
	e.round = func(s scale) (samples []sample, err error) {
		if s != full {
			return nil, &skippedError{"what takes minutes is left out of a smoke run"}
		}
		c, err := startCluster(1)
		if err != nil {
			return nil, err
		}
		defer c.Stop()
		for _, p := range points {
			rate, err := c.deliverAt(p)
			if err != nil {
				return nil, fmt.Errorf("%v: %w", p, err)
			}
			samples = append(samples, sample{ours: rate})
		}
		return samples, nil
	}
	return e
}

// deliverAt returns how many events a second all instances deliver together, in the middle of
// a backlog: neither those that were read ahead, nor while some of them have nothing left.
func (c *cluster) deliverAt(at point) (rate float64, err error) {
	config := c.config(at.partitions)
	p, err := c.newPublisher(config, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.drop(), p.close()) }()
	sink := &sharedSink{pause: at.pause, open: make(chan struct{})}
	hubs, err := c.share(p, at, sink)
	defer func() {
		sink.letGo() // whoever waits there keeps its hub from closing
		for _, h := range hubs {
			err = errors.Join(err, h.close())
		}
	}()
	if err != nil {
		return 0, err
	}
	if err := writeAll(p.prepare(at.events), at.events); err != nil {
		return 0, err
	}
	sink.letGo()
	half, most := int64(at.events/2), int64(at.events*9/10)
	if err := until(func() bool { return sink.taken.Load() >= half }); err != nil {
		return 0, err
	}
	first, start := sink.taken.Load(), time.Now()
	if err := until(func() bool { return sink.taken.Load() >= most }); err != nil {
		return 0, err
	}
	rate = float64(sink.taken.Load()-first) / time.Since(start).Seconds()
	return rate, until(func() bool { return sink.taken.Load() >= int64(at.events) })
}

// share opens the hubs, and waits until each has its share.
func (c *cluster) share(p *publisher, at point, sink notifications.Sink) (hubs []*instance, err error) {
	for i := range at.instances {
		config := p.config
		config.Instance = fmt.Sprint("instance-", i)
		h, err := c.open(config)
		if err != nil {
			return hubs, err
		}
		hubs = append(hubs, h)
		if err := h.Add("shared", sink); err != nil {
			return hubs, err
		}
	}
	fair := func(h *instance) bool { return h.Stat().Partitions["shared"] == at.partitions/at.instances }
	for i, h := range hubs {
		if err := until(func() bool { return fair(h) }); err != nil {
			return hubs, fmt.Errorf("instance %d has %d partitions: %w", i, h.Stat().Partitions["shared"], err)
		}
	}
	return hubs, nil
}

// sharedSink takes events once it is let go, and as long as it is told to.
type sharedSink struct {
	pause pause
	open  chan struct{}
	once  sync.Once
	taken atomic.Int64
}

var (
	_ notifications.Sink             = (*sharedSink)(nil)
	_ notifications.EncodedDeliverer = (*sharedSink)(nil)
)

func (s *sharedSink) letGo() { s.once.Do(func() { close(s.open) }) }

func (s *sharedSink) DeliverEncoded(ctx context.Context, events ...[]byte) (settled int, err error) {
	select {
	case <-s.open:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if d := s.pause.aBlock + time.Duration(len(events))*s.pause.anEvent; d > 0 {
		time.Sleep(d)
	}
	s.taken.Add(int64(len(events)))
	return len(events), nil
}

func (s *sharedSink) Write(context.Context, ...*notifications.Event) error {
	return errors.New("shared sink: events came decoded")
}

func (s *sharedSink) Close(context.Context) error { return nil }
