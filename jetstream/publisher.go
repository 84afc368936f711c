package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/registry-notifications/notifications"
)

// publisher puts blocks into the stream, in the order in which they came. Writers that come at
// the same time share a batch.
type publisher struct {
	config *Config
	limit  int64 // bytes of a message that the stream takes; -1: no limit
	nc     *nats.Conn
	batch  *batcher

	ctx    context.Context // ends when nobody waits any more
	cancel context.CancelFunc
	come   chan struct{} // there is something to write
	done   chan struct{}

	mu     sync.Mutex // guards the rest
	queue  []*block
	closed bool
}

// block is what one Write brings.
type block struct {
	ctx      context.Context
	messages []*nats.Msg // that are not stored yet
	result   chan error  // has room for it
}

func newPublisher(nc *nats.Conn, config *Config, limit int32) (*publisher, error) {
	b, err := newBatcher(nc, config.Window, config.Timeout)
	if err != nil {
		return nil, err
	}
	p := &publisher{config: config, limit: int64(limit), nc: nc, batch: b, come: make(chan struct{}, 1), done: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	go p.run()
	return p, nil
}

// write returns when all events are stored. If ctx ends before that, nobody knows: they may
// come out all the same.
func (p *publisher) write(ctx context.Context, events []*notifications.Event) error {
	b := &block{ctx: ctx, result: make(chan error, 1)}
	for _, e := range events {
		m, err := p.config.message(e)
		if err != nil {
			return fmt.Errorf("jetstream: event %q: %w", e.ID, err)
		}
		limit := p.nc.MaxPayload()
		if p.limit > 0 {
			limit = min(limit, p.limit)
		}
		if int64(m.Size()) > limit {
			return &SizeError{e.ID, m.Size(), limit}
		}
		b.messages = append(b.messages, m)
	}
	if err := p.push(b); err != nil || len(events) == 0 {
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

func (p *publisher) push(b *block) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return notifications.ErrSinkClosed
	}
	if len(b.messages) == 0 {
		return nil
	}
	p.queue = append(p.queue, b)
	select {
	case p.come <- struct{}{}:
	default:
	}
	return nil
}

// run writes what there is, until the end.
func (p *publisher) run() {
	defer close(p.done)
	defer p.batch.close()
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
		err := p.store(blocks)
		if err == nil {
			failures = 0
			faults.over(p.config.Logger, "jetstream: writing works again")
			continue
		}
		faults.failed(p.config.Logger, err, "jetstream: writing failed; it is tried again for as long as its callers wait")
		pause := time.NewTimer(delay(failures))
		failures++
		select {
		case <-pause.C:
		case <-p.ctx.Done():
		}
		pause.Stop()
	}
	p.fail(notifications.ErrSinkClosed)
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
	kept := p.queue[:0]
	for _, b := range p.queue {
		if b.ctx.Err() == nil {
			kept = append(kept, b)
		}
	}
	clear(p.queue[len(kept):])
	p.queue = kept
	n := 0
	for _, b := range p.queue {
		if n > 0 && n+len(b.messages) > p.config.Window {
			break
		}
		n += len(b.messages)
		blocks = append(blocks, b)
	}
	return blocks
}

func (p *publisher) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed && len(p.queue) == 0
}

// store writes blocks, and gives those their results that are done with. The error is of what
// has to be tried again.
func (p *publisher) store(blocks []*block) error {
	var all []*nats.Msg
	for _, b := range blocks {
		all = append(all, b.messages...)
	}
	stored, err := p.batch.send(p.ctx, all)
	for _, b := range blocks {
		n := min(stored, len(b.messages))
		b.messages = b.messages[n:]
		stored -= n
		if len(b.messages) > 0 {
			break
		}
		p.drop(b, nil)
	}
	if err == nil {
		return nil
	}
	// It stands where the batch has ended.
	if first := p.first(); first != nil {
		if final := p.final(err); final != nil {
			p.drop(first, final)
			return nil
		}
	}
	return err
}

// final returns what to tell a caller at once: trying again would change nothing.
func (p *publisher) final(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return nil
	}
	switch api.ErrorCode {
	case codeMaxBytes, codeNoStorage:
		return &FullError{p.config.Stream, err}
	}
	return nil
}

// What servers refuse messages for.
const (
	codeMaxBytes  = 10077
	codeNoStorage = 10023
)

func (p *publisher) first() *block {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	return p.queue[0]
}

// drop takes a block out of the queue, with its result.
func (p *publisher) drop(b *block, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, q := range p.queue {
		if q == b {
			p.queue = append(p.queue[:i], p.queue[i+1:]...)
			break
		}
	}
	b.result <- err
}

// fail gives everybody who still waits the same result.
func (p *publisher) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.queue {
		b.result <- err
	}
	p.queue = nil
}

// shut takes nothing any more. What was taken is written.
func (p *publisher) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	select {
	case p.come <- struct{}{}:
	default:
	}
}

// stop ends it, for those who still wait, too.
func (p *publisher) stop() {
	p.shut()
	p.cancel()
	<-p.done
}
