package notifications

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// maxBlock is how many events a hub gives to a sink at once, at most.
const maxBlock = 1024

// HubConfig is the configuration of a Hub. The zero value is the right one for
// most.
type HubConfig struct {
	// Backoff is the delay before a block is given again to a sink that returned an
	// error or panicked. It doubles with each further failure, up to MaxBackoff, and
	// is jittered. An Endpoint has a policy of its own. Zero means 1s.
	Backoff time.Duration

	// MaxBackoff bounds Backoff. Zero means 1m, or Backoff if that is longer.
	MaxBackoff time.Duration

	// MaxPending is how many events each sink may have pending in a hub in memory, and
	// MaxPendingBytes how many bytes, encoded. Zero means no limit. A block that is
	// larger is taken where nothing else is pending. An Endpoint may have limits of its
	// own, which then count for it.
	MaxPending      int
	MaxPendingBytes int

	// Overflow is what happens to the events for which there is no room. Empty means
	// Block.
	Overflow Overflow

	// DeadLetters gets what the hub's endpoints give up that were made without dead
	// letters of their own (not those inside another sink). Nil means that each keeps its
	// newest thousand in memory. A hub that survives its process brings a store that does.
	DeadLetters DeadLetterSink

	// Logger gets what nobody can be told otherwise. Nil means logrus's standard
	// logger.
	Logger *logrus.Entry
}

func (c *HubConfig) setDefaults() error {
	if err := setBackoff(&c.Backoff, &c.MaxBackoff, time.Minute); err != nil {
		return fmt.Errorf("notifications: hub: %w", err)
	}
	if _, err := c.limits(); err != nil {
		return fmt.Errorf("notifications: hub: %w", err)
	}
	c.Logger = orStandardLogger(c.Logger)
	return nil
}

func (c *HubConfig) backoff() backoff { return backoff{min: c.Backoff, max: c.MaxBackoff} }

// Hub holds events in a Log and hands them to named sinks, each at its own pace.
// For each sink a worker takes the next block from the sink's cursor, delivers it,
// and moves the cursor; so no sink ever waits for another, and nobody who writes
// waits for a sink.
//
// Each sink sees the events in the order in which they were written. A sink that
// returns an error, or panics, gets the unsettled rest of the block again, with
// backoff, for as long as it takes. It leaves the hub only by Remove or by
// returning ErrSinkClosed.
//
// A Hub is a Sink. All its methods may be called at once from several goroutines.
type Hub struct {
	log    Log
	config HubConfig

	mu      sync.Mutex // guards the rest
	workers map[string]*worker
	adding  map[string]bool // names of workers that are still to come
	closed  bool

	closer closer
}

var _ Sink = (*Hub)(nil)

// NewHub returns a running hub over a log, which is the hub's from then on. Most
// programs want NewBroadcaster, or a hub from a package of its own.
func NewHub(log Log, config HubConfig) (*Hub, error) {
	if log == nil {
		return nil, errors.New("notifications: hub: log: nil")
	}
	if err := config.setDefaults(); err != nil {
		return nil, err
	}
	return &Hub{
		log: log, config: config,
		workers: make(map[string]*worker), adding: make(map[string]bool),
	}, nil
}

// Write puts a block of events into the log, all of it or none, and returns
// without waiting for any sink.
func (h *Hub) Write(ctx context.Context, events ...*Event) error {
	if err := validate(events); err != nil {
		return err
	}
	// An empty block still has to find out whether the hub is closed.
	if l, ok := h.log.(*memoryLog); ok {
		return l.Append(ctx, events...)
	}
	// A log of others' gets a slice of its own, so that the caller's need not be on the
	// heap for one that does not keep it.
	return h.log.Append(ctx, slices.Clone(events)...)
}

// Add hands a sink over to the hub under a name that is not in use. It gets the
// events that are written from now on or, where the log remembers the name, those
// that it had not settled. Close closes it; Remove gives it back.
func (h *Hub) Add(name string, sink Sink) error {
	switch {
	case name == "":
		return errors.New("notifications: hub: sink name: empty: allowed is any other")
	case sink == nil || sink == (*Endpoint)(nil):
		return fmt.Errorf("notifications: hub: sink %q: nil", name)
	}

	w, err := h.add(name, sink)
	if err == nil {
		w.log.Debug("notifications: sink added")
	}
	return err
}

func (h *Hub) add(name string, sink Sink) (*worker, error) {
	if err := h.reserve(name); err != nil {
		return nil, err
	}
	// Without the lock: a log may have to wait for its disk.
	cursor, err := h.cursor(name, sink)

	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.adding, name)
	if err != nil {
		return nil, fmt.Errorf("notifications: hub: sink %q: %w", name, err)
	}
	if h.closed {
		return nil, errors.Join(ErrSinkClosed, cursor.Close())
	}
	if e, ok := sink.(*Endpoint); ok {
		e.joins(h.config.DeadLetters)
	}
	w := newWorker(h, name, sink, cursor)
	h.workers[name] = w
	go w.run()
	return w, nil
}

