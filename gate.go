package notifications

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// Phase is what an endpoint is doing, in one word.
type Phase string

// The three phases.
const (
	Running Phase = "running" // it delivers what there is
	Waiting Phase = "waiting" // it tries again at a certain time
	Stopped Phase = "stopped" // it waits for an operator
)

// Why an endpoint waits or has stopped.
const (
	ReasonFailures   = "failures"    // the last attempts failed
	ReasonRetryAfter = "retry-after" // the receiver named the time
	ReasonRefused    = "refused"     // an operator has to mend it: see FailureKind
	ReasonGone       = "gone"        // the receiver said that it is gone for good (410)
	ReasonPaused     = "paused"      // an operator said so
	ReasonClosed     = "closed"      // it is at its end
)

// State is whether an endpoint delivers and, if not, why and until when.
type State struct {
	Phase  Phase
	Reason string    `json:",omitempty"`
	Until  time.Time `json:",omitzero"`
}

// errHopeless is returned at the end, when no more is coming, for what waits for an
// operator, or at all.
var errHopeless = errors.New("notifications: endpoint waits, and no more time is left for that")

// gate is what all attempts on one receiver have to pass: it is open, or shut
// until a time, or shut until an operator opens it.
type gate struct {
	config RetryConfig

	mu       sync.Mutex // guards the rest
	state    State
	failures int // in a row
	inside   int // attempts under way
	retry    backoff
	draining bool // nobody resumes it any more
	hasty    bool // nor does anybody wait
	faults   episode
	loud     bool          // in this row, it was said that somebody has to mend something
	changed  chan struct{} // closed when somebody may look again; nil if nobody waits
}

func newGate(config RetryConfig) *gate {
	return &gate{
		config: config,
		state:  State{Phase: Running},
		retry:  backoff{min: config.Backoff, max: config.MaxBackoff},
	}
}

// pass waits until an attempt may be made. Whoever passed calls succeeded, failed
// or release.
func (g *gate) pass(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait, changed, err := g.look()
		if err != nil || changed == nil {
			return err
		}
		g.wait(ctx, wait, changed)
	}
}

// look says whether to wait for a change (nil: the gate is open) and how long at most
// (zero: without end).
func (g *gate) look() (wait time.Duration, changed <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Phase == Waiting {
		wait = max(0, time.Until(g.state.Until))
	}
	switch {
	case g.state.Phase == Stopped && g.draining:
		return 0, nil, errHopeless
	case wait > 0 || g.state.Phase == Stopped || g.failures >= g.config.Threshold && g.inside > 0:
		if g.hasty {
			return 0, nil, errHopeless
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		return wait, g.changed, nil
	}
	g.inside++
	return 0, nil, nil
}

func (g *gate) wait(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	var due <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-changed:
	case <-ctx.Done():
	}
}

// broadcast lets everybody look again. The caller holds the lock.
func (g *gate) broadcast() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// release is for an attempt that was neither a success nor a failure: it was
// cancelled, it panicked, or the content was refused.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.broadcast()
}

func (g *gate) succeeded() {
	g.mu.Lock()
	g.inside--
	faults := g.faults
	if g.failures > 0 && g.state.Phase == Waiting {
		g.state = State{Phase: Running}
	}
	g.recovered()
	g.broadcast()
	g.mu.Unlock()
	faults.over(g.config.Logger, "notifications: endpoint accepts events again")
}

// recovered forgets the failures. The caller holds the lock.
func (g *gate) recovered() {
	g.failures, g.loud, g.faults = 0, false, episode{}
	g.retry.reset()
}

func (g *gate) failed(err error) {
	g.mu.Lock()
	g.inside--
	log := g.fail(err)
	g.broadcast()
	g.mu.Unlock()
	log()
}

// isOpen says that nothing has failed last, and nobody waits.
func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.Phase == Running && g.failures == 0
}

// note is failed for what was no attempt that had passed: a receiver has refused as
// many events in a row, each alone, as to be wrong itself; or it failed several at once.
func (g *gate) note(err error) {
	g.mu.Lock()
	log := g.fail(err)
	g.mu.Unlock()
	log()
}

// fail changes the state and returns what to log, once the lock is given back: the
// first failure of a row and, once and louder, what an operator has to see to.
func (g *gate) fail(err error) (log func()) {
	first := g.faults.failures == 0
	loud := !g.loud && kindOfFailure(err) != Transient
	g.failures++
	g.faults.count()
	g.loud = g.loud || loud

	next := g.next(err)
	switch {
	case g.state.Phase == Stopped:
		next = g.state // an attempt that was under way then changes nothing
	case next.Phase == Waiting && g.state.Until.After(next.Until):
		next = g.state // as does one that would have waited less
	}
	g.state = next

	return func() {
		entry := g.config.Logger.WithFields(logrus.Fields{"state": next.Phase, "reason": next.Reason}).WithError(err)
		switch {
		case loud:
			entry.Error("notifications: endpoint refuses; its events wait until somebody mends this")
		case first:
			entry.Warn("notifications: endpoint fails; its events wait")
		}
	}
}

// next is the delivery policy: what follows from a failure. The caller holds the
// lock.
func (g *gate) next(err error) State {
	failure := DeliveryError{Kind: Transient}
	if d := (*DeliveryError)(nil); errors.As(err, &d) {
		failure = *d
	}

	delay, reason := g.retry.next(), ReasonFailures
	switch failure.Kind {
	case Gone:
		return State{Phase: Stopped, Reason: ReasonGone}
	case Misconfigured:
		delay, reason = slowly(g.config.MaxBackoff), ReasonRefused
	case Refused:
		reason = ReasonRefused
	}
	if failure.RetryAfter > 0 {
		// Never earlier than asked for; the jitter comes on top.
		delay, reason = delay+failure.RetryAfter, ReasonRetryAfter
	}
	return State{Phase: Waiting, Reason: reason, Until: time.Now().Add(delay)}
}

// slowly is the pace at which something is tried that an operator has to mend.
func slowly(pace time.Duration) time.Duration { return pace/2 + rand.N(pace/2+1) }

// pause stops the deliveries until resume. An attempt under way is finished.
func (g *gate) pause() { g.set(State{Phase: Stopped, Reason: ReasonPaused}) }

// resume lets the deliveries go on, whatever they waited for.
func (g *gate) resume() { g.set(State{Phase: Running}) }

func (g *gate) closed() { g.set(State{Phase: Stopped, Reason: ReasonClosed}) }

func (g *gate) set(s State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Reason == ReasonClosed {
		return
	}
	if g.state = s; s.Phase == Running {
		g.recovered()
	}
	g.broadcast()
}

// drain is for the end: nobody resumes what is stopped any more, and if the rest is
// kept for another time, nobody waits.
func (g *gate) drain(restIsKept bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining, g.hasty = true, restIsKept
	g.broadcast()
}

func (g *gate) current() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}
