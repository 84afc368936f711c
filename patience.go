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

// begin makes it ctx without its end, and with one of its own. Whoever asked for it gives
// it up.
func (p *patience) begin(ctx context.Context, d time.Duration, cause error) {
	p.values, p.end, p.cause = ctx, time.Now().Add(d), cause
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
	p.mu.Lock()
	values := p.values
	if p.timed != nil {
		values = p.timed // there package context finds what Done belongs to
	} else if _, own := key.(*int); own {
		values = context.Background() // and what it would find here belongs to another end
	}
	p.mu.Unlock()
	return values.Value(key)
}

func (p *patience) withTimer() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timed == nil {
		p.timed, p.cancel = context.WithDeadlineCause(context.WithoutCancel(p.values), p.end, p.cause)
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
