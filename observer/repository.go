package observer

import (
	"strings"

	"github.com/registry-notifications/notifications"
)

// repository is the activity of one repository, its lane: it does what there is to do, in
// order. Its fields are guarded by its registry's lock; the state may be read without by who
// is at work on it.
type repository struct {
	schedule
	ended   bool // its name is no longer its own
	moving  bool // its state comes from another name, and is not to be stored yet
	stored  bool // the store has a state of it
	changed bool // since that was taken
	news    bool // something was loaded that its Processor does not know of

	registry *registry
	state    *State // nil until another has handed it over
	upTo     uint64 // position of the last event that was loaded
	since    uint64 // position of the first event that the store does not know of; zero: none
	work     *work  // nil while there is none
}

// work is what a repository has to do.
type work struct {
	queue []item    // the first is begun, if plan says so
	dep   *Dep      // in the chain of its name
	flow  *workflow // at work now, while the lane sleeps
	pause bool      // what failed is tried again later
	plan  plan

	heir     *repository // who was given the state
	released bool        // and may take over
}

// item is something to do for a repository.
type item struct {
	kind   itemKind
	record notifications.Record
	to     *repository // of a release: who takes over, if somebody does
	from   *repository // of an acquisition: who releases it
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

// add gives it something to do under a name. While loading, an event is folded at once. The
// caller holds the lock.
func (r *repository) add(name string, it item) {
	g := r.registry
	if r.since == 0 {
		r.since = it.record.Position
		g.dirty[r] = struct{}{}
	}
	if g.loading {
		r.upTo = it.record.Position
		r.news = r.state.fold(it.record.Event) || r.news
		return
	}
	g.o.pending.Add(1)
	if r.work == nil {
		r.work = &work{dep: g.chain.Next(name)}
		g.busy++
	}
	r.work.queue = append(r.work.queue, it)
	g.o.engine.wake(r)
}

// settle has what was loaded be acted on, once. The caller holds the lock.
func (r *repository) settle() {
	if r.ended {
		return
	}
	s, news := r.state, r.news
	r.news = false
	if !news && s.Error == "" && s.Told == s.now() {
		s.Position = max(s.Position, r.upTo)
		r.goIfDeleted()
		return
	}
	r.registry.settling++
	r.add(s.Name, item{kind: itemSettle, record: notifications.Record{Position: r.upTo}})
}

// end takes its name from it: it does what it still has to do, and no more. The caller
// holds the lock.
func (r *repository) end() {
	r.ended = true
	r.registry.o.engine.wake(r)
}

// isKnown says whether the store, the Initializer or the Processor may have heard of it. The
// caller holds the lock.
func (r *repository) isKnown() bool {
	return r.registry.o.crashed || r.stored || r.work != nil || r.state.Initialized || r.state.Told != ""
}

// giveUp gives what was loaded to another, if there is one, and is no more. The caller holds
// the lock.
func (r *repository) giveUp(to *repository, name string) {
	r.ended = true
	delete(r.registry.dirty, r)
	if to != nil {
		r.state.Name = name
		to.state, to.news, to.upTo, to.since = r.state, true, r.upTo, r.since
		r.registry.dirty[to] = struct{}{}
	}
}

// hand gives the state to another, if there is one, under its name, and keeps what is left.
// The caller holds the lock.
func (r *repository) hand(to *repository, name string) {
	s := r.state
	r.state = s.released()
	if to != nil {
		s.Name, s.Told, s.Deleted = strings.Clone(name), "", false
		to.state = s
		r.work.heir = to
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
		r.did(st, as, r.registry.o.call(st, r.state, rec))
	}
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
			r.done() // or it would come again
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
			r.done()
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
	if !isClosed(w.dep.Wait) || it.from != nil && !it.from.work.released {
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

// done is the end of what was begun. The caller holds the lock.
func (r *repository) done() {
	g, w := r.registry, r.work
	it := w.queue[0]
	s := r.state
	if it.kind != itemRelease {
		s.Position = max(s.Position, it.record.Position)
		s.Error = ""
		if err := w.plan.err; err != nil {
			s.Error = cut(err.Error())
		}
	} else if err := w.plan.err; err != nil && it.to != nil {
		it.to.state.Error = cut(err.Error())
	}
	switch it.kind {
	case itemRelease:
		w.released = true
		g.unblock()
	case itemSettle:
		g.settling--
	case itemAcquire:
		r.moving = false
		it.from.work.dep.Done() // from here on, its old name may be another's
		g.unblock()
	}
	r.changed = true
	w.queue[0] = item{}
	w.queue = w.queue[1:]
	w.plan = plan{}
	g.o.handled()
}

// rest is when there is nothing more to do. The caller holds the lock.
func (r *repository) rest() {
	g, w := r.registry, r.work
	if w.queue == nil {
		return // it has ended, and was woken once more
	}
	w.queue = nil
	if g.busy--; g.busy == 0 && g.waits {
		g.o.saveNow()
	}
	if !r.ended {
		w.dep.Done()
		r.work = nil
		r.goIfDeleted()
		return
	}
	if w.heir == nil {
		w.dep.Done()
		g.unblock() // who has its name
	}
}

// goIfDeleted forgets a repository that is gone, when everybody knows it. The caller holds
// the lock.
func (r *repository) goIfDeleted() {
	if r.isForgettable() {
		r.ended = true
		delete(r.registry.repos, r.state.Name)
	}
}

// isForgettable says whether there is nothing that anybody has still to be told. The caller
// holds the lock.
func (r *repository) isForgettable() bool {
	s := r.state
	return !r.ended && s.Told == Disabled && s.Deleted && s.Error == ""
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
		if st == stepMove {
			s.Initialized = false
		}
		log.Errorf("observer: %s failed; the next event tries again", st)
		return
	}
	log.Warnf("observer: %s failed; it is tried again", st)
	w.pause = true
	var who activity = r
	if as != nil {
		who = as
	}
	o.later(o.config.delay(w.plan.tries-1), func() {
		g.mu.Lock()
		w.pause = false
		g.mu.Unlock()
		o.engine.wake(who)
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
