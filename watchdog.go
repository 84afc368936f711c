package notifications

import (
	"context"
	"sync"
	"time"
)

// idleTimeout is how long a connection is kept that nobody uses: less than what most
// servers, and those who translate addresses on the way, keep it.
const idleTimeout = 90 * time.Second

// watchdog ends attempts that take too long, and connections that nobody uses, with one
// timer that is rarely set. A timer for each attempt, as a context with a deadline has it
// and a transport for idle connections, wakes the thread that waits for the network up
// each time: a fifth of what a POST on a fast network takes.
type watchdog struct {
	timeout time.Duration
	cause   error  // of the end of an attempt
	idle    func() // closes the connections that are not in use

	mu       sync.Mutex // guards the rest
	attempts map[*attempt]struct{}
	used     time.Time // when the last attempt ended
	timer    *time.Timer
	next     time.Time // when it goes off; zero if it is not set
	stopped  bool
}

// attempt is one POST, from dialling to the end of the answer.
type attempt struct {
	watchdog *watchdog
	due      time.Time
	cancel   context.CancelCauseFunc
}

func newWatchdog(timeout time.Duration, cause error, idle func()) *watchdog {
	return &watchdog{timeout: timeout, cause: cause, idle: idle, attempts: make(map[*attempt]struct{})}
}

// begin returns a context that ends with ctx or after the time-out. The caller calls end.
func (w *watchdog) begin(ctx context.Context) (context.Context, *attempt) {
	now := time.Now()
	a := &attempt{watchdog: w, due: now.Add(w.timeout)}
	ctx, a.cancel = context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attempts[a] = struct{}{}
	w.look(now, a.due)
	return ctx, a
}

func (a *attempt) end() {
	a.cancel(nil)
	w := a.watchdog
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.attempts, a)
	w.used = time.Now()
	w.look(w.used, w.used.Add(idleTimeout))
}

// look has the watchdog look at a time, unless it will do so before. The caller holds the
// lock.
func (w *watchdog) look(now, at time.Time) {
	switch {
	case w.stopped, !w.next.IsZero() && !w.next.After(at):
		return
	case w.timer == nil:
		w.timer = time.AfterFunc(at.Sub(now), w.wake)
	default:
		w.timer.Reset(at.Sub(now))
	}
	w.next = at
}

// wake ends what is due.
func (w *watchdog) wake() {
	now := time.Now()
	w.mu.Lock()
	w.next = time.Time{}
	var next time.Time
	for a := range w.attempts {
		if !a.due.After(now) {
			a.cancel(w.cause)
			delete(w.attempts, a)
		} else if next.IsZero() || a.due.Before(next) {
			next = a.due
		}
	}
	unused := len(w.attempts) == 0 && !w.used.Add(idleTimeout).After(now)
	if len(w.attempts) == 0 && !unused {
		next = w.used.Add(idleTimeout)
	}
	if !next.IsZero() {
		w.look(now, next)
	}
	w.mu.Unlock()
	if unused {
		w.idle()
	}
}

// stop is for the end: there is nobody to look after any more.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
