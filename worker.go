package notifications

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync/atomic"

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
	leased LeasedCursor // the cursor, if it is one
	log    *logrus.Entry

	ctx    context.Context // ends when the worker has to stop
	stay   context.Context // ends when it has no reason to wait for anything any more
	leave  context.CancelFunc
	cancel context.CancelFunc
	done   chan struct{}

	leaving bool          // guarded by the hub's lock: Remove is at work
	lost    atomic.Uint64 // events, at the worker's end

	// These belong to run.
	lease   context.Context // of what is in the block; nil without leases
	buf     []*Event
	encoded [][]byte // for a log that keeps encodings
	shells  []Event  // around these, for a sink that sees no more of them
	block   []*Event // what is being delivered: the front of buf
	size    int      // how many events to read at once
	skipped int      // filtered events behind parked ones, settled when the block is
	faults  episode
	retry   backoff
}

func newWorker(h *Hub, name string, sink Sink, cursor Cursor) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{
		hub: h, name: name, sink: sink, to: sink, cursor: cursor,
		log: h.config.Logger.WithField("sink", name),
		ctx: ctx, cancel: cancel, done: make(chan struct{}),
		retry: h.config.backoff(),
	}
	w.stay, w.leave = context.WithCancel(ctx)
	a := new(account)
	// An endpoint keeps its account itself, and behind a hub needs no queue. The types
	// are asked for and not a method, which a decorator would inherit.
	switch s := sink.(type) {
	case *Endpoint:
		w.to, a = s.chain, s.account
	case *queuedEndpoint:
		w.to, a = s.Sink, s.account
	}
	w.feed = a.open(cursor)
	w.leased, _ = cursor.(LeasedCursor)
	c, _ := cursor.(AttemptCursor)
	remember(w.to, c)
	w.size = blockSize(w.to)
	return w
}

// remember has a cursor keep a sink's attempts, or nobody if it is nil.
func remember(sink Sink, c AttemptCursor) {
	switch s := sink.(type) {
	case *filterSink:
		remember(s.sink, c)
	case *retryingSink:
		s.remember(c)
	case *lanes:
		s.remember(c)
	}
}

// run takes the next block, delivers it, and moves the cursor, until there is
// nothing to come any more.
func (w *worker) run() {
	defer close(w.done)
	defer w.cancel()
	for w.step() {
	}
	forget(w.to, w.block)
}

// forget lets a sink forget what it knows of events that it will not get again.
func forget(sink Sink, events []*Event) {
	switch s := sink.(type) {
	case *filterSink:
		forget(s.sink, events)
	case *retryingSink:
		s.forget(events)
	case *lanes:
		s.forget(events)
	}
}

func (w *worker) step() (more bool) {
	if w.stay.Err() != nil {
		return false // whether or not the sink listens to its context
	}
	if w.leased != nil && (w.lease == nil || w.isLost()) {
		w.begin()
	}
	if len(w.block) == 0 {
		return w.read(w.stay)
	}
	out, err := w.attempt(w.block)
	if n := out.settled(); n > 0 {
		if n == len(w.block) {
			out.filtered += w.skipped
			w.skipped = 0
		}
		w.feed.settle(out)
		w.passed(n)
		w.retry.reset()
	} else if err == nil {
		err = errNoProgress
	}
	if err == nil {
		w.faults.over(w.log, "notifications: sink works again")
		return true
	}
	if w.isLost() {
		return true
	}
	if errors.Is(err, errHopeless) {
		return false
	}
	if parked := (*parkedError)(nil); errors.As(err, &parked) {
		w.faults.failed(w.log, err, "notifications: sink refuses events; they are parked")
		return w.readBehind(parked)
	}
	return w.fault(err)
}

// isLost says whether what is in the block may be another process's.
func (w *worker) isLost() bool { return w.lease != nil && w.lease.Err() != nil }

// begin forgets the block, and has the cursor begin behind what is settled.
func (w *worker) begin() {
	forget(w.to, w.block)
	clear(w.block)
	w.block, w.skipped = nil, 0
	w.lease = w.leased.Lease()
}

// passed drops n events from the front of the block.
func (w *worker) passed(n int) {
	rest := copy(w.block, w.block[n:])
	clear(w.block[rest:]) // or a quiet sink would keep its last block alive
	w.block = w.block[:rest]
}

// read reads on, behind what is in the block already.
func (w *worker) read(ctx context.Context) (more bool) {
	if have := len(w.block); len(w.buf) < have+w.size {
		w.buf = append(w.block, make([]*Event, w.size)...)
	}
	have := len(w.block)
	n, err := w.next(ctx, w.buf[have:have+w.size])
	w.block = w.buf[:have+n]
	switch {
	case n > 0 || ctx.Err() != nil || w.isLost():
		return true
	case errors.Is(err, io.EOF):
		return false
	}
	w.lease = nil // what came with it may count as given
	return w.fault(fmt.Errorf("notifications: reading the log: %w", err))
}

