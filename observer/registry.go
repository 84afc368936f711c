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

	crossing crossing
	rest     []notifications.Record // read, from that rename on

	sleeps chan uint64 // asks the waiter to wake it when there is something behind a position

	mu       sync.Mutex // guards the rest, and what its repositories say that it does
	loading  bool
	busy     int    // repositories with something to do
	settling int    // those of which what was loaded is not done with
	held     bool   // nothing is saved before that is
	resumes  bool   // loading, behind a rename
	waits    bool   // for everything to be done with and saved
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
		if r.crossing != 0 {
			if !r.cross() {
				return
			}
			continue
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
		if r.failures > 0 {
			r.o.config.Logger.WithField("feed", r.name).Info("observer: reading a feed works again")
			r.failures = 0
		}
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
		if r.failures == 0 {
			r.o.config.Logger.WithField("feed", r.name).WithError(err).Warn("observer: reading a feed failed; it is tried again")
		}
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
	failures := 0 // in a row
	for {
		select {
		case after := <-r.sleeps:
			switch err := r.feed.Wait(ctx, after); {
			case ctx.Err() != nil:
				return
			case errors.Is(err, notifications.ErrSinkClosed):
				r.o.fail(&FeedError{r.name, err}) // there is nothing behind it, and never will be
			case err != nil: // reading may know more: what is gone, ends it there
				r.o.later(r.o.config.delay(failures), func() { r.o.engine.wake(r) })
				failures++
			default:
				failures = 0
				r.o.engine.wake(r)
			}
		case <-ctx.Done():
			return
		}
	}
}

// crossing is how far a rename is that everything else waits for: all that comes before it is
// done with and saved, and then it is, before anything behind it is begun. So what is read
// again after a crash never leads across a rename that was done, and names are whose they
// were.
type crossing uint8

const (
	beforeRename crossing = 1 + iota
	behindRename
)

// take gives records to the repositories that they are of, up to a rename that has to wait.
func (r *registry) take(records []notifications.Record) {
	r.read = records[len(records)-1].Position
	r.mu.Lock()
	n := 0
	for ; n < len(records); n++ {
		rec := &records[n]
		if r.waitsFor(rec) {
			r.crossing, r.rest = beforeRename, records[n:]
			if r.resumes = r.loading; r.loading {
				r.settle() // what is true in front of it
			}
			break
		}
		r.dispatch(rec)
	}
	loading := r.loading || r.resumes
	r.mu.Unlock()
	if loading {
		r.progress.count(r, n)
	}
}

// waitsFor says whether a record renames what others have heard of. The caller holds the
// lock.
func (r *registry) waitsFor(rec *notifications.Record) bool {
	if !isRename(rec) {
		return false
	}
	for _, name := range []string{rec.Event.Target.FromRepository, rec.Event.Target.Repository} {
		if repo := r.repos[name]; repo != nil && !r.isDone(repo, rec) && repo.isKnown() {
			return true
		}
	}
	return false
}

// cross goes on with a rename when everything in front of it is saved, and behind it when
// that is. If it cannot yet, it is woken by who saves.
func (r *registry) cross() (goesOn bool) {
	r.mu.Lock()
	if r.waits = r.position != r.seen || len(r.dirty) > 0; r.waits {
		if r.busy == 0 {
			r.o.saveNow()
		}
		r.mu.Unlock()
		return false
	}
	if r.crossing == beforeRename {
		r.crossing = behindRename
		r.dispatch(&r.rest[0])
		r.mu.Unlock()
		return true
	}
	rest := r.rest[1:]
	r.crossing, r.rest, r.loading, r.resumes = 0, nil, r.resumes, false
	r.mu.Unlock()
	if len(rest) > 0 {
		r.take(rest)
	}
	return true
}

func isRename(rec *notifications.Record) bool {
	t := &rec.Event.Target
	return rec.Event.Action == notifications.ActionRename && t.FromRepository != "" && t.FromRepository != t.Repository
}

// dispatch finds what a record is for. The caller holds the lock.
func (r *registry) dispatch(rec *notifications.Record) {
	t := &rec.Event.Target
	switch {
	case isRename(rec):
		r.rename(rec, t.FromRepository, t.Repository)
	case r.o.observes(t.Repository) && !r.isDone(r.repos[t.Repository], rec):
		r.repository(t.Repository, saysOfIt(rec.Event)).add(t.Repository, item{kind: itemEvent, record: *rec})
	}
	r.seen = rec.Position
}

// isDone says whether a record was done with before the last end. The caller holds the lock.
func (r *registry) isDone(repo *repository, rec *notifications.Record) bool {
	return r.loading && repo != nil && rec.Position <= repo.state.Position
}

// repository returns the one of a name, new if there is none: one that nobody has to be told
// of, unless it may be there. The caller holds the lock.
func (r *registry) repository(name string, there bool) *repository {
	repo := r.repos[name]
	if repo == nil {
		name = strings.Clone(name)
		repo = newRepository(r, &State{Repository: Repository{r.name, name}})
		if !there {
			repo.state.Deleted, repo.state.Told = true, Disabled
		}
		r.repos[name] = repo
	}
	return repo
}

// rename ends the activity of one name and begins another one of the new name, which takes
// over from it. The caller holds the lock.
func (r *registry) rename(rec *notifications.Record, from, to string) {
	old := r.repos[from]
	if r.isDone(old, rec) || r.isDone(r.repos[to], rec) {
		return
	}
	var next *repository
	if r.o.observes(to) {
		if before := r.repos[to]; before != nil {
			before.end()
		}
		to = strings.Clone(to)
		next = newRepository(r, nil)
		r.repos[to] = next
	}
	if old != nil {
		delete(r.repos, from)
	}
	switch {
	case old != nil && !r.loading:
		old.add(from, item{kind: itemRelease, record: *rec, to: next})
		old.end()
		if next != nil {
			next.moving = true // until it is acquired
			next.add(to, item{kind: itemAcquire, record: *rec, from: old})
		}
		return
	case old != nil: // nobody else has heard of it
		old.giveUp(next, to)
		r.held = true // or what is loaded once more would find some names as they are now
	case next != nil:
		next.state = &State{Repository: Repository{r.name, to}}
	}
	if next != nil {
		next.add(to, item{kind: itemEvent, record: *rec})
	}
}

// loaded is the end of the first phase: from here on each event is acted on.
func (r *registry) loaded() {
	r.progress.report(r, true)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settle()
	for _, repo := range r.repos {
		if repo.since == 0 && repo.work == nil && repo.isForgettable() {
			r.dirty[repo] = struct{}{} // it was gone when the last run ended
			repo.goIfDeleted()
		}
	}
}

// settle acts on what was loaded. The caller holds the lock.
func (r *registry) settle() {
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
