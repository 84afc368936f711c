package notifications

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// stopGrace is how long a Close whose context has ended waits for what it has just
// cancelled to come back. Whatever takes longer ignores its context.
const stopGrace = 250 * time.Millisecond

// closer runs a Close once, and gives its result to everybody who calls it.
type closer struct {
	mu   sync.Mutex
	done chan struct{} // nil until somebody closes; closed once err is final
	err  error
}

func (c *closer) close(ctx context.Context, f func() error) (err error) {
	c.mu.Lock()
	first := c.done == nil
	if first {
		c.done = make(chan struct{})
	}
	c.mu.Unlock()

	if first {
		defer close(c.done)
		defer func() {
			if p := recover(); p != nil {
				c.err = fmt.Errorf("notifications: Close panicked: %v", p)
				err = c.err
			}
		}()
		c.err = f()
		return c.err
	}
	if !waitFor(ctx, c.done) {
		return context.Cause(ctx)
	}
	return c.err
}

// intake is the door of a sink that delivers while its caller waits. It knows who
// is inside, and at Close lets nobody in and, when the time is up, throws out who
// is left.
type intake struct {
	// enclosed says that whoever comes is inside another intake already, which throws
	// them out of this one too.
	enclosed bool
	closer   closer

	mu      sync.Mutex // guards the rest
	inside  map[*visit]struct{}
	closed  bool
	stopped bool          // Close has run out of time
	empty   chan struct{} // closed once closed and nobody is inside
}

// visit is one call inside.
type visit struct{ cancel context.CancelCauseFunc }

func newIntake() *intake {
	return &intake{inside: make(map[*visit]struct{}), empty: make(chan struct{})}
}

// run calls f inside, with a context that also ends when the sink is stopped.
func (in *intake) run(ctx context.Context, f func(context.Context) error) error {
	v := new(visit)
	if !in.enclosed {
		ctx, v.cancel = context.WithCancelCause(ctx)
		defer v.cancel(nil)
	}
	if !in.enter(v) {
		return ErrSinkClosed
	}
	defer in.leave(v)

	err := f(ctx)
	if err != nil && in.isStopped() && !errors.Is(err, ErrSinkClosed) {
		return fmt.Errorf("%w: %w", ErrSinkClosed, err)
	}
	return err
}

func (in *intake) enter(v *visit) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.closed {
		in.inside[v] = struct{}{}
	}
	return !in.closed
}

func (in *intake) leave(v *visit) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.inside, v)
	if in.closed && len(in.inside) == 0 {
		close(in.empty)
	}
}

func (in *intake) isStopped() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.stopped
}

// shut lets nobody in any more.
func (in *intake) shut() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	if len(in.inside) == 0 {
		close(in.empty)
	}
}

// stop cancels what goes on inside.
func (in *intake) stop() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopped = true
	for v := range in.inside {
		if v.cancel != nil {
			v.cancel(ErrSinkClosed)
		}
	}
}

// close shuts the door, waits until ctx ends for those inside, and then closes what
// lies behind.
func (in *intake) close(ctx context.Context, behind func(context.Context) error) error {
	return in.closer.close(ctx, func() error {
		in.shut()
		left := !waitFor(ctx, in.empty)
		in.stop()
		if left {
			waitGrace(in.empty)
		}
		return closeWithin(ctx, behind)
	})
}

var errCloseIgnoresContext = errors.New("notifications: Close ignores its context, and is not waited for")

// closeWithin calls the Close of somebody else's, which may hang or panic.
func closeWithin(ctx context.Context, closeIt func(context.Context) error) error {
	var c closer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.close(ctx, func() error { return closeIt(ctx) })
	}()
	if !waitFor(ctx, done) && !waitGrace(done) {
		return errCloseIgnoresContext
	}
	return c.err
}

// waitFor waits until done is closed or ctx ends, and says whether done was closed.
func waitFor(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// waitGrace waits for done, but no longer than stopGrace.
func waitGrace(done <-chan struct{}) bool {
	t := time.NewTimer(stopGrace)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// turn is a lock for which a caller waits only until its context ends.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) give() { <-t }
