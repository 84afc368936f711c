package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/journal"
)

// Spill is where an instance keeps events while the cluster does not take them: a journal in a
// directory of its own. They go on to the stream, in order, when it is back, and what is written
// meanwhile waits behind them. What the cluster may have had already is sent again under its
// ID, and comes twice if it was away for longer than Config.Duplicates.
type Spill struct {
	// Dir is the directory, which no other instance has. The one above has to be there. Empty
	// means that there is no spill: then Write waits until its context ends.
	Dir string

	// Sync is when what is in there is durable. Empty means journal.SyncAlways.
	Sync journal.Sync

	// MaxBytes is how much it may take on disk. When that is reached, Write returns
	// notifications.ErrFull. Zero means no limit.
	MaxBytes int64
}

// spillAfter is for how long an event waits for the cluster, at most, before it goes to the
// spill: less than the second that a bridge gives a Write.
const spillAfter = 500 * time.Millisecond

// spill is a journal with one sink, which is the stream.
type spill struct {
	config  *Config
	sender  *sender
	journal *journal.Journal
	trim    func(ctx context.Context) (events uint64, err error)
	works   atomic.Bool // the stream takes what comes from here
	faults  episode     // belongs to whoever writes
}

// spillSink is the name of the stream in the journal.
const spillSink = "stream"

func openSpill(l *log, s *sender) (*spill, error) {
	config := &l.config
	sp := &spill{config: config, sender: s, trim: l.trim}
	log := config.Logger.WithField("spill", config.Spill.Dir)
	var err error
	sp.journal, err = journal.Open(config.Spill.Dir, journal.Config{
		Sync: config.Spill.Sync, MaxBytes: config.Spill.MaxBytes, Overflow: journal.Reject,
		Hub:    notifications.HubConfig{Backoff: 50 * time.Millisecond, MaxBackoff: time.Second},
		Logger: log,
	})
	if err != nil {
		return nil, ofSpill(err)
	}
	if err := sp.journal.Add(spillSink, (*drain)(sp)); err != nil {
		return nil, errors.Join(fmt.Errorf("jetstream: spill: %w", err), sp.journal.Close(context.Background()))
	}
	if n := sp.pending(); n > 0 {
		log.WithField("events", n).Info("jetstream: the last run has left events in the spill; they come first")
	}
	return sp, nil
}

// ofSpill names the field that an error of opening it is of.
func ofSpill(err error) error {
	if c := (*notifications.ConfigError)(nil); errors.As(err, &c) && c.Field != "dir" {
		return wrong("spill."+c.Field, "%w", c.Err)
	}
	return wrong("spill.dir", "%w", err)
}

func (s *spill) pending() uint64 { return s.journal.Metrics()[spillSink].Pending }

// isEmpty says whether what comes now may go to the stream. Where little is left, and the
// stream takes it, that is a matter of a moment: otherwise there would always be something.
func (s *spill) isEmpty(ctx context.Context) bool {
	for range 100 {
		n := s.pending()
		if n == 0 {
			s.faults.over(s.config.Logger, "jetstream: the cluster takes events again, and has those of the spill")
			return true
		}
		if n > uint64(s.config.Window) || !s.works.Load() || ctx.Err() != nil {
			return false
		}
		sleep(ctx, time.Millisecond)
	}
	return false
}

// begins says why the spill is used.
func (s *spill) begins(err error) {
	s.works.Store(false)
	s.faults.failed(s.config.Logger, err, "jetstream: the cluster takes no events; they go to the spill")
}

func (s *spill) write(ctx context.Context, events []*notifications.Event) error {
	if err := s.journal.Write(ctx, events...); err != nil {
		return fmt.Errorf("jetstream: spill: %w", err)
	}
	return nil
}

// close leaves what is in there to the next run.
func (s *spill) close(ctx context.Context) error {
	err := s.journal.Close(ctx)
	if n := s.pending(); n > 0 {
		s.config.Logger.WithField("spill", s.config.Spill.Dir).WithField("events", n).Warn("jetstream: the spill keeps events for the next run")
	}
	return err
}

// drain is the stream as a sink of the journal's.
type drain spill

var _ notifications.Deliverer = (*drain)(nil)

// Deliver puts events into the stream, and says how many, from the front, are there.
func (d *drain) Deliver(ctx context.Context, events ...*notifications.Event) (settled int, err error) {
	settled, err = d.send(ctx, events)
	for isRefused(err) && settled < len(events) { // by one of them: it is found by sending each alone
		var n int
		if n, err = d.send(ctx, events[settled:settled+1]); n == 0 && isRefused(err) {
			if err = (*spill)(d).bury(ctx, events[settled], err); err == nil {
				n = 1
			}
		}
		if settled += n; err == nil && settled < len(events) {
			n, err = d.send(ctx, events[settled:])
			settled += n
		}
	}
	if isFull(err) {
		if _, trim := d.trim(ctx); trim != nil {
			err = errors.Join(err, trim)
		}
	}
	d.works.Store(err == nil)
	return settled, err
}

func (d *drain) send(ctx context.Context, events []*notifications.Event) (int, error) {
	messages := make([]*nats.Msg, len(events))
	var data []byte
	for i, e := range events {
		var err error
		if messages[i], data, err = d.config.message(e, data); err != nil {
			return 0, fmt.Errorf("event %q: %w", e.ID, err)
		}
	}
	return d.sender.send(ctx, messages, d.config.Timeout, func(int) {})
}

func (d *drain) Write(ctx context.Context, events ...*notifications.Event) error {
	for len(events) > 0 {
		n, err := d.Deliver(ctx, events...)
		if err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// Close leaves the connection to the hub.
func (d *drain) Close(context.Context) error { return nil }

// bury keeps an event that the servers do not take, and for which nobody waits.
func (s *spill) bury(ctx context.Context, e *notifications.Event, why error) error {
	return s.journal.DeadLetters().Put(ctx, s.config.letter(e, why))
}

func (c *Config) letter(e *notifications.Event, why error) notifications.DeadLetter {
	now := time.Now()
	return notifications.DeadLetter{
		Event: e, Endpoint: c.Stream, Reason: notifications.ReasonRefused, Attempts: 1, First: now, Last: now, Error: why.Error(),
	}
}
