package observer

import (
	"math"
	"strings"

	"github.com/registry-notifications/notifications"
)

// repository is the activity of one repository, its lane: it does what there is to do, in
// order. Its fields are guarded by its registry's lock; the state may be read without by who
// is at work on it.
type repository struct {
	schedule
	dirty    bool // loading: its registry knows that
	registry *registry
	state    *State // nil until another has handed it over
	work     *work  // nil while there is none
}

// work is what a repository has to do.
type work struct {
	dep   *Dep      // in the chain of its name
	queue []item    // the first is begun, if plan says so
	flow  *workflow // at work now, while the lane sleeps
	pause bool      // what failed is tried again later
	plan  plan
}

// item is something to do for a repository.
type item struct {
	kind   itemKind
	record notifications.Record
	to     *repository // of a release: who takes over, if somebody does
	after  *Dep        // of an acquisition: behind the release, in the chain of the old name
}

type itemKind uint8

const (
	itemEvent itemKind = iota
	itemRelease
	itemAcquire
	itemSettle // everything that was loaded
)

func newRepository(r *registry, s *State) *repository {
	return &repository{schedule: schedule{kind: ofRepository}, registry: r, state: s}
}

// take takes an event in: while loading into its state, and then as something to do. The
// caller holds the lock.
func (r *repository) take(rec *notifications.Record) {
	s := r.state
	if !r.registry.loading {
		r.queue(s.Name, item{kind: itemEvent, record: *rec})
		return
	}
	if !r.dirty {
		r.dirty = true
		r.registry.touch(s.Name)
	}
	s.Untold = s.fold(rec.Event) || s.Untold || s.Error != "" && !s.Deleted || s.Told != s.now()
	s.Position = rec.Position
	if s.Deleted && r.registry.isUnsure() {
		s.Initialized = false // Disable may have been called since
	}
}

// queue gives it something to do under its name, which is kept. The caller holds the lock.
func (r *repository) queue(name string, it item) {
	g := r.registry
	g.o.pending.Add(1)
	if r.work == nil {
		r.work = &work{dep: g.chain.Next(name)}
		g.busy++
	}
	r.work.queue = append(r.work.queue, it)
	g.touch(name)
	g.o.engine.wake(r)
}

// settle acts on what was loaded, once. The caller holds the lock.
func (r *repository) settle() {
	switch {
	case !r.registry.o.observes(r.state.Name): // any more
		return
	case !r.state.Untold:
		r.goIfDeleted() // it was gone when the last run ended
		return
	}
	r.registry.settling++
	r.queue(r.state.Name, item{kind: itemSettle})
}

// isKnown says whether the Initializer or the Processor may have heard of it. The caller
// holds the lock.
func (r *repository) isKnown() bool {
	s := r.state
	return !r.registry.loading || r.registry.isUnsure() || s.Initialized || s.Told != "" || s.Error != ""
}

// hand gives the state to another, if there is one, under its name, and keeps what is left.
// The caller holds the lock.
func (r *repository) hand(to *repository, name string) {
	s := r.state
	r.state = s.released()
	if to != nil {
		s.Name, s.Told, s.Deleted = strings.Clone(name), "", false
		to.state = s
	}
}

func (r *repository) run() { r.drive(nil) }

// drive does one step after the other, as the lane or as a workflow of it, as long as there
// is one for it.
func (r *repository) drive(as *workflow) {
	for n := 0; ; n++ {
		st, rec, ok := r.next(as, n == turn)
		if !ok {
			return
		}
		r.do(st, as, rec)
	}
}

// do does a step. One that ends its goroutine has failed.
func (r *repository) do(st step, as *workflow, rec notifications.Record) {
	err, returned := errGoexit, false
	defer func() {
		r.did(st, as, err)
		if !returned {
			r.registry.o.engine.wake(r.who(as))
		}
	}()
	err = r.registry.o.call(st, r.state, rec)
	returned = true
}

// who returns who is at work: the lane, or a workflow of it.
func (r *repository) who(as *workflow) activity {
	if as != nil {
		return as
	}
	return r
}

