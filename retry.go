package notifications

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// RetryConfig is the configuration of a retrying sink. The zero value has the
// defaults.
type RetryConfig struct {
	// Threshold is how many failures in a row make the sink suspect: from then on one
	// block at a time is tried until one succeeds. It is also how many events in a row
	// may be refused before that is a failure of the sink and not of the events. Zero
	// means 10.
	Threshold int

	// Backoff is the longest delay after a first failure. It doubles with each
	// further one, up to MaxBackoff; the delay is a random part of it. Zero means 1s.
	Backoff time.Duration

	// MaxBackoff bounds Backoff, and is the slow pace at which something is tried
	// that an operator has to mend. Zero means 5m, or Backoff if that is longer.
	MaxBackoff time.Duration

	// MaxAttempts is how often a block is tried before it goes to the dead letters,
	// and MaxAge how long, from its first attempt on. Zero means for ever. What an
	// operator can mend (Misconfigured, Gone) is kept whatever they say.
	MaxAttempts int
	MaxAge      time.Duration

	// DeadLetters gets the events that are given up. Nil means the newest thousand,
	// in memory.
	DeadLetters DeadLetterSink

	// Name is what dead letters call the sink.
	Name string

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
	if c.MaxAttempts < 0 {
		return wrong("maxattempts", "%d: allowed are zero, for any number, and above", c.MaxAttempts)
	}
	if c.MaxAge < 0 {
		return wrong("maxage", "%v: allowed are zero, for ever, and above", c.MaxAge)
	}
	c.Logger = orStandardLogger(c.Logger)
	if c.DeadLetters == nil {
		c.DeadLetters = NewDeadLetters(0, c.Logger)
	}
	return setBackoff(&c.Backoff, &c.MaxBackoff, 5*time.Minute)
}

// retryingSink gives a block to the sink behind it until it is settled. What it
// learns from failures, it keeps in a gate that every attempt has to pass.
type retryingSink struct {
	sink   Sink
	config RetryConfig
	gate   *gate
	door   *intake

	mu      sync.Mutex // guards the rest
	letters DeadLetterSink
	keeper  AttemptCursor      // nil: nobody remembers attempts
	refused map[*Event]*record // of the events that were refused alone, until they are settled
	suspect *Event             // the last event of a piece that was refused: in there it is
}

var (
	_ Sink      = (*retryingSink)(nil)
	_ Deliverer = (*retryingSink)(nil)
)

// NewRetryingSink returns a Sink whose Write and Deliver try sink again and again,
// by the delivery policy, until each event is taken or in the dead letters, ctx ends
// or the sink says ErrSinkClosed. A *DeliveryError from sink says how to go on; any
// other error is taken for one that will pass. Close closes sink.
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
	return &retryingSink{
		sink: sink, config: config, gate: newGate(config), door: newIntake(),
		letters: config.DeadLetters, refused: make(map[*Event]*record),
	}
}

// Write waits for parked events too, as there is nothing behind them to decide.
func (s *retryingSink) Write(ctx context.Context, events ...*Event) error {
	if err := validate(events); err != nil {
		return err
	}
	if len(events) == 0 {
		return s.door.run(ctx, func(context.Context) error { return nil })
	}
	for {
		out, err := deliverAll(ctx, s, events)
		events = events[out.settled():]
		parked := (*parkedError)(nil)
		if !errors.As(err, &parked) {
			return err
		}
		if err := s.door.run(ctx, func(ctx context.Context) error { return sleep(ctx, time.Until(parked.until)) }); err != nil {
			return err
		}
	}
}

func (s *retryingSink) Deliver(ctx context.Context, events ...*Event) (int, error) {
	return deliverValid(ctx, s, events)
}

// deliver returns as soon as some events are settled, so that whoever keeps the
// cursor can move it, or a *parkedError.
func (s *retryingSink) deliver(ctx context.Context, events []*Event) (out outcome, err error) {
	err = s.door.run(ctx, func(ctx context.Context) (err error) {
		if len(events) > 0 {
			out, err = s.oneByOne(ctx, events)
		}
		return err
	})
	return out, err
}

// oneByOne is one pass through a block.
func (s *retryingSink) oneByOne(ctx context.Context, events []*Event) (outcome, error) {
	return (&pass{retryingSink: s, events: events, piece: s.firstPiece(events)}).run(ctx)
}

