package observer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// story is what a random program's events lead to, as who takes one after the other sees it.
type story struct {
	r       *rand.Rand
	renames bool
	names   []string
	there   map[string]*State
}

func newStory(r *rand.Rand, renames bool) *story {
	return &story{r: r, renames: renames, names: []string{"a", "b", "c", "d", "e", "f"}[:2+r.IntN(5)], there: make(map[string]*State)}
}

// next makes an event, of something that is there where it has to be, and has it happen.
func (w *story) next() *notifications.Event {
	name := w.names[w.r.IntN(len(w.names))]
	e := event(notifications.ActionPush, notifications.TypeManifest, name)
	t := &e.Target
	t.Digest = digest.FromString(fmt.Sprint(w.r.IntN(4)))
	s := w.there[name]
	which := w.r.IntN(11)
	if w.renames {
		which = w.r.IntN(16)
	}
	if s == nil && which > 3 {
		which = 0
	}
	switch which {
	case 0, 1, 2:
		t.Tag = fmt.Sprint("v", w.r.IntN(3))
	case 3:
		e.Action, t.Type, t.FromRepository = notifications.ActionMount, notifications.TypeBlob, "elsewhere"
	case 4:
		e.Action = notifications.ActionPull
	case 5:
		e.Action = notifications.ActionDelete
	case 6:
		e.Action, t.Type, t.Digest, t.Tag = notifications.ActionDelete, notifications.TypeTag, "", fmt.Sprint("v", w.r.IntN(3))
	case 7:
		e = removed(name)
	case 8:
		e = event(ActionFreeze, notifications.TypeRepository, name)
	case 9:
		e = event(ActionUnfreeze, notifications.TypeRepository, name)
	case 10:
		e = event("audit", "", name)
	case 11:
		e = rename("unheard-of", name)
	default:
		if to := w.names[w.r.IntN(len(w.names))]; to != name {
			e = rename(name, to)
		}
	}
	w.happens(e)
	return e
}

func (w *story) happens(e *notifications.Event) {
	name, from := e.Target.Repository, e.Target.FromRepository
	if e.Action == notifications.ActionRename {
		s := w.there[from]
		if s == nil {
			s = w.there[name] // who is there stays
		}
		if s == nil {
			s = new(State)
		}
		delete(w.there, from)
		s.Name = name
		w.there[name] = s
	}
	s := w.there[name]
	if s == nil {
		s = &State{Repository: Repository{"r", name}}
		w.there[name] = s
	}
	s.fold(e)
	if s.Deleted {
		delete(w.there, name)
	}
}

// stage is a Processor and an Initializer in which each call takes some time and may fail,
// and which notes what must not be.
type stage struct {
	config *Config
	fails  int // of a hundred calls

	mu       sync.Mutex // guards the rest
	r        *rand.Rand
	wrong    []string
	busy     map[string]bool
	at       [kinds]int // at once
	most     [kinds]int
	prepared map[string]bool
	events   map[uint64]int // how often Event has succeeded
}

func (s *stage) complain(format string, args ...any) { // the caller holds the lock
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// calledBy says whether a call is of a lane or of a workflow.
func calledBy() kind {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		switch {
		case strings.HasSuffix(f.Function, "(*workflow).run"):
			return ofWorkflow
		case strings.HasSuffix(f.Function, "(*repository).run"):
			return ofRepository
		case !more:
			return ofRegistry // which calls nobody
		}
	}
}

