package observer

import "sync"

// activity is something that has work at times, and sleeps in between without a goroutine.
type activity interface {
	// run does what there is to do now. It is never called twice at once.
	run()
	times() *schedule
}

// schedule is what the engine knows of an activity.
type schedule struct {
	kind  kind
	phase phase // guarded by the engine's lock
}

func (s *schedule) times() *schedule { return s }

// kind is whose limit an activity counts against.
type kind uint8

const (
	ofWorkflow kind = iota // first, because a lane sleeps until it has ended
	ofRegistry
	ofRepository // a lane
	kinds
)

type phase uint8

const (
	asleep phase = iota
	ready
	running
	again // runs, and has to run once more
)

// engine runs activities that have something to do, in the order in which they were woken,
// so many at once. Those of a kind that has reached its limit wait without keeping others
// from running.
type engine struct {
	limit, lanes int // at once: activities, and repositories among them

	mu      sync.Mutex // guards the rest
	queues  [kinds]fifo
	active  int
	inLanes int
	stopped bool
	ended   sync.WaitGroup
}

// wake has an activity run, after now: if it runs already, once more.
func (e *engine) wake(a activity) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch s := a.times(); s.phase {
	case asleep:
		s.phase = ready
		e.queues[s.kind].push(a)
	case running:
		s.phase = again
	}
	e.dispatch()
}

// dispatch starts goroutines for those that are ready, as far as the limits allow it. The
// caller holds the lock.
func (e *engine) dispatch() {
	for a := e.take(); a != nil; a = e.take() {
		e.ended.Add(1)
		go e.work(a)
	}
}

// work runs an activity, and then others, until there is none to run.
func (e *engine) work(a activity) {
	defer e.ended.Done()
	for a != nil {
		a.run()
		e.mu.Lock()
		e.rest(a)
		a = e.take()
		e.dispatch() // what this one has kept from running
		e.mu.Unlock()
	}
}

// take takes the next activity that may run, or nil. The caller holds the lock.
func (e *engine) take() activity {
	if e.stopped || e.active >= e.limit {
		return nil
	}
	for k := range e.queues {
		if kind(k) == ofRepository && e.inLanes >= e.lanes {
			continue
		}
		if a := e.queues[k].pop(); a != nil {
			a.times().phase = running
			e.active++
			if kind(k) == ofRepository {
				e.inLanes++
			}
			return a
		}
	}
	return nil
}

// rest has an activity sleep, or wait for its next turn. The caller holds the lock.
func (e *engine) rest(a activity) {
	s := a.times()
	e.active--
	if s.kind == ofRepository {
		e.inLanes--
	}
	if s.phase == again {
		s.phase = ready
		e.queues[s.kind].push(a)
		return
	}
	s.phase = asleep
}

// stop starts nothing any more. What runs may look at isStopped.
func (e *engine) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
}

func (e *engine) isStopped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stopped
}

// count returns how many activities run, and how many are ready to.
func (e *engine) count() (active, waiting int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k := range e.queues {
		waiting += e.queues[k].len()
	}
	return e.active, waiting
}

// fifo is a queue of activities.
type fifo struct {
	all  []activity
	from int // what is in front of it was taken
}

func (f *fifo) len() int { return len(f.all) - f.from }

func (f *fifo) push(a activity) {
	if f.from > len(f.all)/2 {
		n := copy(f.all, f.all[f.from:])
		clear(f.all[n:])
		f.all, f.from = f.all[:n], 0
	}
	f.all = append(f.all, a)
}

func (f *fifo) pop() activity {
	if f.from == len(f.all) {
		return nil
	}
	a := f.all[f.from]
	f.all[f.from] = nil
	f.from++
	return a
}