// parkedError is returned for a block all of whose events were refused, each alone,
// and too few of them to say that it is the sink that is wrong. Whoever gets it gives
// them again, with what has come behind them as soon as there is something, and
// without by then.
type parkedError struct {
	events int
	until  time.Time
	err    error
}

func (e *parkedError) Error() string {
	return fmt.Sprintf("notifications: %d events refused and parked: %v", e.events, e.err)
}

func (e *parkedError) Unwrap() error { return e.err }

// pass is one way through a block from its front, until something is settled. It
// halves what is refused until a refused event stands alone, parks that, and goes on
// behind it. All that it knows of refusals it has just seen itself: so a receiver
// that was mended in the meantime is never held against an event.
type pass struct {
	*retryingSink
	events []*Event
	parked int // refused alone, from the front
	piece  int // how many to try next, behind these
	rounds int // how often the sink was found to be wrong

	attempts record // of the block, failures only
}

func (p *pass) run(ctx context.Context) (outcome, error) {
	for {
		if err := p.gate.pass(ctx); err != nil {
			return outcome{}, err
		}
		out, err := p.attempt(ctx, p.events[p.parked:min(p.parked+p.piece, len(p.events))])
		switch {
		case out.settled() > 0:
			return p.accepted(ctx, out)
		case err == nil:
			return outcome{}, errNoProgress
		case errors.Is(err, ErrSinkClosed):
			return outcome{}, err
		case ctx.Err() != nil:
			return outcome{}, context.Cause(ctx)
		}
		if out, err := p.failed(ctx, err); out.settled() > 0 || err != nil {
			return out, err
		}
	}
}

// attempt tries once, and tells the gate what came of it.
func (p *pass) attempt(ctx context.Context, events []*Event) (out outcome, err error) {
	told := false
	defer func() {
		if !told {
			p.gate.release() // neither success nor failure; a panic, too
		}
	}()

	out, err = deliver(ctx, p.sink, events)
	switch {
	case err == nil && out.settled() > 0:
		p.gate.succeeded()
	case err == nil, errors.Is(err, ErrSinkClosed), ctx.Err() != nil, kindOfFailure(err) == Refused:
		return out, err
	default:
		p.gate.failed(err)
	}
	told = true
	return out, err
}

// accepted is the end of a pass: the sink is known to work, so what it has refused
// before is refused for good.
func (p *pass) accepted(ctx context.Context, out outcome) (outcome, error) {
	p.forget(p.events[p.parked : p.parked+out.settled()])
	for i, e := range p.events[:p.parked] {
		if err := p.bury(ctx, e, ReasonRefused, p.recordOf(e)); err != nil {
			return outcome{deadLettered: i}, err
		}
		out.deadLettered++
	}
	p.forget(p.events[:p.parked])
	return out, nil
}

// failed says how to go on after an attempt that settled nothing.
func (p *pass) failed(ctx context.Context, err error) (outcome, error) {
	tried := p.tried(err)
	if kindOfFailure(err) == Refused {
		if tried > 1 {
			p.suspects(p.events[p.parked+tried-1])
			p.piece = tried / 2
			return outcome{}, nil
		}
		return p.park(ctx, err)
	}

	if kind := kindOfFailure(err); kind == Gone || kind == Misconfigured {
		// An operator can mend it, and then all of it goes through.
		p.parked, p.piece = 0, len(p.events)
		return outcome{}, nil
	}
	p.count(&p.attempts, err, p.events[p.parked:p.parked+tried])
	if p.parked == 0 && p.expired(&p.attempts) {
		for i, e := range p.events[:tried] {
			if err := p.bury(ctx, e, ReasonExpired, &p.attempts); err != nil {
				return outcome{deadLettered: i}, err
			}
		}
		p.forget(p.events[:tried])
		return outcome{deadLettered: tried}, nil
	}
	// By the next attempt, what was refused may be long ago.
	p.parked, p.piece = 0, len(p.events)
	return outcome{}, nil
}

// fullRound is how many waits of a sink that refuses everything come to one in which
// as many events as Threshold are tried again, because the first could be poison after
// all. In between it is the first alone: a sink that is mended in the middle of a full
// round has refused some in vain.
const fullRound = 3

