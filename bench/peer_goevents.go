package main

import (
	theirs "github.com/distribution/distribution/v3/notifications"
	events "github.com/docker/go-events"
)

const goEvents = "go-events"

// goEventsHub is a bare broadcaster with queues, or one queue, before dead sinks.
type goEventsHub struct {
	events.Sink
	dead  *deadSink
	maker *maker
}

var _ writer = (*goEventsHub)(nil)

func startGoEvents(queues int) (*goEventsHub, error) {
	dead := &deadSink{entered: make(chan struct{}, queues), released: make(chan struct{})}
	var sinks []events.Sink
	for range queues {
		sinks = append(sinks, events.NewQueue(dead))
	}
	return startGoEventsSink(events.NewBroadcaster(sinks...), dead, queues)
}

func startGoEventsQueue() (*goEventsHub, error) {
	dead := &deadSink{entered: make(chan struct{}, 1), released: make(chan struct{})}
	return startGoEventsSink(events.NewQueue(dead), dead, 1)
}

func startGoEventsSink(s events.Sink, dead *deadSink, queues int) (*goEventsHub, error) {
	h := &goEventsHub{Sink: s, dead: dead, maker: newMaker()}
	if err := h.prepare(1)(0); err != nil {
		return nil, err
	}
	for range queues {
		<-dead.entered
	}
	return h, nil
}

func (h *goEventsHub) prepare(n int) func(int) error {
	return prepared(n, h.maker.theirs, func(e *theirs.Event) error { return h.Write(e) })
}

func (h *goEventsHub) stop() error {
	close(h.dead.released)
	return h.Close()
}

// deadSink takes nothing until it is released, and then anything.
type deadSink struct {
	entered  chan struct{}
	released chan struct{}
}

func (d *deadSink) Write(events.Event) error {
	select {
	case d.entered <- struct{}{}:
	default: // released, and nobody counts any more
	}
	<-d.released
	return nil
}

func (d *deadSink) Close() error { return nil }
