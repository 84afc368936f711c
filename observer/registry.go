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
	then     func() // goes on with it when everything is done with and saved

	sleeps chan uint64 // asks the waiter to wake it when there is something behind a position
	held   *uint64     // position behind which the feed keeps everything; the saver's alone

	mu        sync.Mutex // guards the rest, and what its repositories say that it does
	loading   bool       // the first phase: events are folded, and nobody is told
	saveFirst bool       // what was loaded has to be saved before it is told
	renaming  bool       // a state may be on its way from one name to another
	waits     uint64     // for everything in front of this position to be done with and saved; zero: for nothing
	busy      int        // repositories with something to do
	settling  int        // those of which what was loaded has still to be told
	seen      uint64     // position up to which it was read, and given to repositories
	repos     map[string]*repository
	dirty     map[string]struct{}      // names of which the store does not know what they are now
	blocked   map[*repository]struct{} // wait for the end of another
	chain     DepChain

	// What the store has.
	saved    uint64 // position behind which to go on
	position uint64 // up to which everything was done with by then
	known    bool   // there is a position
	running  bool   // it says that others may be told what it does not know
	crashed  bool   // it said so at the start
}

func newRegistry(o *Observer, name string, feed notifications.Feed) *registry {
	return &registry{
		schedule: schedule{kind: ofRegistry}, o: o, name: name, feed: feed, sleeps: make(chan uint64, 1), loading: true,
		repos: make(map[string]*repository), dirty: make(map[string]struct{}), blocked: make(map[*repository]struct{}),
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
		if r.then != nil {
			if !r.isQuiet() {
				return // and is woken when something was done with, or saved
			}
			then := r.then
			r.then = nil
			then()
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
				continue
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
		r.begin(gone.First - 1) // with what there is
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

// begin has it begin behind a position.
func (r *registry) begin(position uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read, r.seen, r.saved = position, position, position
}

// isNew says whether nothing was ever read of it.
func (r *registry) isNew() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.known && r.seen == r.saved
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

// barrier has it read nothing more before everything in front of a position is done with and
// saved, and then goes on.
func (r *registry) barrier(position uint64, then func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits, r.then = position, then
}

// isQuiet says whether everything is done with and saved. If not, it has that saved, or is
// woken when there is nothing more to do.
func (r *registry) isQuiet() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy > 0 {
		return false
	}
	if !r.running || !r.isLight() && (r.saved != r.seen || len(r.dirty) > 0) {
		r.o.saveNow()
		return false
	}
	r.waits = 0
	return true
}

// isLight says whether what was loaded may be saved later, as everything else is: no name has
// become another's. The caller holds the lock.
func (r *registry) isLight() bool { return r.loading && !r.saveFirst }

// take gives records to the repositories that they are of, up to a rename that has to wait.
func (r *registry) take(records []notifications.Record) {
	r.read = records[len(records)-1].Position
	r.mu.Lock()
	n := 0
	for ; n < len(records) && !r.isBarrier(&records[n]); n++ {
		r.dispatch(&records[n])
	}
	loading := r.loading
	r.mu.Unlock()
	if loading {
		r.progress.count(r, n)
	}
	if n < len(records) {
		r.cross(records[n:])
	}
}

// isBarrier says whether a record is a rename that has to wait: while watching each one, or
// it could come again when its names are others', and while loading one of what others have
// heard of. The caller holds the lock.
func (r *registry) isBarrier(rec *notifications.Record) bool {
	if !isRename(rec) {
		return false
	}
	for _, name := range []string{rec.Event.Target.FromRepository, rec.Event.Target.Repository} {
		if repo := r.repos[name]; r.o.observes(name) && (!r.loading || repo != nil && repo.isKnown()) {
			return true
		}
	}
	return false
}

// cross goes on with a rename when all that comes before it is done with and saved, and
// behind it when that is. So what is read again after a crash never leads across a rename
// that was done, and names are whose they were.
func (r *registry) cross(records []notifications.Record) {
	at := records[0].Position
	r.mu.Lock()
	r.saveFirst = true
	r.mu.Unlock()
	r.barrier(at, func() {
		r.mu.Lock()
		r.renaming = true
		r.dispatch(&records[0])
		loading := r.loading
		r.mu.Unlock()
		if loading {
			r.progress.count(r, 1)
		}
		r.barrier(at+1, func() {
			r.mu.Lock()
			r.renaming = false
			r.mu.Unlock()
			if len(records) > 1 {
				r.take(records[1:])
			}
		})
	})
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
	case r.o.observes(t.Repository):
		repo := r.repository(t.Repository, saysOfIt(rec.Event))
		if !r.loading || rec.Position > repo.state.Position { // or it was done with before the last end
			repo.take(rec)
		}
	}
	r.seen = rec.Position
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
	if there := r.repos[to]; old == nil && there != nil && !there.state.Deleted {
		there.take(rec) // it comes again, or nobody knows what from: who is there stays
		return
	}
	if old != nil {
		from = old.state.Name
		delete(r.repos, from)
		r.touch(from)
	}
	var next *repository
	if r.o.observes(to) {
		to = strings.Clone(to)
		next = newRepository(r, nil)
		r.repos[to] = next // whoever was there is no more
	}
	switch {
	case old != nil && r.renaming && old.isKnown():
		old.queue(from, item{kind: itemRelease, record: *rec, to: next})
		if next != nil {
			next.queue(to, item{kind: itemAcquire, record: *rec, after: r.chain.Next(from)})
		}
		return
	case next == nil:
		return
	case old != nil: // nobody else has heard of it
		r.saveFirst = true // or what is loaded once more would find some names as they are now
		next.state = old.state
		next.state.Name, next.state.Deleted = to, false
	default:
		next.state = &State{Repository: Repository{r.name, to}}
	}
	next.take(rec)
}

// isUnsure says whether others may know more than what was stored: the last run has not come
// to its end, and what it did since its last save has not come again yet. The caller holds
// the lock.
func (r *registry) isUnsure() bool { return r.loading && r.crashed }

// touch notes that the store does not know what a name is now. The name is kept. The caller
// holds the lock.
func (r *registry) touch(name string) { r.dirty[name] = struct{}{} }

// loaded is the end of the first phase. From there on each event is acted on.
func (r *registry) loaded() {
	r.progress.report(r, true)
	r.barrier(r.read+1, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.loading = false
		for _, repo := range r.repos {
			repo.settle()
		}
		if r.settling == 0 {
			r.position = r.saved
		}
	})
}

// unblock has those look again who wait for the end of another. The caller holds the lock.
func (r *registry) unblock() {
	for repo := range r.blocked {
		r.o.engine.wake(repo)
	}
	clear(r.blocked)
}
