package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/registry-notifications/notifications"
)

// publisher puts blocks into the stream, in the order in which they came, or into the spill.
// Writers that come at the same time share a batch.
type publisher struct {
	config *Config
	limit  int64 // bytes of a message that the stream takes; not above zero: no limit
	sender *sender
	spill  *spill // nil: there is none
	trim   func(ctx context.Context) (events uint64, err error)

	ctx    context.Context // ends when nobody waits any more
	cancel context.CancelFunc
	come   chan struct{} // there is something to write
	done   chan struct{}

	mu     sync.Mutex // guards the rest
	queue  []*block
	queued int           // events in it for which nobody waits
	room   chan struct{} // closed when there are less of these
	closed bool
	lost   int // of these, at the end

	alone int // belongs to run: so many blocks go one by one, as one of them is refused
}

// block is what one Write brings.
type block struct {
	ctx      context.Context
	size     int
	events   []*notifications.Event // that are not stored yet
	messages []*nats.Msg            // theirs
	result   chan error             // has room for it; nil: nobody waits
}

// mostQueued is how many events wait in memory with Config.Queued, before a Write waits.
const mostQueued = 1 << 14

func newPublisher(s *sender, sp *spill, l *log) *publisher {
	p := &publisher{
		config: &l.config, limit: int64(l.stream.CachedInfo().Config.MaxMsgSize), sender: s, spill: sp, trim: l.trim,
		come: make(chan struct{}, 1), done: make(chan struct{}), room: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.run()
	return p
}

// write returns when all events are stored, or as the configuration says. If ctx ends before
// that, nobody knows: they may come out all the same.
func (p *publisher) write(ctx context.Context, events []*notifications.Event) error {
	b := &block{ctx: ctx, size: len(events), events: events, result: make(chan error, 1)}
	for _, e := range events {
		m, err := p.config.message(e)
		if err != nil {
			return fmt.Errorf("jetstream: event %q: %w", e.ID, err)
		}
		if limit := p.limitNow(); int64(m.Size()) > limit {
			return &SizeError{e.ID, m.Size(), limit}
		}
		b.messages = append(b.messages, m)
	}
	if p.config.Queued {
		b.ctx, b.result = p.ctx, nil
	}
	if err := p.push(ctx, b); err != nil || b.size == 0 || p.config.Queued {
		return err
	}
	select {
	case err := <-b.result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-b.result:
		return err
	default:
		return fmt.Errorf("jetstream: writing: %w", context.Cause(ctx))
	}
}

// limitNow returns how large a message may be that those take that this is connected to. A
// dead letter of its event has to fit, too.
func (p *publisher) limitNow() int64 {
	limit := p.sender.payload.Load()
	if limit <= 0 {
		return math.MaxInt64
	}
	limit = max(limit/2, limit-letterSize)
	if p.limit > 0 {
		limit = min(limit, p.limit)
	}
	return limit
}

// push waits for room where nobody will wait for more than that.
func (p *publisher) push(ctx context.Context, b *block) error {
	for {
		taken, room, err := p.tryPush(b)
		if taken || err != nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("jetstream: writing: %w", context.Cause(ctx))
		}
	}
}

func (p *publisher) tryPush(b *block) (taken bool, room <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return false, nil, notifications.ErrSinkClosed
	case b.size == 0:
		return true, nil, nil
	case b.result == nil && p.queued > 0 && p.queued+b.size > mostQueued:
		return false, p.room, nil
	}
	if b.result == nil {
		p.queued += b.size
	}
	p.queue = append(p.queue, b)
	p.wake()
	return true, nil, nil
}

func (p *publisher) wake() {
	select {
	case p.come <- struct{}{}:
	default:
	}
}

// run writes what there is, until the end.
func (p *publisher) run() {
	defer close(p.done)
	defer p.fail(notifications.ErrSinkClosed)
	failures := 0
	var faults episode
	for p.ctx.Err() == nil {
		blocks := p.take()
		if blocks == nil {
			if p.isClosed() {
				return
			}
			select {
			case <-p.come:
			case <-p.ctx.Done():
			}
			continue
		}
		err := p.put(blocks)
		if err == nil {
			failures = 0
			faults.over(p.config.Logger, "jetstream: writing works again")
			continue
		}
		faults.failed(p.config.Logger, err, "jetstream: writing failed; it is tried again for as long as its callers wait")
		sleep(p.ctx, delay(failures))
		failures++
	}
}

// delay is how long to wait behind so many failures in a row.
func delay(failures int) time.Duration {
	const most = 250 * time.Millisecond
	return min(most, 10*time.Millisecond<<min(failures, 10))
}

// take returns the blocks that are to be written next, and drops those whose callers have
// gone.
func (p *publisher) take() (blocks []*block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.DeleteFunc(p.queue, func(b *block) bool { return b.ctx.Err() != nil })
	n := 0
	for _, b := range p.queue {
		if n > 0 && (n+len(b.messages) > p.config.Window || p.alone > 0) {
			break
		}
		n += len(b.messages)
		blocks = append(blocks, b)
	}
	p.alone = max(0, p.alone-1)
	return blocks
}

