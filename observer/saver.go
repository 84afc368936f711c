package observer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/registry-notifications/notifications"
)

// load puts what the store has in place.
func (o *Observer) load(ctx context.Context) error {
	all, err := o.config.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("observer: loading what was saved: %w", err)
	}
	for _, r := range o.registries {
		if err := r.load(all); err != nil {
			return fmt.Errorf("observer: what was saved: %w", err)
		}
	}
	return nil
}

// load puts in place what is of this feed. What is of others stays: they may come back.
func (r *registry) load(all map[string][]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, r.crashed = all[runningKey+r.name]
	if value, ok := all[positionKey+r.name]; ok {
		position, err := strconv.ParseUint(string(value), 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %q: allowed is a position", positionKey+r.name, value)
		}
		r.read, r.seen, r.saved, r.position, r.known = position, position, position, position, true
	}
	for key, value := range all {
		if !strings.HasPrefix(key, stateKey+r.name+"/") {
			continue
		}
		s := new(State)
		err := json.Unmarshal(value, s)
		if err == nil && s.key() != key {
			err = errors.New("it is of another repository")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		r.repos[s.Name] = newRepository(r, s)
		if s.Untold {
			r.position = 0 // not everything is done with
		}
	}
	return nil
}

// keepSaving saves what has changed, again and again, until ctx ends.
func (o *Observer) keepSaving(ctx context.Context) {
	timer := time.NewTimer(o.config.SaveInterval)
	defer timer.Stop()
	failing := false
	for {
		which := whatWaits
		select {
		case <-o.kicks:
		case <-timer.C:
			which = whatChanged
		case <-ctx.Done():
			return
		}
		start := time.Now()
		switch err := o.save(ctx, which); {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			o.config.Logger.WithError(err).Error("observer: saving failed; it is tried again, and what does not have to wait for it goes on")
			failing = true
		case err == nil && failing:
			o.config.Logger.Info("observer: saving works again")
			failing = false
		}
		switch {
		case failing: // somebody may wait for it
			timer.Reset(min(o.config.SaveInterval, o.config.MaxBackoff))
		case which == whatChanged:
			// Large states should not keep everybody busy with saving.
			timer.Reset(max(o.config.SaveInterval, 10*time.Since(start)))
		}
	}
}

// saveNow has what waits for it saved soon.
func (o *Observer) saveNow() {
	select {
	case o.kicks <- struct{}{}:
	default:
	}
}

// which is of which feeds something is to be saved.
type which uint8

const (
	whatWaits   which = iota // those that go on only then
	whatChanged              // all but those of which it cannot be
	whatIsLeft               // at the end
)

// isDue says whether a feed is one of those. While it loads there is much to save, and it is
// saved when it has come to the end of that; while a state is on its way to another name, none
// of the two has it.
func (r *registry) isDue(w which) bool {
	switch {
	case r.renaming && r.busy > 0:
		return false
	case w == whatIsLeft:
		return r.known || r.seen > r.saved
	case w == whatWaits || r.loading:
		return r.waits > 0 && r.busy == 0
	}
	return true
}

// change is what is saved of a feed.
type change struct {
	names    map[string]struct{}
	position uint64 // behind which to go on
	told     bool   // there is nothing in front of it that has still to be told
	running  bool
}

// save saves what has changed, and the positions behind which to go on.
func (o *Observer) save(ctx context.Context, w which) error {
	all := make(map[string][]byte)
	changes := make(map[*registry]*change)
	for _, r := range o.registries {
		if c := r.change(w, all); c != nil {
			changes[r] = c
		}
	}
	if len(all) > 0 {
		if err := o.config.Store.Save(ctx, all); err != nil {
			for r, c := range changes {
				r.failsToStore(c)
			}
			return fmt.Errorf("observer: saving: %w", err)
		}
		for r, c := range changes {
			r.stores(c)
		}
	}
	var errs []error
	for _, r := range o.registries {
		errs = append(errs, r.holdSaved())
	}
	return errors.Join(errs...)
}

// change adds to a map what the store is to have of a feed, and returns what that says; nil
// if there is nothing to save now.
func (r *registry) change(w which, to map[string][]byte) *change {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isDue(w) {
		return nil
	}
	r.chain.Gc()
	c := &change{position: r.saved}
	if w != whatWaits || !r.isLight() {
		c.names, c.position, c.told = r.dirty, r.seen, !r.loading && r.settling == 0
		r.dirty = make(map[string]struct{})
	}
	for name := range c.names {
		key := Repository{r.name, name}.key()
		repo := r.repos[name]
		if repo == nil {
			to[key] = nil
			continue
		}
		to[key] = repo.state.appendJSON(make([]byte, 0, repo.state.room()))
		repo.dirty = false
		if repo.work != nil {
			r.touch(name)
			c.position = min(c.position, repo.done())
		}
	}
	if c.running = w != whatIsLeft || r.running && (r.busy > 0 || r.loading && r.crashed); c.running != r.running {
		to[runningKey+r.name] = map[bool][]byte{true: []byte("true")}[c.running]
	}
	if c.position != r.saved || !r.known {
		to[positionKey+r.name] = strconv.AppendUint(nil, c.position, 10)
	}
	return c
}

// stores notes that the store has it.
func (r *registry) stores(c *change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved, r.running, r.known = c.position, c.running, true
	if c.told {
		r.position = c.position
	}
	if r.waits > 0 {
		r.o.engine.wake(r)
	}
}

// failsToStore notes that it has not.
func (r *registry) failsToStore(c *change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range c.names {
		r.touch(name)
	}
}

// holdFirst has a feed keep what is not done with, before any of it is read. Of a feed that is
// new that is all that there is: it would forget this while it is loaded for the first time.
func (r *registry) holdFirst() error {
	err := r.hold(r.saved)
	var gone *notifications.PositionError
	for !r.known && errors.As(err, &gone) && gone.First > gone.Position+1 {
		if err = r.hold(gone.First - 1); err == nil {
			r.begin(gone.First - 1)
		}
	}
	if errors.As(err, &gone) || errors.Is(err, notifications.ErrSinkClosed) {
		return &FeedError{r.name, err}
	}
	return err
}

// holdSaved has the feed keep what is not done with.
func (r *registry) holdSaved() error {
	r.mu.Lock()
	position, known := r.saved, r.known
	r.mu.Unlock()
	if !known {
		return nil
	}
	return r.hold(position)
}

// hold has the feed keep what is behind a position.
func (r *registry) hold(position uint64) error {
	h, ok := r.feed.(holder)
	if !ok || r.o.config.Hold == "" || r.held != nil && *r.held == position {
		return nil
	}
	if err := h.Rewind(r.o.config.Hold, position); err != nil {
		return fmt.Errorf("observer: feed %q: holding what is behind position %d: %w", r.name, position, err)
	}
	r.held = &position
	return nil
}

// holder is a feed that keeps what is behind a place with a name, as a journal does.
type holder interface {
	Rewind(name string, after uint64) error
}
