package observer

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/registry-notifications/notifications"
)

// registry is the activity of one feed: it reads it for ever, and wakes the activities of
// its repositories.
type registry struct {
	schedule
	o    *Observer
	name string
	feed notifications.Feed

	// Its own, while it runs.
	read     uint64 // position up to which it has read
	failures int    // to read, in a row
	progress progress

	sleeps chan uint64 // asks the waiter to wake it when there is something behind a position

	mu       sync.Mutex // guards the rest, and what its repositories say that it does
	loading  bool
	known    bool   // position is of an earlier run
	position uint64 // up to which everything is done with, and saved
	seen     uint64 // read, and given to repositories
	repos    map[string]*repository
	dirty    map[*repository]struct{} // what the store does not know yet
	blocked  map[*repository]struct{} // wait for the end of another
	chain    DepChain
}

func newRegistry(o *Observer, name string, feed notifications.Feed) *registry {
	return &registry{
		schedule: schedule{kind: ofRegistry}, o: o, name: name, feed: feed, sleeps: make(chan uint64, 1), loading: true,
		repos: make(map[string]*repository), dirty: make(map[*repository]struct{}), blocked: make(map[*repository]struct{}),
	}
}

// batch is how many records are read at once, and turn how many an activity handles before
// it lets another one run.
const (
	batch = 1024
	turn  = 64
)

// run reads what there is, up to where it would block.
func (r *registry) run() {
	for range turn {
		if r.o.engine.isStopped() {
			return
		}
		room := batch
		if !r.isLoading() {
			if room = min(room, r.o.room()); room == 0 {
				return // and is woken when there is room
			}
		}
		records, err := r.feed.Read(r.o.work, r.read, room)
		if err != nil {
			r.failed(err)
			return
		}
		r.failures = 0
		if len(records) == 0 {
			if r.isLoading() {
				r.loaded()
			}
			select {
			case r.sleeps <- r.read:
			default: // it is asked for already, with this position or one before
			}
			return
		}
		r.take(records)
	}
	r.o.engine.wake(r)
}

func (r *registry) isLoading() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loading
}

// failed is behind a Read that has failed. What is gone ends it: nobody knows what it was.
func (r *registry) failed(err error) {
	if r.o.work.Err() != nil {
		return
	}
	var gone *notifications.PositionError
	switch {
	case errors.As(err, &gone) && r.isNew() && gone.First > r.read+1:
		r.read = gone.First - 1 // it begins with what there is
		r.o.engine.wake(r)
	case errors.As(err, &gone), errors.Is(err, notifications.ErrSinkClosed):
		r.o.fail(&FeedError{r.name, err})
	default:
		r.o.config.Logger.WithField("feed", r.name).WithError(err).Warn("observer: reading a feed failed; it is tried again")
		r.o.later(r.o.config.delay(r.failures), func() { r.o.engine.wake(r) })
		r.failures++
	}
}

// isNew says whether nothing was ever read of it.
func (r *registry) isNew() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.known && r.seen == 0
}

// waiter wakes it when there is something behind the position that it was asked for.
func (r *registry) waiter(ctx context.Context) {
	for {
		select {
		case after := <-r.sleeps:
			switch err := r.feed.Wait(ctx, after); {
			case ctx.Err() != nil:
				return
			case errors.Is(err, notifications.ErrSinkClosed):
				r.o.fail(&FeedError{r.name, err}) // there is nothing behind it, and never will be
			case err != nil:
				r.failed(err)
			default:
				r.o.engine.wake(r)
			}
		case <-ctx.Done():
			return
		}
	}
}

// take gives records to the repositories that they are of.
func (r *registry) take(records []notifications.Record) {
	r.mu.Lock()
	for i := range records {
		rec := &records[i]
		r.read = rec.Position
		if rec.Event == nil {
			continue
		}
		r.dispatch(rec)
	}
	r.seen = r.read
	loading := r.loading
	r.mu.Unlock()
	if loading {
		r.progress.count(r, len(records))
	}
}

// dispatch finds what a record is for. The caller holds the lock.
func (r *registry) dispatch(rec *notifications.Record) {
	t := &rec.Event.Target
	name, from := t.Repository, t.FromRepository
	switch {
	case rec.Event.Action == notifications.ActionRename && from != "" && from != name:
		r.rename(rec, from, name)
	case r.o.observes(name) && !r.isDone(r.repos[name], rec):
		r.repository(name).add(name, item{kind: itemEvent, record: *rec})
	}
}

// isDone says whether a record was done with before the last end. The caller holds the lock.
func (r *registry) isDone(repo *repository, rec *notifications.Record) bool {
	return r.loading && repo != nil && rec.Position <= repo.state.Position
}

// repository returns the one of a name, new if there is none. The caller holds the lock.
func (r *registry) repository(name string) *repository {
	repo := r.repos[name]
	if repo == nil {
		name = strings.Clone(name)
		repo = newRepository(r, &State{Repository: Repository{r.name, name}})
		r.repos[name] = repo
	}
	return repo
}

// rename ends the activity of one name and begins another one of the new name, which takes
// over from it. Either side may have been done with before the last end. The caller holds
// the lock.
func (r *registry) rename(rec *notifications.Record, from, to string) {
	var next *repository
	if r.o.observes(to) && !r.isDone(r.repos[to], rec) {
		if before := r.repos[to]; before != nil {
			before.end()
		}
		to = strings.Clone(to)
		next = newRepository(r, nil)
		r.repos[to] = next
	}
	old := r.repos[from]
	if old == nil || r.isDone(old, rec) {
		if next != nil { // as if it were new
			next.state = &State{Repository: Repository{r.name, to}}
			next.add(to, item{kind: itemEvent, record: *rec})
		}
		return
	}
	delete(r.repos, from)
	if r.loading && !old.isKnown() {
		old.giveUp(next, to) // nobody has to be told
		if next != nil {
			next.add(to, item{kind: itemEvent, record: *rec})
		}
		return
	}
	old.add(from, item{kind: itemRelease, record: *rec, to: next})
	moves := r.loading && old.state.Initialized
	if r.loading {
		w := old.work
		w.queue[len(w.queue)-1].tomb = old.hand(next, to) // nobody is at work on it
	}
	old.end()
	if next != nil {
		next.moving = true // until it is acquired
		next.add(to, item{kind: itemAcquire, record: *rec, from: old, moves: moves})
	}
}

// loaded is the end of the first phase: what was read is acted on, and from here on each
// event is.
func (r *registry) loaded() {
	r.progress.report(r, true)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loading = false
	for repo := range r.dirty {
		repo.settle()
	}
}

// unblock has those look again who wait for the end of another. The caller holds the lock.
func (r *registry) unblock() {
	for repo := range r.blocked {
		r.o.engine.wake(repo)
	}
	clear(r.blocked)
}
