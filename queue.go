package notifications

import (
	"context"
	"errors"
)

// eventQueue is a hub in memory with one sink.
type eventQueue struct {
	hub    *Hub
	worker *worker
}

var _ Sink = (*eventQueue)(nil)

// NewQueue returns a Sink that takes events without waiting and passes them on to
// sink in the background, in order and again and again until sink takes them. Its
// Close delivers what it holds until the context ends, and closes sink. Once sink
// says ErrSinkClosed, so does the queue.
//
// What a Broadcaster does for many sinks, with one copy of each event, a queue does
// for one.
func NewQueue(sink Sink, config HubConfig) (Sink, error) {
	if sink == nil {
		return nil, errors.New("notifications: queue: sink: nil")
	}
	return newQueue("queue", sink, config)
}

func newQueue(name string, sink Sink, config HubConfig) (*eventQueue, error) {
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	h, err := NewHub(newMemoryLog(config), config)
	if err != nil {
		return nil, err
	}
	w, err := h.add(name, sink)
	if err != nil {
		return nil, err
	}
	return &eventQueue{hub: h, worker: w}, nil
}

func (q *eventQueue) Write(ctx context.Context, events ...*Event) error {
	if err := q.hub.Write(ctx, events...); err != nil {
		return err
	}
	// Asked afterwards: what was written before the sink left is counted as dropped,
	// what came later would wait for nobody.
	if q.worker.feed.hasEnded() {
		return ErrSinkClosed
	}
	return nil
}

func (q *eventQueue) Close(ctx context.Context) error {
	err := q.hub.Close(ctx)
	if left := (*UndeliveredError)(nil); errors.As(err, &left) {
		return err
	}
	return errors.Join(err, undelivered([]*worker{q.worker})) // of a sink that left before
}
