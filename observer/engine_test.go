package observer

import (
	"cmp"
	"flag"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	seedsFlag = flag.Int("seeds", 0, "how many random programs are tried; zero means 10,000 of the engine and 300 each of observers")
	seedFlag  = flag.Uint64("seed", 0, "try the program of this `seed` alone; zero tries -seeds of them")
)

// eachSeed tries as many programs as it is told to, each in a time of its own, and returns
// how many.
func eachSeed(t *testing.T, n int, try func(t *testing.T, seed uint64)) int {
	t.Helper()
	if *seedsFlag > 0 {
		n = *seedsFlag
	}
	first, last := uint64(1), uint64(n)
	if *seedFlag > 0 {
		first, last = *seedFlag, *seedFlag
	}
	for seed := first; seed <= last && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("that was -seed=%d", seed)
				}
			}()
			try(t, seed)
		})
	}
	return int(last-first) + 1
}

// actor is an activity that does what a program says.
type actor struct {
	schedule
	do func()
}

func (a *actor) run() { a.do() }

// engineProgram is what some activities do, and when they are woken by others. Its lengths of
// time are by chance, and so many that hardly two things happen at once.
type engineProgram struct {
	limit, lanes int
	kinds        []kind
	wakes        []wakeUp
	runs         [][]oneRun // of each activity, what its first, second … run does
}

type wakeUp struct {
	at time.Duration
	of int
}

type oneRun struct {
	before, after time.Duration // a wake in the middle
	wakes         int           // below zero: nobody
}

func newEngineProgram(seed uint64) *engineProgram {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &engineProgram{limit: 2 + r.IntN(19)}
	p.lanes = 1 + r.IntN(p.limit-1)
	n := 1 + r.IntN(2*p.limit)
	length := func(most time.Duration) time.Duration { return 1 + time.Duration(r.Int64N(int64(most))) }
	for range n {
		p.kinds = append(p.kinds, kind(r.IntN(int(kinds))))
	}
	// From hardly anything at once to all at once.
	span := time.Hour >> r.IntN(8)
	for range r.IntN(40) {
		p.wakes = append(p.wakes, wakeUp{length(span), r.IntN(n)})
	}
	slices.SortFunc(p.wakes, func(a, b wakeUp) int { return cmp.Compare(a.at, b.at) })
	for range n {
		var runs []oneRun
		for range 40 {
			one := oneRun{before: length(time.Hour), after: length(time.Hour), wakes: -1}
			if r.IntN(3) == 0 {
				one.wakes = r.IntN(n)
			}
			runs = append(runs, one)
		}
		p.runs = append(p.runs, runs)
	}
	return p
}

// run returns what an activity's k-th run does: behind the last that is planned nothing is
// woken any more, so that each program ends.
func (p *engineProgram) run(of, k int) oneRun {
	if k < len(p.runs[of]) {
		return p.runs[of][k]
	}
	return oneRun{before: time.Minute, after: time.Minute, wakes: -1}
}

// expected is when each run of each activity has to start, by the plainest engine there is:
// a list of those that are ready, in the order in which they became so, and of all that may
// run the first one does. It says as well whether two things happen at once, in whatever
// order.
func (p *engineProgram) expected() (starts [][]time.Duration, atOnce bool) {
	type what struct {
		at time.Duration
		do func()
	}
	var agenda []what
	plan := func(at time.Duration, do func()) { agenda = append(agenda, what{at, do}) }

	starts = make([][]time.Duration, len(p.kinds))
	phases := make([]phase, len(p.kinds))
	var list []int
	var now time.Duration
	active, inLanes := 0, 0
	var dispatch func()
	wake := func(i int) {
		switch phases[i] {
		case asleep:
			phases[i] = ready
			list = append(list, i)
		case running:
			phases[i] = again
		}
		dispatch()
	}
	end := func(i int) {
		active--
		if p.kinds[i] == ofRepository {
			inLanes--
		}
		was := phases[i]
		phases[i] = asleep
		if was == again {
			wake(i)
		}
		dispatch()
	}
	dispatch = func() {
		for at := 0; at < len(list) && active < p.limit; at++ {
			i := list[at]
			if p.kinds[i] == ofRepository {
				if inLanes == p.lanes {
					continue
				}
				inLanes++
			}
			active++
			phases[i] = running
			list = slices.Delete(list, at, at+1)
			at--
			one := p.run(i, len(starts[i]))
			starts[i] = append(starts[i], now)
			if one.wakes >= 0 {
				plan(now+one.before, func() { wake(one.wakes) })
			}
			plan(now+one.before+one.after, func() { end(i) })
		}
	}
	for _, w := range p.wakes {
		plan(w.at, func() { wake(w.of) })
	}
	for len(agenda) > 0 {
		next := 0
		for i := range agenda {
			if agenda[i].at < agenda[next].at {
				next = i
			}
		}
		it := agenda[next]
		agenda = slices.Delete(agenda, next, next+1)
		atOnce = atOnce || it.at == now
		now = it.at
		it.do()
	}
	return starts, atOnce
}

