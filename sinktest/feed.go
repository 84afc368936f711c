package sinktest

import (
	"context"
	"sync"
	"time"

	"github.com/registry-notifications/notifications"
)

// Feed is a sink that keeps what it is given, and gives it again: a notifications.Feed in
// memory, for tests of those who read one. The zero value is ready. Its methods may be called
// at once from several goroutines.
type Feed struct {
	mu      sync.Mutex // guards the rest
	records []notifications.Record
	gone    uint64 // how many there were in front of them
	changed chan struct{}
	closed  bool
	failure error
}

var (
	_ notifications.Sink = (*Feed)(nil)
	_ notifications.Feed = (*Feed)(nil)
)

// Write puts a block at the end.
func (f *Feed) Write(_ context.Context, events ...*notifications.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return notifications.ErrSinkClosed
	}
	for _, e := range events {
		if e == nil {
			return notifications.ErrNilEvent
		}
	}
	for _, e := range events {
		f.records = append(f.records, notifications.Record{Position: f.last() + 1, Time: time.Now(), Event: e})
	}
	f.change()
	return nil
}

// Close ends the feed: what is there can be read.
func (f *Feed) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.change()
	return nil
}

// Fail has every Read fail from now on, until it is called with nil.
func (f *Feed) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failure = err
}

// Forget drops what is up to a position, as retention does.
func (f *Feed) Forget(upTo uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := min(upTo, f.last()); n > f.gone {
		f.records = append([]notifications.Record(nil), f.records[n-f.gone:]...)
		f.gone = n
	}
}

// Read returns at most 1024 records at once.
func (f *Feed) Read(_ context.Context, after uint64, most int) ([]notifications.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failure != nil {
		return nil, f.failure
	}
	if err := f.check(after); err != nil {
		return nil, err
	}
	if most == 0 || most > 1024 {
		most = 1024
	}
	rest := f.records[after-f.gone:]
	return rest[:min(most, len(rest)):min(most, len(rest))], nil
}

// Wait waits for what is behind a position.
func (f *Feed) Wait(ctx context.Context, after uint64) error {
	for {
		f.mu.Lock()
		err, more, closed := f.check(after), f.last() > after, f.closed
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		switch {
		case err != nil || more:
			return err
		case closed:
			return notifications.ErrSinkClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Last returns the position of the last record.
func (f *Feed) Last() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last()
}

// last is Last for who holds the lock.
func (f *Feed) last() uint64 { return f.gone + uint64(len(f.records)) }

// check checks a position. The caller holds the lock.
func (f *Feed) check(after uint64) error {
	if after < f.gone || after > f.last() {
		return &notifications.PositionError{Position: after, First: f.gone + 1, Last: f.last()}
	}
	return nil
}

// change wakes who waits. The caller holds the lock.
func (f *Feed) change() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}