// call is one call, on some repositories; do is what it does if it does not fail.
func (s *stage) call(what string, do func(), on ...string) error {
	by := calledBy()
	s.mu.Lock()
	for _, name := range on {
		if s.busy[name] {
			s.complain("%s: %s is worked on already", what, name)
		}
		s.busy[name] = true
	}
	s.at[by]++
	s.most[by] = max(s.most[by], s.at[by])
	switch {
	case by == ofRegistry:
		s.complain("%s: neither a lane nor a workflow", what)
	case s.at[ofRepository] > s.config.Lanes, s.at[ofRepository]+s.at[ofWorkflow] > s.config.Activities:
		s.complain("%s: at once: %v, allowed are %d, of these %d lanes", what, s.at, s.config.Activities, s.config.Lanes)
	}
	took, chance := time.Duration(s.r.Int64N(int64(time.Second))), s.r.IntN(200)
	s.mu.Unlock()
	if took%4 > 0 {
		time.Sleep(took)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range on {
		s.busy[name] = false
	}
	s.at[by]--
	switch {
	case chance < s.fails:
		return errors.New("by chance")
	case chance < 2*s.fails:
		panic("by chance")
	}
	do()
	return nil
}

// here notes if nothing was prepared for a repository that is acted on.
func (s *stage) here(what, name string) func() {
	return func() {
		if s.config.Initializer != nil && !s.prepared[name] {
			s.complain("%s %s: is not prepared", what, name)
		}
	}
}

func (s *stage) Enable(_ context.Context, st *State) error {
	return s.call("enable", s.here("enable", st.Name), st.Name)
}

func (s *stage) Disable(_ context.Context, st *State) error {
	return s.call("disable", func() {}, st.Name)
}

func (s *stage) Freeze(_ context.Context, st *State) error {
	return s.call("freeze", s.here("freeze", st.Name), st.Name)
}

func (s *stage) Unfreeze(_ context.Context, st *State) error {
	return s.call("unfreeze", s.here("unfreeze", st.Name), st.Name)
}

func (s *stage) Event(_ context.Context, st *State, rec notifications.Record) error {
	return s.call("event", func() {
		s.events[rec.Position]++
		if rec.Event.Target.Repository != st.Name {
			s.complain("event %d of %s comes for %s", rec.Position, rec.Event.Target.Repository, st.Name)
		}
	}, st.Name)
}

func (s *stage) Get(_ context.Context, r Repository) (ok bool, err error) {
	err = s.call("get", func() { ok = s.prepared[r.Name] }, r.Name)
	return ok, err
}

func (s *stage) Init(_ context.Context, r Repository) error {
	return s.call("init", func() { s.prepared[r.Name] = true }, r.Name)
}

func (s *stage) Move(_ context.Context, from, to Repository) error {
	return s.call("move", func() {
		delete(s.prepared, from.Name)
		s.prepared[to.Name] = true
	}, from.Name, to.Name)
}

// TestPrograms runs observers over random programs: what happens to a few repositories, at
// small limits, with calls that take their time, fail and panic. All of it finishes; the
// limits hold, inside of the calls; nobody is called twice at once for one repository; and
// what is stored in the end is what the events lead to, one after another.
func TestPrograms(t *testing.T) {
	t.Run("renames in chains and rings", func(t *testing.T) { testPrograms(t, true, 1) })
	t.Run("ends and new starts", func(t *testing.T) { testPrograms(t, false, 3) })
	t.Run("both", func(t *testing.T) { testPrograms(t, true, 3) })
}

// testPrograms starts an observer up to some times.
func testPrograms(t *testing.T, renames bool, mostLives int) {
	var told, full, lives int
	n := eachSeed(t, 300, func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		w, feed, store := newStory(r, renames), new(sinktest.Feed), new(memory)
		config := Config{
			Feeds: map[string]notifications.Feed{"r": feed}, Store: store, Logger: quiet(),
			Activities: 2 + r.IntN(19), Retries: r.IntN(4) - 1, MaxPending: 1 + r.IntN(40),
			SaveInterval: 1 + time.Duration(r.Int64N(int64(5*time.Second))), Grace: time.Hour,
		}
		config.Lanes = 1 + r.IntN(config.Activities-1)
		s := &stage{
			config: &config, r: rand.New(rand.NewPCG(seed, 3)),
			busy: make(map[string]bool), prepared: make(map[string]bool), events: make(map[uint64]int),
		}
		config.Processor = s
		if r.IntN(3) > 0 {
			config.Initializer = s
		}
		if r.IntN(2) == 0 {
			s.fails = 1 + r.IntN(40)
		}
		var history []string
		defer func() {
			if t.Failed() {
				t.Logf("%d activities, %d lanes, %d of 100 calls fail:\n%s", config.Activities, config.Lanes, s.fails, strings.Join(history, "\n"))
			}
		}()
		write := func(most int) {
			for range r.IntN(most) {
				e := w.next()
				history = append(history, fmt.Sprint(feed.Last()+1, " ", e.Action, " ", e.Target.Type, " ", e.Target.Repository, ":", e.Target.Tag, " ", e.Target.FromRepository))
				require.NoError(t, feed.Write(t.Context(), e))
			}
		}
		write(20)
		var live uint64 // behind which everything has to be told as it happens
		for life := r.IntN(mostLives); life >= 0; life-- {
			lives++
			history = append(history, "start")
			o, err := New(config)
			require.NoError(t, err)
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- o.Watch(ctx) }()
			watches := r.IntN(4) > 0
			if watches {
				until(t, func() bool { return !o.Stat()["r"].Loading }, "loaded")
				live = feed.Last()
			}
			for range r.IntN(6) {
				write(12)
				time.Sleep(time.Duration(r.Int64N(int64(3 * time.Second))))
			}
			if life == 0 {
				until(t, func() bool {
					now := o.Stat()["r"]
					return !now.Loading && now.Position == feed.Last()
				}, "seed %d: done: %+v of %d, running and ready: %v", seed, o.Stat(), feed.Last(), fmt.Sprint(o.engine.count()))
			}
			if !watches || life > 0 {
				live = feed.Last()
			}
			history = append(history, "end")
			end()
			require.NoError(t, <-ended)
			for _, key := range slices.Sorted(maps.Keys(store.all)) {
				history = append(history, key+": "+string(store.all[key]))
			}
			active, _ := o.engine.count()
			require.Zero(t, active)
		}
		require.Empty(t, s.wrong)
		agrees(t, store, w.there)
		if s.fails == 0 {
			for at := live + 1; at <= feed.Last(); at++ {
				require.Equal(t, 1, s.events[at], "how often event %d was told", at)
			}
		}
		told += len(s.events)
		if s.most[ofRepository] == config.Lanes {
			full++
		}
	})
	if n >= 1000 {
		assert.Greater(t, full, n/20, "programs that come up to the limit of lanes")
	}
	t.Logf("%d programs, %d starts, %d events told; %d come up to the limit of lanes", n, lives, told, full)
}

