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
	life   context.Context // ends when Close runs out of time
	stop   context.CancelCauseFunc
	closer closer

	mu     sync.Mutex // guards the rest
	inside int
	closed bool
	empty  chan struct{} // closed once closed and nobody is inside
}

func newIntake() *intake {
	life, stop := context.WithCancelCause(context.Background())
	return &intake{life: life, stop: stop, empty: make(chan struct{})}
}

// run calls f inside, with a context that also ends when the sink is stopped.
func (in *intake) run(ctx context.Context, f func(context.Context) error) error {
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		return ErrSinkClosed
	}
	in.inside++
	in.mu.Unlock()
	defer in.leave()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(in.life, func() { cancel(ErrSinkClosed) })()

	err := f(ctx)
	if err != nil && in.life.Err() != nil && !errors.Is(err, ErrSinkClosed) {
		return fmt.Errorf("%w: %w", ErrSinkClosed, err)
	}
	return err
}

func (in *intake) leave() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.inside--
	if in.closed && in.inside == 0 {
		close(in.empty)
	}
}

// close shuts the door, waits until ctx ends for those inside, and then closes what
// lies behind.
func (in *intake) close(ctx context.Context, behind func(context.Context) error) error {
	return in.closer.close(ctx, func() error {
		in.mu.Lock()
		in.closed = true
		if in.inside == 0 {
			close(in.empty)
		}
		in.mu.Unlock()

		left := !waitFor(ctx, in.empty)
		in.stop(ErrSinkClosed)
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
