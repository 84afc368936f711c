package notifications

import (
	"context"
	"errors"
	"fmt"
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
)

// State is whether an endpoint delivers and, if not, why and until when.
type State struct {
	Phase  Phase
	Reason string    `json:",omitempty"`
	Until  time.Time `json:",omitzero"`
}

// RetryConfig is the configuration of a retrying sink. The zero value has the
// defaults.
type RetryConfig struct {
	// Threshold is how many failures in a row make the sink suspect: from then on one
	// block at a time is tried until one succeeds. Zero means 10.
	Threshold int

	// Backoff is the longest delay after a first failure. It doubles with each
	// further one, up to MaxBackoff; the delay is a random part of it. Zero means 1s.
	Backoff time.Duration

	// MaxBackoff bounds Backoff, and is the slow pace at which something is tried
	// that an operator has to mend. Zero means 5m, or Backoff if that is longer.
	MaxBackoff time.Duration

	// Logger gets a line when the sink begins to fail and one when it works again.
	// Nil means logrus's standard logger.
	Logger *logrus.Entry
}

func (c *RetryConfig) setDefaults() error {
	if c.Threshold < 0 {
		return wrong("threshold", "%d: allowed are zero, for the default, and above", c.Threshold)
	}
	if c.Threshold == 0 {
		c.Threshold = 10
	}
	c.Logger = orStandardLogger(c.Logger)
	return setBackoff(&c.Backoff, &c.MaxBackoff, 5*time.Minute)
}

// retryingSink gives a block to the sink behind it until it is taken. What it
// learns from failures, it keeps in a gate that every attempt has to pass.
type retryingSink struct {
	sink Sink
	gate *gate
	door *intake
}

var (
	_ Sink      = (*retryingSink)(nil)
	_ Deliverer = (*retryingSink)(nil)
)

// NewRetryingSink returns a Sink whose Write and Deliver try sink again and again,
// by the delivery policy, until it takes the events, ctx ends or the sink says
// ErrSinkClosed. A *DeliveryError from sink says how to go on; any other error is
// taken for one that will pass. Close closes sink.
func NewRetryingSink(sink Sink, config RetryConfig) (Sink, error) {
	if sink == nil {
		return nil, errors.New("notifications: retrying sink: sink: nil")
	}
	if err := config.setDefaults(); err != nil {
		return nil, fmt.Errorf("notifications: retrying sink: %w", err)
	}
	return newRetryingSink(sink, config), nil
}

func newRetryingSink(sink Sink, config RetryConfig) *retryingSink {
	return &retryingSink{sink: sink, gate: newGate(config), door: newIntake()}
}

func (s *retryingSink) Write(ctx context.Context, events ...*Event) error {
	if len(events) == 0 {
		return s.door.run(ctx, func(context.Context) error { return nil })
	}
	_, err := deliverAll(ctx, s, events)
	return err
}

func (s *retryingSink) Deliver(ctx context.Context, events ...*Event) (int, error) {
	out, err := s.deliver(ctx, events)
	return out.settled(), err
}

// deliver returns as soon as some events are settled, so that whoever keeps the
// cursor can move it.
func (s *retryingSink) deliver(ctx context.Context, events []*Event) (out outcome, err error) {
	err = s.door.run(ctx, func(ctx context.Context) error {
		if err := validate(events); err != nil {
			return err
		}
		for out.settled() == 0 {
			if err := s.gate.pass(ctx); err != nil {
				return err
			}
			var err error
			if out, err = s.attempt(ctx, events); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// attempt tries once and tells the gate. Its error is one that ends the retries.
func (s *retryingSink) attempt(ctx context.Context, events []*Event) (out outcome, err error) {
	told := false
	defer func() {
		if !told {
			s.gate.release() // a panic, a cancelled attempt: neither success nor failure
		}
	}()

	out, err = deliver(ctx, s.sink, events)
	switch {
	case err == nil && out.settled() > 0:
		s.gate.succeeded()
	case err == nil:
		return out, errNoProgress
	case errors.Is(err, ErrSinkClosed):
		return out, err
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	default:
		s.gate.failed(err)
	}
	told = true
	return out, nil
}

func (s *retryingSink) Close(ctx context.Context) error {
	return s.door.close(ctx, s.sink.Close)
}

func (s *retryingSink) maxEvents() int { return blockSize(s.sink) }

// gate is what all attempts on one receiver have to pass: it is open, or shut
// until a time, or shut until an operator opens it.
type gate struct {
	config RetryConfig

	mu       sync.Mutex // guards the rest
	state    State
	failures int // in a row
	inside   int // attempts under way
	retry    backoff
	faults   episode
	changed  chan struct{} // closed, and made anew, when somebody may look again
}

func newGate(config RetryConfig) *gate {
	return &gate{
		config:  config,
		state:   State{Phase: Running},
		retry:   backoff{min: config.Backoff, max: config.MaxBackoff},
		changed: make(chan struct{}),
	}
}

// pass waits until an attempt may be made. Whoever passed calls succeeded, failed
// or release.
func (g *gate) pass(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait, changed, open := g.look()
		if open {
			return nil
		}
		g.wait(ctx, wait, changed)
	}
}

// look says whether the gate is open and, if not, how long to wait (zero: until it
// changes).
func (g *gate) look() (wait time.Duration, changed <-chan struct{}, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Phase == Waiting {
		wait = max(0, time.Until(g.state.Until))
	}
	if wait > 0 || g.state.Phase == Stopped || g.failures >= g.config.Threshold && g.inside > 0 {
		return wait, g.changed, false
	}
	g.inside++
	return 0, nil, true
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

// leave ends an attempt. The caller holds the lock.
func (g *gate) leave() {
	g.inside--
	close(g.changed)
	g.changed = make(chan struct{})
}

// release is for an attempt that was neither a success nor a failure: it was
// cancelled, or it panicked.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave()
}

func (g *gate) succeeded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures > 0 {
		g.failures = 0
		g.retry.reset()
		g.state = State{Phase: Running}
		g.faults.over(g.config.Logger, "notifications: endpoint accepts events again")
	}
	g.leave()
}

func (g *gate) failed(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.state.Reason
	g.failures++
	g.state = g.next(err)
	g.report(before, err)
	g.leave()
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
	case Misconfigured, Refused:
		slow := g.config.MaxBackoff
		delay, reason = slow/2+rand.N(slow/2+1), ReasonRefused
	}
	if failure.RetryAfter > 0 {
		// Never earlier than asked for; the jitter comes on top.
		delay, reason = delay+failure.RetryAfter, ReasonRetryAfter
	}
	return State{Phase: Waiting, Reason: reason, Until: time.Now().Add(delay)}
}

// report logs the first failure of a row and, once and louder, what an operator
// has to see to. The caller holds the lock.
func (g *gate) report(before string, err error) {
	log := g.config.Logger.WithFields(logrus.Fields{"state": g.state.Phase, "reason": g.state.Reason})
	loud := g.state.Reason == ReasonGone || g.state.Reason == ReasonRefused
	if loud && before != g.state.Reason {
		log.WithError(err).Error("notifications: endpoint refuses; its events wait until somebody mends this")
		g.faults.count()
		return
	}
	g.faults.failed(log, err, "notifications: endpoint fails; its events wait")
}

func (g *gate) current() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state
}