// reserve takes a name that is not in use.
func (h *Hub) reserve(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return ErrSinkClosed
	case h.workers[name] != nil || h.adding[name]:
		return fmt.Errorf("notifications: hub: sink name: %q: is in use: allowed is any other", name)
	}
	h.adding[name] = true
	return nil
}

// cursor opens the sink's cursor: in memory, with the limits that an endpoint has of
// its own.
func (h *Hub) cursor(name string, sink Sink) (Cursor, error) {
	if l, ok := h.log.(*memoryLog); ok {
		if e, ok := sink.(*Endpoint); ok && e.limits().bounded() {
			return l.cursor(name, e.limits()), nil
		}
	}
	return h.log.Cursor(name)
}

// Remove takes the named sink out of the hub and forgets its place in the log. What
// it had not settled is dropped and counted. A call to the sink that is under way
// is cancelled, and Remove waits for it to return until ctx ends. The sink is not
// closed: it is the caller's again.
func (h *Hub) Remove(ctx context.Context, name string) error {
	h.mu.Lock()
	w := h.workers[name]
	if w == nil || w.leaving {
		h.mu.Unlock()
		return fmt.Errorf("notifications: hub: sink name: %q: is not in the hub", name)
	}
	w.leaving = true // the name is free when the log has forgotten it
	h.mu.Unlock()

	w.log.Debug("notifications: sink removed")
	stopped := w.stopBy(ctx)
	err := h.log.Forget(name)
	w.end(DroppedRemoved)
	h.drop(w)
	if !stopped {
		err = errors.Join(err, fmt.Errorf("notifications: hub: sink %q ignores its cancelled context and is still busy", name))
	}
	return err
}

// drop takes a worker out whose feed has ended.
func (h *Hub) drop(w *worker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.workers[w.name] == w {
		delete(h.workers, w.name)
	}
}

// Metrics returns the counts of each sink, each at one moment.
func (h *Hub) Metrics() map[string]Metrics {
	h.mu.Lock()
	workers := maps.Clone(h.workers)
	maps.DeleteFunc(workers, func(_ string, w *worker) bool { return w.leaving })
	h.mu.Unlock()

	m := make(map[string]Metrics, len(workers))
	for name, w := range workers {
		m[name] = w.feed.account.metrics()
	}
	return m
}

// Close stops intake at once and, if the log lives no longer than this process,
// delivers what it holds until ctx ends. Then it stops the sinks and closes them.
// The error is an *UndeliveredError if events were lost, joined with what closing
// the sinks returned.
func (h *Hub) Close(ctx context.Context) error {
	return h.closer.close(ctx, func() error {
		h.mu.Lock()
		h.closed = true
		workers := slices.Collect(maps.Values(h.workers))
		h.mu.Unlock()

		h.config.Logger.WithField("sinks", len(workers)).Debug("notifications: hub closes")
		errs := []error{h.log.Close()}
		results := make(chan error, len(workers))
		for _, w := range workers {
			go func() { results <- w.close(ctx) }()
		}
		for range workers {
			errs = append(errs, <-results)
		}
		return errors.Join(append([]error{undelivered(workers)}, errs...)...)
	})
}

// leave takes out a worker whose sink is closed. At the end of the hub it stays in,
// so that Close says what was lost with it.
func (h *Hub) leave(w *worker) {
	w.end(DroppedSinkClosed)
	h.mu.Lock()
	stays := h.closed || w.leaving
	h.mu.Unlock()
	if stays {
		return
	}
	h.drop(w)
	// Closed it says that it is, but the hub owes it a Close all the same.
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	if err := w.closeSink(ctx); err != nil {
		w.log.WithError(err).Warn("notifications: closing a sink that left")
	}
}

func undelivered(workers []*worker) error {
	left := make(map[string]uint64)
	for _, w := range workers {
		if n := w.lost.Load(); n > 0 {
			left[w.name] = n
		}
	}
	if len(left) == 0 {
		return nil
	}
	return &UndeliveredError{Sinks: left}
}

// UndeliveredError says how many events a Close had to give up.
type UndeliveredError struct {
	// Sinks has the number of events for each sink that had some left.
	Sinks map[string]uint64
}

func (e *UndeliveredError) Error() string {
	var total uint64
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.Sinks)) {
		total += e.Sinks[name]
		parts = append(parts, fmt.Sprintf("%d for %q", e.Sinks[name], name))
	}
	return fmt.Sprintf("notifications: %d events undelivered: %s", total, strings.Join(parts, ", "))
}