// TestEngine compares the engine with the plainest one there is, over random programs of
// activities that sleep, run, and wake each other and themselves. So no wake is lost, none
// runs twice at once, the limits are kept and used up, and who was woken first runs first.
func TestEngine(t *testing.T) {
	runs, waited := 0, 0
	n := eachSeed(t, 10_000, func(t *testing.T, seed uint64) {
		p := newEngineProgram(seed)
		want, atOnce := p.expected()
		if atOnce {
			return // any order is right
		}
		e := &engine{limit: p.limit, lanes: p.lanes}
		got := make([][]time.Duration, len(p.kinds))
		var active, inLanes, most atomic.Int32
		began := time.Now()
		all := make([]*actor, len(p.kinds))
		for i := range all {
			busy := false // the race detector watches it, too
			all[i] = &actor{schedule: schedule{kind: p.kinds[i]}}
			all[i].do = func() {
				assert.False(t, busy, "twice at once")
				busy = true
				assert.LessOrEqual(t, active.Add(1), int32(p.limit))
				if p.kinds[i] == ofRepository {
					assert.LessOrEqual(t, inLanes.Add(1), int32(p.lanes))
					defer inLanes.Add(-1)
				}
				most.Store(max(most.Load(), active.Load()))
				one := p.run(i, len(got[i]))
				got[i] = append(got[i], time.Since(began))
				time.Sleep(one.before)
				if one.wakes >= 0 {
					e.wake(all[one.wakes])
				}
				time.Sleep(one.after)
				active.Add(-1)
				busy = false
			}
		}
		for _, w := range p.wakes {
			time.Sleep(w.at - time.Since(began))
			e.wake(all[w.of])
		}
		synctest.Wait()
		e.ended.Wait()
		nowActive, waiting := e.count()
		assert.Zero(t, nowActive+waiting)
		require.Equal(t, want, got)
		for i := range got {
			runs += len(got[i])
		}
		if int(most.Load()) == p.limit {
			waited++
		}
	})
	if n >= 1000 {
		assert.Greater(t, waited, n/20, "programs that come up to the limit")
	}
	t.Logf("%d programs, %d runs; %d come up to the limit", n, runs, waited)
}

// TestEngineIsFair: feeds that always have more to read keep neither lanes nor workflows
// from running, and the other way about.
func TestEngineIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &engine{limit: 3, lanes: 2}
		var turns [kinds][4]int
		for k := range kinds {
			for i := range turns[k] {
				a := &actor{schedule: schedule{kind: k}}
				a.do = func() {
					turns[k][i]++
					time.Sleep(time.Second)
					e.wake(a)
				}
				e.wake(a)
			}
		}
		time.Sleep(time.Hour)
		e.stop()
		assert.True(t, e.isStopped())
		e.ended.Wait()
		for k := range kinds {
			for i := range turns[k] {
				// Three runs a second, and twelve that want to run.
				assert.InDelta(t, 900, turns[k][i], 10, "kind %d, number %d", k, i)
			}
		}
		_, waiting := e.count()
		assert.Equal(t, 12, waiting)
	})
}

// TestFIFO: as a queue goes up and down, it does not grow beyond twice what is in it.
func TestFIFO(t *testing.T) {
	var f fifo
	r := rand.New(rand.NewPCG(1, 1))
	var in, out uint64
	for range 10_000 {
		if r.IntN(2) == 0 || f.len() == 0 {
			in++
			f.push(turnOf{number: in})
			require.LessOrEqual(t, len(f.all), 2*f.len()+1)
		} else {
			out++
			require.Equal(t, out, f.first().number)
			f.pop()
		}
		require.Equal(t, int(in-out), f.len())
	}
}
