package notifications

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/sirupsen/logrus"
)

// worker serves one sink of a hub.
type worker struct {
	hub    *Hub
	name   string
	sink   Sink // what to close
	to     Sink // what to deliver to
	feed   *feed
	cursor Cursor
	log    *logrus.Entry

	ctx    context.Context // ends when the worker has to stop
	cancel context.CancelFunc
	done   chan struct{}
}

// accountant is a sink that keeps its account itself. Behind a hub it is delivered
// to past its own queue.
type accountant interface {
	behindHub() (Sink, *account)
}

func newWorker(h *Hub, name string, sink Sink, cursor Cursor) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{
		hub: h, name: name, sink: sink, to: sink, cursor: cursor,
		log: h.config.Logger.WithField("sink", name),
		ctx: ctx, cancel: cancel, done: make(chan struct{}),
	}
	if s, ok := sink.(accountant); ok {
		var a *account
		w.to, a = s.behindHub()
		w.feed = a.open(cursor)
	} else {
		w.feed = new(account).open(cursor)
	}
	return w
}

func (w *worker) run() {
	defer close(w.done)
	defer w.cancel()
	var faults episode
	retry := w.hub.config.backoff()
	block := make([]*Event, blockSize(w.to))
	for {
		n, err := w.cursor.Next(w.ctx, block)
		if n == 0 {
			if w.ctx.Err() != nil || !w.fault(&faults, &retry, err) {
				return
			}
			continue
		}
		if !w.settle(block[:n], &faults, &retry) {
			return
		}
		clear(block[:n]) // or a quiet sink would keep its last block alive
	}
}

// settle delivers a block until all of it is settled. It returns false when the
// worker is at its end.
func (w *worker) settle(block []*Event, faults *episode, retry *backoff) bool {
	for len(block) > 0 {
		out, err := w.attempt(block)
		if n := out.settled(); n > 0 {
			w.feed.settle(out)
			block = block[n:]
			retry.reset()
		} else if err == nil {
			err = errNoProgress
		}
		if err == nil {
			faults.over(w.log, "notifications: sink works again")
			continue
		}
		if w.ctx.Err() != nil || !w.fault(faults, retry, err) {
			return false
		}
	}
	return true
}

// attempt delivers once. A panic in the sink is an error like any other.
func (w *worker) attempt(block []*Event) (out outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = outcome{}, fmt.Errorf("notifications: sink panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return deliver(w.ctx, w.to, block)
}

// fault deals with an error of the log or the sink: it waits until it is time to
// try again, or returns false because there is nothing to come any more.
func (w *worker) fault(faults *episode, retry *backoff, err error) bool {
	switch {
	case errors.Is(err, io.EOF):
		return false
	case errors.Is(err, ErrSinkClosed):
		w.hub.leave(w)
		return false
	}
	faults.failed(w.log, err, "notifications: sink fails; its events wait")
	return sleep(w.ctx, retry.next()) == nil
}

// stopBy cancels what the worker is doing and waits for it until ctx ends.
func (w *worker) stopBy(ctx context.Context) bool {
	w.cancel()
	return waitFor(ctx, w.done) || waitGrace(w.done)
}

type closeResult struct {
	name string
	lost uint64
	err  error
}

// close lets the worker come to the end of its log until ctx ends, stops it, and
// closes the sink.
func (w *worker) close(ctx context.Context) closeResult {
	waitFor(ctx, w.done)
	w.stopBy(ctx)
	r := closeResult{name: w.name, lost: w.feed.end(DroppedClosed)}
	w.logLost(r.lost, DroppedClosed)

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("notifications: closing sink %q: panic: %v", w.name, p)
			}
		}()
		if err := w.sink.Close(ctx); err != nil {
			r.err = fmt.Errorf("notifications: closing sink %q: %w", w.name, err)
		}
	}()
	if !waitFor(ctx, closed) && !waitGrace(closed) {
		return closeResult{name: w.name, lost: r.lost,
			err: fmt.Errorf("notifications: closing sink %q: its Close ignores its context", w.name)}
	}
	return r
}

func (w *worker) logLost(n uint64, reason string) {
	if n > 0 {
		w.log.WithFields(logrus.Fields{"events": n, "reason": reason}).Warn("notifications: events dropped")
	}
}

// blockSize is how many events to give to a sink at once: no more than it sends
// at once, so that the cursor follows closely.
func blockSize(s Sink) int {
	if b, ok := s.(interface{ maxEvents() int }); ok {
		return min(b.maxEvents(), maxBlock)
	}
	return maxBlock
}