// next is Next for logs of others', which may be wrong.
func (w *worker) next(ctx context.Context, block []*Event) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if c, ok := w.cursor.(EncodedCursor); ok {
		n, err = w.nextEncoded(ctx, c, block)
	} else {
		n, err = w.cursor.Next(ctx, block)
	}
	if n < 0 || n > len(block) || n == 0 && err == nil {
		return 0, fmt.Errorf("%d events where 1 to %d were asked for: %w", n, len(block), err)
	}
	if i := slices.Index(block[:n], nil); i >= 0 {
		return 0, fmt.Errorf("event %d of %d is nil", i, n)
	}
	return n, err
}

// nextEncoded makes events of what a log has kept as their encodings.
func (w *worker) nextEncoded(ctx context.Context, c EncodedCursor, block []*Event) (int, error) {
	if len(w.encoded) < len(block) {
		w.encoded = make([][]byte, len(block))
	}
	_, bare := w.to.(EncodedDeliverer)
	reuse := bare && len(w.block) == 0
	n, err := c.NextEncoded(ctx, w.encoded[:len(block)], reuse)
	if n <= 0 || n > len(block) {
		return n, err
	}
	if !reuse || len(w.shells) < n {
		w.shells = make([]Event, n)
	}
	for i, encoding := range w.encoded[:n] {
		if block[i] = nil; len(encoding) > 0 {
			block[i] = w.shells[i].keptAs(encoding)
		}
	}
	if !bare {
		w.shells = nil
	}
	clear(w.encoded[:n])
	return n, err
}

// readBehind waits for events behind those that are parked, or until it is time to
// try these again. A block that is full of parked events grows no more.
func (w *worker) readBehind(parked *parkedError) (more bool) {
	ctx, cancel := context.WithDeadline(w.stay, parked.until)
	defer cancel()
	if w.lease != nil {
		defer context.AfterFunc(w.lease, cancel)()
	}
	if parked.events >= maxBlock {
		<-ctx.Done()
		return true
	}
	for have := len(w.block); len(w.block) == have && ctx.Err() == nil; {
		if !w.read(ctx) {
			return false
		}
		w.skipFiltered(have)
	}
	return true
}

// skipFiltered takes out of the block what was read behind parked events and is not
// for this sink. It decides nothing, and would fill the block and wake the sink.
func (w *worker) skipFiltered(have int) {
	filter, ok := w.to.(*filterSink)
	if !ok {
		return
	}
	passed := filter.pass(w.block[:have:have], w.block[have:])
	w.skipped += len(w.block) - len(passed)
	kept := copy(w.block, passed)
	clear(w.block[kept:])
	w.block = w.block[:kept]
}

// attempt delivers once. A panic in the sink is an error like any other.
func (w *worker) attempt(block []*Event) (out outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = outcome{}, fmt.Errorf("notifications: sink panicked: %v\n%s", p, debug.Stack())
		}
	}()
	ctx := w.ctx
	if w.lease != nil {
		both, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(w.lease, cancel)()
		ctx = both
	}
	return deliver(ctx, w.to, block)
}

// fault deals with an error of the log or the sink: it waits until it is time to
// try again, or returns false because there is nothing to come any more.
func (w *worker) fault(err error) (more bool) {
	switch {
	case w.stay.Err() != nil:
		return false
	case errors.Is(err, ErrSinkClosed):
		w.hub.leave(w)
		return false
	}
	w.faults.failed(w.log, err, "notifications: sink fails; its events wait")
	ctx, cancel := context.WithCancel(w.stay)
	defer cancel()
	if w.lease != nil {
		defer context.AfterFunc(w.lease, cancel)()
	}
	_ = sleep(ctx, w.retry.next())
	return w.stay.Err() == nil
}

// stopBy cancels what the worker is doing and waits for it until ctx ends.
func (w *worker) stopBy(ctx context.Context) bool {
	w.cancel()
	return waitFor(ctx, w.done) || waitGrace(w.done)
}

// drainer is a sink that can be told that no more is coming: what waits for an
// operator then waits in vain. If the rest is kept, nothing is worth waiting for.
type drainer interface{ drain(restIsKept bool) }

// close lets the worker come to the end of its log until ctx ends, or of what is in
// flight if the log keeps the rest; then it stops it and closes the sink.
func (w *worker) close(ctx context.Context) error {
	durable := w.hub.log.Durable()
	if durable {
		w.leave()
	}
	if d, ok := w.to.(drainer); ok {
		d.drain(durable)
	}
	waitFor(ctx, w.done)
	w.stopBy(ctx)
	w.end(DroppedClosed)
	return w.closeSink(ctx)
}

// end ends the feed, for what reason comes first.
func (w *worker) end(reason string) {
	lost := w.feed.end(reason)
	w.logLost(lost, reason)
	w.lost.Add(lost)
}

func (w *worker) closeSink(ctx context.Context) error {
	if err := closeWithin(ctx, w.sink.Close); err != nil {
		return fmt.Errorf("notifications: closing sink %q: %w", w.name, err)
	}
	return nil
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
		return b.maxEvents()
	}
	return maxBlock
}