// until waits, in a test's own time, which costs nothing.
func until(t *testing.T, ok func() bool, what string, args ...any) {
	t.Helper()
	for range 10_000 {
		if synctest.Wait(); ok() {
			return
		}
		time.Sleep(time.Second)
	}
	require.FailNow(t, "it never ends: "+fmt.Sprintf(what, args...))
}

// agrees compares what is stored with what has to be.
func agrees(t *testing.T, store *memory, want map[string]*State) {
	t.Helper()
	got := make(map[string]*State)
	for key, value := range store.all {
		if !strings.HasPrefix(key, stateKey) {
			continue
		}
		s := new(State)
		require.NoError(t, json.Unmarshal(value, s))
		require.Equal(t, key, s.key())
		if s.Error == "" {
			require.Equal(t, s.now(), s.Told, "%s", value)
		}
		if s.Deleted {
			continue // it could not be told, or Watch ended before it was forgotten
		}
		got[s.Name] = s
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	for name, w := range want {
		g := got[name]
		require.Equal(t, fmt.Sprint(w.Tags, w.Manifests, w.Frozen, w.Last.ID), fmt.Sprint(g.Tags, g.Manifests, g.Frozen, g.Last.ID), name)
	}
}

// TestLanesWaitForWorkflows: at the limits as they are by default, and at the smallest, lanes
// that all wait for their workflows leave room for these: as much as there is.
func TestLanesWaitForWorkflows(t *testing.T) {
	for _, limits := range [][2]int{{20, 10}, {2, 1}, {3, 2}, {20, 19}} {
		synctest.Test(t, func(t *testing.T) {
			feed := new(sinktest.Feed)
			config := Config{Feeds: map[string]notifications.Feed{"r": feed}, Store: new(memory), Logger: quiet(), Activities: limits[0], Lanes: limits[1]}
			s := &stage{config: &config, r: rand.New(rand.NewPCG(1, 1)), busy: make(map[string]bool), prepared: make(map[string]bool), events: make(map[uint64]int)}
			config.Processor, config.Initializer = s, s
			o, err := New(config)
			require.NoError(t, err)
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- o.Watch(ctx) }()
			until(t, func() bool { return !o.Stat()["r"].Loading }, "loaded")
			for i := range 100 {
				name := fmt.Sprint("repository", i)
				require.NoError(t, feed.Write(t.Context(), push(name, "v1"), event(ActionFreeze, notifications.TypeRepository, name)))
			}
			for i := range 100 { // for a rename everything waits
				name := fmt.Sprint("repository", i)
				require.NoError(t, feed.Write(t.Context(), rename(name, name+"x"), rename(name+"x", name)))
			}
			until(t, func() bool { return o.Stat()["r"].Position == 400 }, "done")
			end()
			require.NoError(t, <-ended)
			assert.Empty(t, s.wrong)
			assert.Equal(t, limits[0], s.most[ofWorkflow], "lanes that sleep take up nothing")
			assert.Len(t, s.events, 400)
		})
	}
}