// park leaves a refused event where it is, and goes on behind it, with one event at
// first: where everything is refused, halving is wasted.
func (p *pass) park(ctx context.Context, err error) (outcome, error) {
	e := p.events[p.parked]
	r := p.recordOf(e)
	p.count(r, err, p.events[p.parked:p.parked+1])
	if p.parked == 0 && p.expired(r) {
		if err := p.bury(ctx, e, ReasonRefused, r); err != nil {
			return outcome{}, err
		}
		p.forget(p.events[:1])
		return outcome{deadLettered: 1}, nil
	}

	p.suspects(nil) // found
	p.parked, p.piece = p.parked+1, 1
	switch {
	case p.parked >= p.row(), p.rounds%fullRound != 0:
		p.gate.note(err)
		p.parked, p.rounds = 0, p.rounds+1
	case p.parked == len(p.events):
		return outcome{}, &parkedError{events: p.parked, until: time.Now().Add(slowly(p.config.MaxBackoff)), err: err}
	}
	return outcome{}, nil
}

// row is how many events in a row have to be refused to put the sink in the wrong:
// two at least, or nothing could ever be decided. Each full round goes further, up to
// ten times as far, so that a longer row of poison is passed in the end too.
func (p *pass) row() int { return max(2, p.config.Threshold) * min(10, 1+p.rounds/fullRound) }

// tried returns how many events an attempt was about: an HTTP sink posts no more
// than fit into one envelope.
func (p *pass) tried(err error) int {
	n := min(p.piece, len(p.events)-p.parked)
	if d := (*DeliveryError)(nil); errors.As(err, &d) && d.Events > 0 {
		n = min(n, d.Events)
	}
	return n
}

func (p *pass) expired(r *record) bool {
	return p.config.MaxAttempts > 0 && r.attempts >= p.config.MaxAttempts ||
		p.config.MaxAge > 0 && time.Since(r.first) >= p.config.MaxAge
}

// bury puts an event in the dead letters, and tries until they take it: until then
// the event is not settled.
func (p *pass) bury(ctx context.Context, e *Event, reason string, r *record) error {
	letter := r.letter(e, p.config.Name, reason)
	retry := backoff{min: p.config.Backoff, max: p.config.MaxBackoff}
	var faults episode
	for {
		err := p.deadLetters().Put(ctx, letter)
		if err == nil {
			faults.over(p.config.Logger, "notifications: dead letters are taken again")
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		faults.failed(p.config.Logger, err, "notifications: dead letters are not taken; the events wait")
		if err := sleep(ctx, retry.next()); err != nil {
			return err
		}
	}
}

func (s *retryingSink) deadLetters() DeadLetterSink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.letters
}

func (s *retryingSink) setDeadLetters(d DeadLetterSink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letters = d
}

// firstPiece returns how many events to try first: all, half of those among which a
// refused one is known to be, or that one.
func (s *retryingSink) firstPiece(events []*Event) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused[events[0]] != nil {
		return 1 // it was refused alone before, and probably will be again
	}
	if s.suspect != nil {
		if i := slices.Index(events, s.suspect); i >= 0 {
			return (i + 2) / 2
		}
		s.suspect = nil
	}
	return len(events)
}

// hasRefused says whether one of the events was refused before.
func (s *retryingSink) hasRefused(events []*Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.suspect != nil || len(s.refused) > 0 && slices.ContainsFunc(events, func(e *Event) bool { return s.refused[e] != nil })
}

func (s *retryingSink) suspects(last *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspect = last
}

func (s *retryingSink) recordOf(e *Event) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.refused[e]
	if r == nil {
		r = new(record)
		s.refused[e] = r
	}
	return r
}

func (s *retryingSink) forget(events []*Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refused) == 0 {
		return
	}
	for _, e := range events {
		delete(s.refused, e)
	}
}

func (s *retryingSink) Close(ctx context.Context) error {
	return s.door.close(ctx, func(ctx context.Context) error {
		s.gate.closed()
		return s.sink.Close(ctx)
	})
}

func (s *retryingSink) drain(restIsKept bool) { s.gate.drain(restIsKept) }

func (s *retryingSink) maxEvents() int { return blockSize(s.sink) }

func kindOfFailure(err error) FailureKind {
	if d := (*DeliveryError)(nil); errors.As(err, &d) {
		return d.Kind
	}
	return Transient
}
