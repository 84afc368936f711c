package notifications

import (
	"context"
	"sync"
	"time"
)

// patience is a context that ends after a while, and takes a timer only if somebody
// waits for that. Nearly every Write returns without having waited.
type patience struct {
	end   time.Time
	cause error

	mu      sync.Mutex      // guards the rest
	values  context.Context // whose values it has, and not its end
	timed   context.Context
	cancel  context.CancelFunc
	givenUp bool
}

var _ context.Context = (*patience)(nil)

// begin makes it ctx without its end, and with the one that was set, for a cause. Whoever
// asked for it gives it up.
func (p *patience) begin(ctx context.Context, cause error) {
	p.values, p.cause = ctx, cause
}

func (p *patience) Deadline() (time.Time, bool) { return p.end, true }

func (p *patience) Done() <-chan struct{} { return p.withTimer().Done() }

func (p *patience) Err() error {
	if !p.hasTimer() && time.Now().Before(p.end) && !p.isGivenUp() {
		return nil
	}
	return p.withTimer().Err()
}

func (p *patience) Value(key any) any {
	if p.hasTimer() {
		return p.timed.Value(key) // there package context finds what Done belongs to
	}
	return values{p}.Value(key)
}

// values is a context with the values of a patience and without an end.
type values struct{ of *patience }

func (values) Deadline() (end time.Time, ok bool) { return }

func (values) Done() <-chan struct{} { return nil }

func (values) Err() error { return nil }

func (v values) Value(key any) any {
	if _, own := key.(*int); own {
		return nil // what package context would find here belongs to another end
	}
	v.of.mu.Lock()
	ctx := v.of.values
	v.of.mu.Unlock()
	return ctx.Value(key)
}

func (p *patience) withTimer() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timed == nil {
		p.timed, p.cancel = context.WithDeadlineCause(values{p}, p.end, p.cause)
		if p.givenUp {
			p.cancel()
		}
	}
	return p.timed
}

func (p *patience) hasTimer() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.timed != nil
}

func (p *patience) isGivenUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.givenUp
}

// giveUp ends the context, and lets go of what it came from: a request should not be kept
// by its event.
func (p *patience) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.givenUp, p.values = true, context.Background()
	if p.cancel != nil {
		p.cancel()
	}
}
