package clustertest

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
)

// worker is an instance that only delivers: its hub has a sink, which is the worker itself.
type worker struct {
	name   string
	ledger *ledger
	hub    *jetstream.Hub
	links  links

	pause  atomic.Int64             // how long its sink takes for a block
	strike atomic.Pointer[struct{}] // its end comes with the next block
	dead   chan struct{}            // closed at its end
}

func (w *worker) String() string { return w.name }

// Write takes a block. If the worker is to die, its connection is gone when it has: what was
// delivered is not acknowledged.
func (w *worker) Write(ctx context.Context, events ...*notifications.Event) error {
	select {
	case <-time.After(time.Duration(w.pause.Load())):
	case <-ctx.Done():
		return ctx.Err()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.ledger.delivered(w, events)
	if w.strike.Swap(nil) != nil {
		w.links.cut(true)
		close(w.dead)
	}
	return nil
}

func (w *worker) Close(context.Context) error { return nil }
