package receiver

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"

	"github.com/registry-notifications/notifications"
)

// window knows the events that the sink took last, and those that it is being given. An ID
// gets into it only when the sink has taken its event: before that, a duplicate that is
// left out could be the only one there ever is.
type window struct {
	most int

	mu     sync.Mutex // guards the rest
	seen   map[key]struct{}
	order  []key // those in seen, in a ring once it is full
	oldest int
	flying map[key]*claim
}

// key stands for an ID. It is short however long the ID is, which is the sender's to say,
// nobody makes two IDs with the same key, and a map of them is nothing to a garbage
// collector.
type key [16]byte

func keyOf(id string) key {
	var uuid [64]byte // room for one, and it is not on the heap
	sum := sha256.Sum256(append(uuid[:0], id...))
	return key(sum[:len(key{})])
}

// newWindow returns nil, which remembers nothing, for a negative size.
func newWindow(most int) *window {
	if most < 0 {
		return nil
	}
	return &window{most: most, seen: make(map[key]struct{}), flying: make(map[key]*claim)}
}

// claim is the events of one request that nobody has taken. Until it is settled, nobody
// else gets one of them.
type claim struct {
	fresh   []*notifications.Event
	window  *window
	keys    []key
	settled chan struct{}
}

// claim returns which of the events are new. Where some are being given to the sink for
// another request, it waits until it is known what has become of them, or ctx ends: those
// that are not taken are new again. All are claimed at once, so nobody waits for somebody
// who waits.
//
// An event without an ID is always new, and so are all for a nil window.
func (w *window) claim(ctx context.Context, events []*notifications.Event) (*claim, error) {
	if w == nil {
		return &claim{fresh: events}, nil
	}
	keys := make([]key, len(events))
	for i, e := range events {
		keys[i] = keyOf(e.ID)
	}
	for {
		c, other := w.tryClaim(events, keys)
		if other == nil {
			return c, nil
		}
		select {
		case <-other.settled:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tryClaim returns another's claim where it would have to wait.
func (w *window) tryClaim(events []*notifications.Event, keys []key) (own, other *claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.flying) > 0 {
		for i, k := range keys {
			if other := w.flying[k]; other != nil && events[i].ID != "" {
				return nil, other
			}
		}
	}

	own = &claim{
		window: w, settled: make(chan struct{}),
		fresh: make([]*notifications.Event, 0, len(events)), keys: make([]key, 0, len(events)),
	}
	for i, k := range keys {
		if events[i].ID != "" {
			if _, seen := w.seen[k]; seen || w.flying[k] == own {
				continue
			}
			w.flying[k] = own
			own.keys = append(own.keys, k)
		}
		own.fresh = append(own.fresh, events[i])
	}
	return own, nil
}

// settle ends a claim: its events were taken, or they are there for whoever brings them
// again.
func (c *claim) settle(taken bool) {
	if c.window == nil {
		return
	}
	w := c.window
	w.mu.Lock()
	for _, k := range c.keys {
		delete(w.flying, k)
		if taken {
			w.remember(k)
		}
	}
	w.mu.Unlock()
	close(c.settled)
}

// remember puts a key in, in place of the oldest one if there is no room. The caller holds
// the lock.
func (w *window) remember(k key) {
	if _, again := w.seen[k]; again {
		return
	}
	w.seen[k] = struct{}{}
	if len(w.order) < w.most {
		w.order = append(w.order, k)
		return
	}
	delete(w.seen, w.order[w.oldest])
	w.order[w.oldest] = k
	w.oldest = (w.oldest + 1) % w.most
}

// load fills the window with what was taken last.
func (w *window) load(ctx context.Context, history notifications.Feed) error {
	last := history.Last()
	for after := last - min(last, uint64(w.most)); after < last; {
		records, err := history.Read(ctx, after, 0)
		var gone *notifications.PositionError
		switch {
		case errors.As(err, &gone) && gone.First > after+1:
			after = gone.First - 1
			continue
		case err != nil:
			return err
		case len(records) == 0:
			return nil
		}
		w.mu.Lock()
		for _, r := range records {
			if r.Event.ID != "" {
				w.remember(keyOf(r.Event.ID))
			}
		}
		w.mu.Unlock()
		after = records[len(records)-1].Position
	}
	return nil
}
