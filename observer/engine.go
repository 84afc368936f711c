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
	ofWorkflow kind = iota
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
	woken   uint64 // how many were ever put into a queue
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
		e.push(a, s)
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

// work runs an activity, and then others, until there is none to run. One that ends leaves
// room for one other: those that wait besides still have to.
func (e *engine) work(a activity) {
	defer e.ended.Done()
	defer func() {
		if a != nil { // it has ended this goroutine
			e.mu.Lock()
			defer e.mu.Unlock()
			e.rest(a)
			e.dispatch()
		}
	}()
	for a != nil {
		a.run()
		e.mu.Lock()
		e.rest(a)
		a = e.take()
		e.mu.Unlock()
	}
}

// push puts an activity behind all that are ready. The caller holds the lock.
func (e *engine) push(a activity, s *schedule) {
	s.phase = ready
	e.woken++
	e.queues[s.kind].push(turnOf{a, e.woken})
}

// take takes the activity that is ready for longest, of those that may run, or nil. No kind
// goes first: feeds that always have more would keep lanes from running for ever. The caller
// holds the lock.
func (e *engine) take() activity {
	if e.stopped || e.active >= e.limit {
		return nil
	}
	var from *fifo
	for k := range e.queues {
		q := &e.queues[k]
		if q.len() == 0 || kind(k) == ofRepository && e.inLanes >= e.lanes {
			continue
		}
		if from == nil || q.first().number < from.first().number {
			from = q
		}
	}
	if from == nil {
		return nil
	}
	a := from.first().activity
	from.pop()
	s := a.times()
	s.phase = running
	e.active++
	if s.kind == ofRepository {
		e.inLanes++
	}
	return a
}

// rest has an activity sleep, or wait for its next turn. The caller holds the lock.
func (e *engine) rest(a activity) {
	s := a.times()
	e.active--
	if s.kind == ofRepository {
		e.inLanes--
	}
	if s.phase == again {
		e.push(a, s)
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
	all  []turnOf
	from int // what is in front of it was taken
}

// turnOf is an activity that is ready. Numbers grow, over all queues.
type turnOf struct {
	activity activity
	number   uint64
}

func (f *fifo) len() int { return len(f.all) - f.from }

func (f *fifo) push(t turnOf) {
	if f.from > len(f.all)/2 {
		n := copy(f.all, f.all[f.from:])
		clear(f.all[n:])
		f.all, f.from = f.all[:n], 0
	}
	f.all = append(f.all, t)
}

// first returns the one that was pushed first, of those that are left.
func (f *fifo) first() *turnOf { return &f.all[f.from] }

// pop drops it.
func (f *fifo) pop() {
	f.all[f.from] = turnOf{}
	f.from++
}