func (p *publisher) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed && len(p.queue) == 0
}

// put writes blocks to where they go. The error is of what has to be tried again.
func (p *publisher) put(blocks []*block) error {
	if p.spill != nil && !p.spill.isEmpty(p.ctx) {
		return p.divert(blocks) // nothing passes what waits there
	}
	rest, err := p.store(blocks)
	switch {
	case len(rest) == 0 || err == nil:
		return nil
	case isRefused(err) && len(blocks) == 1:
		p.refuse(rest[0], err)
		return nil
	case isRefused(err): // somewhere in there
		p.alone = len(rest)
		return nil
	case isFull(err) && p.makesRoom():
		return nil
	case p.spill != nil:
		p.spill.begins(err)
		return p.divert(rest)
	case isFull(err) && rest[0].result != nil: // where the batch has ended
		p.finish(rest[0], &FullError{p.config.Stream, err})
		return nil
	case errors.Is(err, nats.ErrConnectionClosed):
		for _, b := range rest {
			if b.result != nil {
				p.finish(b, fmt.Errorf("jetstream: writing: %w", err))
			}
		}
	}
	return err
}

// makesRoom says whether there may be room now.
func (p *publisher) makesRoom() bool {
	events, err := p.trim(p.ctx)
	if err != nil {
		p.config.Logger.WithError(err).Warn("jetstream: the stream is full, and no room could be made")
	} else if events > 0 {
		p.config.Logger.WithField("events", events).Info("jetstream: the stream was full; the oldest events that all sinks have had made room")
	}
	return err == nil && events > 0
}

// store puts blocks into the stream, gives those their results that are done with, and returns
// the rest.
func (p *publisher) store(blocks []*block) (rest []*block, err error) {
	var all []*nats.Msg
	for _, b := range blocks {
		all = append(all, b.messages...)
	}
	ctx := p.ctx
	if p.spill != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, spillAfter)
		defer cancel()
	}
	stored, err := p.sender.send(ctx, all, p.config.Timeout)
	for len(blocks) > 0 {
		b := blocks[0]
		n := min(stored, len(b.messages))
		b.messages, b.events = b.messages[n:], b.events[n:]
		if stored -= n; len(b.messages) > 0 {
			break
		}
		p.finish(b, nil)
		blocks = blocks[1:]
	}
	return blocks, err
}

// divert puts blocks into the spill.
func (p *publisher) divert(blocks []*block) error {
	var all []*notifications.Event
	for _, b := range blocks {
		all = append(all, b.events...)
	}
	err := p.spill.write(p.ctx, all)
	for _, b := range blocks {
		if err == nil || b.result != nil {
			p.finish(b, err)
		}
	}
	return err
}

// refuse is for a block that the servers do not take, whatever the time.
func (p *publisher) refuse(b *block, why error) {
	if b.result != nil {
		p.finish(b, fmt.Errorf("jetstream: refused: %w", why))
		return
	}
	for _, e := range b.events {
		var err error
		if p.spill != nil {
			err = p.spill.bury(p.ctx, e, why)
		} else {
			err = p.config.Hub.DeadLetters.Put(p.ctx, p.config.letter(e, why))
		}
		if err != nil {
			p.config.Logger.WithError(errors.Join(why, err)).WithField("event.id", e.ID).WithField("repository", e.Target.Repository).
				Error("jetstream: an event is lost: neither the stream takes it, nor do the dead letters")
		}
	}
	p.finish(b, nil)
}

// finish takes a block out of the queue, with its result.
func (p *publisher) finish(b *block, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.queue, b)
	if i < 0 {
		return // it has its result, or its caller has gone
	}
	if i == 0 { // as nearly always: thousands behind it would have to move
		p.queue[0] = nil
		p.queue = p.queue[1:]
	} else {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
	if b.result != nil {
		b.result <- err
		return
	}
	p.queued -= b.size
	close(p.room)
	p.room = make(chan struct{})
}

// fail gives everybody who still waits the same result.
func (p *publisher) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.queue {
		if b.result != nil {
			b.result <- err
		} else {
			p.lost += len(b.events)
		}
	}
	p.queue = nil
}

// shut takes nothing any more. What was taken is written.
func (p *publisher) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	close(p.room)
	p.room = make(chan struct{})
	p.wake()
}

// close returns when everything is written, or ctx ends; then nobody's events wait any more.
func (p *publisher) close(ctx context.Context) error {
	p.shut()
	if !waitFor(ctx, p.done, p.cancel) {
		p.fail(notifications.ErrSinkClosed)
	}
	p.cancel()
	var errs []error
	p.mu.Lock()
	if p.lost > 0 {
		errs = append(errs, fmt.Errorf("jetstream: %d events were queued, and could not be written", p.lost))
	}
	p.mu.Unlock()
	if p.spill != nil {
		errs = append(errs, p.spill.close(ctx))
	}
	p.sender.close()
	return errors.Join(errs...)
}
