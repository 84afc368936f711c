package observer

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// load puts what the store has in place.
func (o *Observer) load(ctx context.Context) error {
	all, err := o.config.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("observer: loading what was saved: %w", err)
	}
	_, o.crashed = all[runningKey]
	delete(all, runningKey)
	for key, value := range all {
		if name, ok := strings.CutPrefix(key, positionKey); ok {
			r := o.registries[name]
			if r == nil {
				continue // of a feed that is not there now, and may come back
			}
			position, err := strconv.ParseUint(string(value), 10, 64)
			if err != nil {
				return fmt.Errorf("observer: what was saved: %s: %q: allowed is a position", key, value)
			}
			r.mu.Lock()
			r.read, r.seen, r.position, r.known = position, position, position, true
			r.mu.Unlock()
			continue
		}
		s := new(State)
		if err := json.Unmarshal(value, s); err != nil || s.key() != key {
			return fmt.Errorf("observer: what was saved: %q: is no state of it: %w", key, err)
		}
		if r := o.registries[s.Feed]; r != nil {
			repo := newRepository(r, s)
			repo.stored = true
			r.mu.Lock()
			r.repos[s.Name] = repo
			r.mu.Unlock()
		}
	}
	return nil
}

// saveRunning stores that an observer runs, or has come to its end. In between it may tell
// others of repositories that the store has not heard of.
func (o *Observer) saveRunning(ctx context.Context, runs bool) error {
	change := map[string][]byte{runningKey: nil}
	if runs {
		change[runningKey] = []byte("true")
	}
	if err := o.config.Store.Save(ctx, change); err != nil {
		return fmt.Errorf("observer: saving: %w", err)
	}
	return nil
}

// keepSaving saves what has changed, again and again, until ctx ends.
func (o *Observer) keepSaving(ctx context.Context) {
	timer := time.NewTimer(o.config.SaveInterval)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-timer.C:
		case <-o.kicks:
		case <-ctx.Done():
			return
		}
		start := time.Now()
		switch err := o.save(ctx); {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			o.config.Logger.WithError(err).Error("observer: saving failed; all goes on, it is tried again, and comes again after a crash")
			failing = true
		case err == nil && failing:
			o.config.Logger.Info("observer: saving works again")
			failing = false
		}
		// Large states should not keep everybody busy with saving.
		timer.Reset(max(o.config.SaveInterval, 10*time.Since(start)))
	}
}

// saveNow has it save soon: somebody waits for that.
func (o *Observer) saveNow() {
	select {
	case o.kicks <- struct{}{}:
	default:
	}
}

// saved is what a change says of a repository.
type saved struct {
	repo *repository
	upTo uint64 // position up to which it is done with
	gone bool
}

// save saves what has changed, and the positions up to which all is done.
func (o *Observer) save(ctx context.Context) error {
	changes := make(map[string][]byte)
	positions := make(map[*registry]uint64)
	all := make(map[*registry][]saved)
	for _, r := range o.registries {
		if r.isHeld() {
			continue
		}
		var err error
		if all[r], positions[r], err = r.changes(changes); err != nil {
			return err
		}
		if positions[r] != r.position {
			changes[positionKey+r.name] = strconv.AppendUint(nil, positions[r], 10)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	if err := o.config.Store.Save(ctx, changes); err != nil {
		return fmt.Errorf("observer: saving: %w", err)
	}
	for r, position := range positions {
		r.stores(all[r], position)
		if err := r.hold(position); err != nil {
			return err
		}
	}
	return nil
}

// isHeld says whether nothing may be saved now: while it loads, its place may not even be
// known.
func (r *registry) isHeld() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = r.held && (r.loading || r.settling > 0)
	return r.loading || r.held
}

// hold has the feed keep what is behind a position.
func (r *registry) hold(position uint64) error {
	h, ok := r.feed.(holder)
	if !ok || r.o.config.Hold == "" {
		return nil
	}
	if err := h.Rewind(r.o.config.Hold, position); err != nil {
		return fmt.Errorf("observer: feed %q: holding what is behind position %d: %w", r.name, position, err)
	}
	return nil
}

// holder is a feed that keeps what is behind a place with a name, as a journal does.
type holder interface {
	Rewind(name string, after uint64) error
}

// changes adds to a map what the store is to have of this feed's repositories, and returns
// which these are, and up to where everything is done with.
func (r *registry) changes(to map[string][]byte) (all []saved, position uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chain.Gc()
	position = r.seen
	included := make(map[*repository]bool)
	for repo := range r.dirty {
		if repo.ended || repo.moving || repo.state == nil {
			continue // it has no name, or not its state yet
		}
		included[repo] = true
		value, err := json.Marshal(repo.state)
		if err != nil {
			return nil, 0, err
		}
		to[repo.state.key()] = value
		repo.changed = false
		all = append(all, saved{repo: repo, upTo: repo.state.Position})
		if next := repo.undone(); next > 0 {
			position = min(position, next-1)
		}
	}
	for repo := range r.dirty {
		switch {
		case included[repo]:
		case !repo.ended || !repo.isOver(included):
			position = min(position, repo.since-1)
		default:
			if key := repo.state.key(); r.repos[repo.state.Name] == nil {
				to[key] = nil
			}
			all = append(all, saved{repo: repo, gone: true})
		}
	}
	return all, position, nil
}

// undone returns the position of the first event that is not done with, or zero. The caller
// holds the registry's lock.
func (r *repository) undone() uint64 {
	if r.work == nil || len(r.work.queue) == 0 {
		return 0
	}
	it := &r.work.queue[0]
	if it.kind == itemSettle {
		return r.since // all that was loaded
	}
	return it.record.Position
}

// isOver says whether a repository that has lost its name may be forgotten: when it has done
// all, and whoever was given its state is stored, or will be with this. The caller holds the
// lock.
func (r *repository) isOver(included map[*repository]bool) bool {
	switch {
	case !r.ended, r.work != nil && len(r.work.queue) > 0:
		return false
	case r.work == nil || r.work.heir == nil:
		return true
	}
	return r.work.heir.stored || included[r.work.heir]
}

// stores notes that the store has it.
func (r *registry) stores(all []saved, position uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.position, r.known = position, true
	if r.waits {
		r.o.engine.wake(r)
	}
	for _, s := range all {
		repo := s.repo
		if s.gone {
			delete(r.dirty, repo)
			continue
		}
		repo.stored = true
		switch next := repo.undone(); {
		case next > 0 && !repo.ended:
			repo.since = next
		case repo.ended, repo.changed: // meanwhile
			repo.since = max(repo.since, s.upTo+1)
		default:
			repo.since = 0
			delete(r.dirty, repo)
		}
	}
}
