package jetstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
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
	why    error         // the last failure, until something is stored again
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
	left     atomic.Int64           // how many these are
	result   chan error             // has room for it; nil: nobody waits
}

// mostQueued is how many events wait in memory with Config.Queued, before a Write waits.
const mostQueued = 1 << 14

// mostHeaders is how many bytes a message's headers may have: the servers take 64 KiB, with
// those of their own.
const mostHeaders = 60 << 10

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
	data := make([]byte, 0, 640*len(events))
	for _, e := range events {
		var m *nats.Msg
		var err error
		m, data, err = p.config.message(e, data)
		if err != nil {
			return fmt.Errorf("jetstream: event %q: %w", e.ID, err)
		}
		if limit := p.limitNow(); int64(m.Size()) > limit {
			return &SizeError{e.ID, m.Size(), limit}
		}
		if size := m.Size() - len(m.Data); size > mostHeaders {
			return &SizeError{e.ID, size, mostHeaders}
		}
		b.messages = append(b.messages, m)
	}
	b.left.Store(int64(b.size))
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
		if why := p.withdraw(b); why != nil {
			return fmt.Errorf("jetstream: writing: %w: %w", context.Cause(ctx), why)
		}
		return fmt.Errorf("jetstream: writing: %w", context.Cause(ctx))
	}
}

// withdraw takes a block out whose caller has gone, and returns why it was not stored, if that
// is known.
func (p *publisher) withdraw(b *block) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = slices.DeleteFunc(p.queue, func(other *block) bool { return other == b })
	return p.why
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
		p.remember(err)
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

func (p *publisher) remember(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.why = why
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
		return p.refuse(rest[0], err)
	case isRefused(err): // somewhere in there
		p.alone = len(rest)
		return nil
	case p.spill != nil:
		p.spill.begins(err)
		return p.divert(rest)
	case isFull(err) && p.makesRoom():
		return nil
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

// store puts blocks into the stream, gives those their results that are done with, as soon as
// they are, and returns the rest.
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
	now := &underWay{publisher: p, blocks: blocks}
	stored, err := p.sender.send(ctx, all, p.config.Timeout, now.progress)
	now.progress(stored)
	return now.end(), err
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

// refuse is for a block that the servers do not take, whatever the time. If nobody waits for it,
// each of its events is tried alone.
func (p *publisher) refuse(b *block, why error) error {
	switch {
	case b.result != nil:
		p.finish(b, fmt.Errorf("jetstream: refused: %w", why))
		return nil
	case len(b.messages) > 1:
		p.split(b)
		return nil
	}
	var err error
	if p.spill != nil {
		err = p.spill.bury(p.ctx, b.events[0], why)
	} else {
		err = p.config.Hub.DeadLetters.Put(p.ctx, p.config.letter(b.events[0], why))
	}
	if isRefused(err) { // too large for that, too
		p.config.Logger.WithError(errors.Join(why, err)).WithField("event.id", b.events[0].ID).WithField("repository", b.events[0].Target.Repository).
			Error("jetstream: an event is lost: neither the stream takes it, nor do the dead letters")
		err = nil
	}
	if err == nil {
		p.finish(b, nil)
	}
	return err // it is tried again
}

// split puts a block of its own for each event in the place of one.
func (p *publisher) split(b *block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.queue, b)
	if i < 0 {
		return
	}
	var each []*block
	for n := range b.messages {
		one := &block{ctx: b.ctx, size: 1, events: b.events[n : n+1], messages: b.messages[n : n+1]}
		one.left.Store(1)
		each = append(each, one)
	}
	p.queued -= b.size - len(each)
	p.queue = slices.Replace(p.queue, i, i+1, each...)
	p.alone = len(each)
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
			p.lost += int(b.left.Load())
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
	go p.sender.close() // the client may keep it
	return errors.Join(errs...)
}
