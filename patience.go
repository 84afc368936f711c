package notifications

import (
	"context"
	"sync"
	"time"
)

// patience is a context that ends after a while, and takes a timer only if somebody
// waits for that. Nearly every Write returns without having waited.
type patience struct {
	context.Context // never ends
	end             time.Time
	cause           error

	mu      sync.Mutex // guards the rest
	timed   context.Context
	cancel  context.CancelFunc
	givenUp bool
}

// withPatience returns ctx without its end, and with one of its own. Whoever asked for
// it gives it up.
func withPatience(ctx context.Context, d time.Duration, cause error) *patience {
	return &patience{Context: context.WithoutCancel(ctx), end: time.Now().Add(d), cause: cause}
}

func (p *patience) Deadline() (time.Time, bool) { return p.end, true }

func (p *patience) Done() <-chan struct{} { return p.withTimer().Done() }

func (p *patience) Err() error {
	if !p.hasTimer() && time.Now().Before(p.end) && !p.isGivenUp() {
		return nil
	}
	return p.withTimer().Err()
}

// Value finds, for package context, what Done belongs to.
func (p *patience) Value(key any) any {
	if p.hasTimer() {
		return p.timed.Value(key)
	}
	return p.Context.Value(key)
}

func (p *patience) withTimer() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timed == nil {
		p.timed, p.cancel = context.WithDeadlineCause(p.Context, p.end, p.cause)
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

// giveUp ends the context.
func (p *patience) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.givenUp = true
	if p.cancel != nil {
		p.cancel()
	}
}
