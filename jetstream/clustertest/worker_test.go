package clustertest

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
)

var _ notifications.Deliverer = (*worker)(nil)

// worker is an instance that only delivers: its hub has a sink, which is the worker itself.
type worker struct {
	name   string
	ledger *ledger
	hub    *jetstream.Hub
	links  links

	pause  atomic.Int64             // how long its sink takes for a block, at most
	shut   atomic.Bool              // its sink takes nothing
	strike atomic.Pointer[struct{}] // its end comes with the next block
	dead   chan struct{}            // closed at its end
}

func (w *worker) String() string { return w.name }

// Deliver takes a block, now and then only the front of it. If the worker is to die, its
// connection is gone when it has: what was delivered is not acknowledged.
func (w *worker) Deliver(ctx context.Context, events ...*notifications.Event) (settled int, err error) {
	for first := true; first || w.shut.Load() && ctx.Err() == nil; first = false {
		select {
		case <-time.After(time.Duration(rand.Int64N(1 + w.pause.Load()))):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if rand.IntN(10) == 0 {
		events = events[:rand.IntN(len(events))]
		err = errPart
	}
	w.ledger.delivered(w, events)
	if len(events) > 0 && w.strike.Swap(nil) != nil {
		w.links.cut(true)
		close(w.dead)
	}
	return len(events), err
}

// errPart is of a sink that has taken a part of its block.
var errPart = errors.New("clustertest: the rest is to come again")

func (w *worker) Write(ctx context.Context, events ...*notifications.Event) error {
	_, err := w.Deliver(ctx, events...)
	return err
}

func (w *worker) Close(context.Context) error { return nil }