// next returns the next step of the lane (nil) or of the workflow. If there is none, it has
// woken whoever goes on, at once if that is the other or the turn is over. A workflow that
// was woken too late, by a timer, has nothing to do any more: the lane is at work.
func (r *repository) next(as *workflow, over bool) (st step, rec notifications.Record, ok bool) {
	g := r.registry
	g.mu.Lock()
	defer g.mu.Unlock()
	w := r.work
	switch {
	case w == nil, w.pause, as != w.flow:
		return
	case g.o.engine.isStopped():
		if w.plan.begun && w.plan.at == w.plan.n {
			r.finish() // or it would come again
		}
		return
	case over && as != nil:
		g.o.engine.wake(as)
		return
	case over:
		g.o.engine.wake(r)
		return
	}
	for {
		if w.plan.begun && w.plan.at == w.plan.n {
			r.finish()
		}
		if !w.plan.begun {
			if w.flow != nil {
				w.flow = nil
				g.o.engine.wake(r)
				return
			}
			if !r.begin() {
				return
			}
			continue
		}
		st = w.plan.steps[w.plan.at]
		inFlow := w.plan.flow && st != stepEvent
		switch {
		case inFlow && w.flow == nil:
			w.flow = newWorkflow(r)
			g.o.engine.wake(w.flow)
			return
		case !inFlow && w.flow != nil:
			w.flow = nil
			g.o.engine.wake(r)
			return
		}
		return st, w.queue[0].record, true
	}
}

// begin begins what comes first, if there is something that does not have to wait. The
// caller holds the lock.
func (r *repository) begin() bool {
	g, w := r.registry, r.work
	if len(w.queue) == 0 {
		r.rest()
		return false
	}
	it := &w.queue[0]
	if !isClosed(w.dep.Wait) || it.after != nil && !isClosed(it.after.Wait) {
		g.blocked[r] = struct{}{}
		return false
	}
	e := it.record.Event
	switch it.kind {
	case itemEvent, itemAcquire:
		r.state.fold(e)
	case itemRelease:
		r.hand(it.to, e.Target.Repository)
	}
	w.plan = r.planFor(it)
	return true
}

// finish is the end of what was begun. The caller holds the lock.
func (r *repository) finish() {
	g, w := r.registry, r.work
	it := &w.queue[0]
	s := r.state
	if it.kind != itemRelease {
		s.Position = max(s.Position, it.record.Position)
		s.Error, s.Untold = "", false
		if err := w.plan.err; err != nil {
			s.Error = cut(err.Error())
		}
	}
	switch it.kind {
	case itemSettle:
		g.settling--
	case itemAcquire:
		it.after.Done() // from here on, its old name may be another's
		g.unblock()
	}
	*it = item{}
	w.queue = w.queue[1:]
	w.plan = plan{}
	g.o.handled()
}

// done returns the position up to which it is done with what it has to do; all that was loaded
// is in its state, and told from there. The caller holds the lock.
func (r *repository) done() uint64 {
	for i := range r.work.queue {
		if it := &r.work.queue[i]; it.kind != itemSettle {
			return it.record.Position - 1
		}
	}
	return math.MaxUint64
}

// rest is when there is nothing more to do. The caller holds the lock.
func (r *repository) rest() {
	g := r.registry
	r.work.dep.Done()
	r.work = nil
	r.goIfDeleted()
	g.unblock()
	if g.busy--; g.busy == 0 && g.waits > 0 {
		g.o.engine.wake(g)
	}
}

// goIfDeleted forgets a repository that is gone, when everybody knows it. The caller holds
// the lock.
func (r *repository) goIfDeleted() {
	g, s := r.registry, r.state
	if g.repos[s.Name] == r && s.Deleted && s.Told == Disabled && s.Error == "" {
		delete(g.repos, s.Name)
		g.touch(s.Name)
	}
}

// did is behind a step that has succeeded, or failed.
func (r *repository) did(st step, as *workflow, err error) {
	g := r.registry
	o := g.o
	g.mu.Lock()
	defer g.mu.Unlock()
	w, s := r.work, r.state
	if err == nil {
		st.onto(s)
		w.plan.at++
		w.plan.tries = 0
		return
	}
	if o.work.Err() != nil {
		w.pause = true // it comes again after the next start
		return
	}
	w.plan.tries++
	log := o.config.Logger.WithField("feed", g.name).WithField("repository", s.Name).WithError(err)
	if w.plan.tries > w.plan.retries {
		w.plan.err, w.plan.at = err, w.plan.n
		if st == stepMove || st == stepMoveIf || st == stepDisable {
			s.Initialized = false // nobody knows, but the Initializer
		}
		if w.queue[0].kind == itemRelease {
			log.Errorf("observer: %s failed; the repository is renamed all the same", st)
			return
		}
		log.Errorf("observer: %s failed; the next event tries again", st)
		return
	}
	log.Warnf("observer: %s failed; it is tried again", st)
	w.pause = true
	o.later(o.config.delay(w.plan.tries-1), func() {
		g.mu.Lock()
		w.pause = false
		g.mu.Unlock()
		o.engine.wake(r.who(as))
	})
}

// workflow is the activity that does what takes several steps, while the lane of its
// repository sleeps.
type workflow struct {
	schedule
	of *repository
}

func newWorkflow(r *repository) *workflow {
	return &workflow{schedule{kind: ofWorkflow}, r}
}

func (w *workflow) run() { w.of.drive(w) }
