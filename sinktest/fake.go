package sinktest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/registry-notifications/notifications"
)

// Fake is a Sink that records what it is given, and blocks, fails or panics on
// command. The zero value is ready. All methods may be called at once from several
// goroutines.
type Fake struct {
	mu      sync.Mutex // guards the rest
	blocks  [][]*notifications.Event
	err     error
	fail    int
	panics  int
	held    chan struct{} // not nil: Write waits until it is closed
	changed chan struct{} // closed and forgotten at each change
	writing int
	closed  bool
}

var _ notifications.Sink = (*Fake)(nil)

// Write records a block, or does what it was told to do instead.
func (f *Fake) Write(ctx context.Context, events ...*notifications.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writing++
	f.change()
	defer func() { f.writing-- }()

	if slices.Contains(events, nil) {
		return notifications.ErrNilEvent
	}
	if err := f.wait(ctx); err != nil {
		return err
	}
	switch {
	case f.closed:
		return notifications.ErrSinkClosed
	case f.panics > 0:
		f.panics--
		panic("sinktest: told to panic")
	case f.fail != 0:
		if f.fail > 0 {
			f.fail--
		}
		return f.err
	}
	if len(events) > 0 {
		f.blocks = append(f.blocks, slices.Clone(events))
	}
	return nil
}

// wait waits as long as the fake is held. The caller holds the lock.
func (f *Fake) wait(ctx context.Context) error {
	for f.held != nil && !f.closed {
		held, changed := f.held, f.changes()
		f.mu.Unlock()
		select {
		case <-held:
		case <-changed:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close closes the fake. A Write that it holds returns ErrSinkClosed.
func (f *Fake) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.change()
	return nil
}

// Hold makes Write block until release is called, or its context ends.
func (f *Fake) Hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.held == held {
			f.held = nil
		}
		close(held)
	})
}

// Fail makes the next n calls of Write return err; all of them, if n is negative;
// none any more, if it is zero.
func (f *Fake) Fail(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.err = n, err
}

// Panic makes the next n calls of Write panic.
func (f *Fake) Panic(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = n
}

// Events returns the events that Write took, in order.
func (f *Fake) Events() []*notifications.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Concat(f.blocks...)
}

// Blocks returns the blocks that Write took, in order.
func (f *Fake) Blocks() [][]*notifications.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.blocks)
}

// Closed says whether Close was called.
func (f *Fake) Closed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Wait waits until n events were taken, and fails the test if that takes longer
// than a minute.
func (f *Fake) Wait(t testing.TB, n int) []*notifications.Event {
	t.Helper()
	events := f.Events()
	if !f.until(func() bool { events = slices.Concat(f.blocks...); return len(events) >= n }) {
		t.Fatalf("sinktest: %d events after %v, want %d", len(events), patience, n)
	}
	return events
}

// WaitBusy waits until a call of Write is under way, and fails the test if that
// takes longer than a minute.
func (f *Fake) WaitBusy(t testing.TB) {
	t.Helper()
	if !f.until(func() bool { return f.writing > 0 }) {
		t.Fatalf("sinktest: nobody writes after %v", patience)
	}
}

// until waits until ok, which is called with the lock held, returns true.
func (f *Fake) until(ok func() bool) bool {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for !ok() {
		changed := f.changes()
		f.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(pollEvery): // a block is recorded after the change
		case <-timeout.C:
			f.mu.Lock()
			return ok()
		}
		f.mu.Lock()
	}
	return true
}

// changes returns a channel that is closed at the next change. The caller holds the
// lock.
func (f *Fake) changes() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

func (f *Fake) change() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Partial is a Fake that settles no more than Most events of a block at once, as a
// sink may that has Deliver.
type Partial struct {
	Fake
	Most int
}

var _ notifications.Deliverer = (*Partial)(nil)

// Deliver takes at most Most events from the front. If that is not all of them, it
// is an error, so that the rest comes again.
func (p *Partial) Deliver(ctx context.Context, events ...*notifications.Event) (int, error) {
	n := min(p.Most, len(events))
	if err := p.Write(ctx, events[:n]...); err != nil {
		return 0, err
	}
	if n < len(events) {
		return n, fmt.Errorf("sinktest: took %d of %d", n, len(events))
	}
	return n, nil
}
