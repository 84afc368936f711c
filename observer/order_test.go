package observer

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

var (
	long       = flag.Bool("long", false, "look longer: more events, more lives, and what is measured by time")
	chanceSeed = flag.Uint64("chance.seed", 0, "`seed` of what is by chance; zero makes one")
)

// chance returns a source of chance, of which the seed is logged.
func chance(t testing.TB) *rand.Rand {
	s := *chanceSeed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-chance.seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// TestOrder has a model say, from what is written to three feeds, what has to be called for
// each repository, and in what order, while 64 lanes are at work, calls fail and panic,
// repositories change names in chains and rings, are deleted and pushed again. The observer
// ends in between and starts again, and part of the events comes while it is away.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name     string
		prepares bool
		share    int // of the events
	}{{"prepares", true, 4}, {"prepares nothing", false, 1}} {
		t.Run(c.name, func(t *testing.T) {
			total := 8000 * c.share
			if *long {
				total *= 25
			}
			testOrder(t, c.prepares, total)
		})
	}
}

func testOrder(t *testing.T, prepares bool, total int) {
	const rounds = 4
	random := chance(t)
	worlds := make(map[string]*world)
	config := Config{
		Feeds: make(map[string]notifications.Feed), Store: new(memory), Prefixes: []string{"o"}, Logger: quiet(),
		Activities: 65, Lanes: 64, Retries: 1000, Backoff: time.Microsecond, MaxBackoff: time.Millisecond,
		MaxPending: 4096, SaveInterval: time.Millisecond,
	}
	for _, name := range []string{"f0", "f1", "f2"} {
		worlds[name] = newWorld(name, random, prepares)
		config.Feeds[name] = worlds[name].feed
	}
	c := &checker{logs: make(map[string][]call), busy: make(map[string]bool), storage: make(map[string]bool)}
	config.Processor = c
	if prepares {
		config.Initializer = c
	}
	names := slices.Sorted(maps.Keys(worlds))
	write := func(events int) {
		for events > 0 {
			w := worlds[names[random.IntN(len(names))]]
			block := w.block(1 + random.IntN(300))
			require.NoError(t, w.feed.Write(t.Context(), block...))
			events -= len(block)
		}
	}
	for range rounds {
		for _, w := range worlds {
			w.loading = true
		}
		write(total / rounds / 5) // while it is away
		o, err := New(config)
		require.NoError(t, err)
		ctx, end := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- o.Watch(ctx) }()
		settled := func(ok func(name string, s Stat) bool) {
			sinktest.Eventually(t, func() bool {
				for name, s := range o.Stat() {
					if !ok(name, s) {
						return false
					}
				}
				return true
			}, "settled: %+v", o.Stat())
		}
		func() {
			defer func() {
				end()
				require.NoError(t, <-ended)
			}()
			settled(func(_ string, s Stat) bool { return !s.Loading })
			for _, w := range worlds {
				w.settle()
			}
			for left := total / rounds * 4 / 5; left > 0; left -= 10_000 {
				write(min(left, 10_000))
				settled(func(name string, s Stat) bool { return s.Read+50_000 > worlds[name].last })
			}
			settled(func(name string, s Stat) bool { return s.Position == worlds[name].last })
		}()
		// The worlds have different feeds, and are checked each time: a long run fails early.
		c.check(t, worlds)
		if t.Failed() {
			return
		}
	}
	calls := 0
	for _, log := range c.logs {
		calls += len(log)
	}
	moves := 0
	for name, w := range worlds {
		w.checkStates(t, config.Store.(*memory), name)
		moves += w.moves
	}
	assert.NotZero(t, c.failures)
	assert.NotZero(t, c.panics)
	t.Logf("%d events, %d renames, %d calls, %d failures, %d panics, at most %d calls at once",
		worlds["f0"].last+worlds["f1"].last+worlds["f2"].last, moves, calls, c.failures, c.panics, c.most)
}

// The calls that are counted.
const (
	callFound    = "found" // Get, if something was prepared
	callInit     = "init"
	callMove     = "move"
	callEnable   = "enable"
	callDisable  = "disable"
	callFreeze   = "freeze"
	callUnfreeze = "unfreeze"
	callEvent    = "event"
)

// call is one that was expected, or made.
type call struct {
	what       string
	position   uint64 // of an event
	from, to   string // of a move
	entity     *entity
	begin, end int64 // when it was made, in ticks
}

func (c call) same(d call) bool {
	return c.what == d.what && c.position == d.position && c.from == d.from && c.to == d.to
}

func (c call) String() string {
	return fmt.Sprint(strings.TrimSpace(fmt.Sprintf("%s %s %s", c.what, c.from, c.to)), " ", c.position)
}

// checker is a Processor and an Initializer that writes down, by feed and name, which calls
// have succeeded.
type checker struct {
	mu       sync.Mutex // guards the rest
	tick     int64
	logs     map[string][]call
	busy     map[string]bool // names of which a call is under way
	storage  map[string]bool // what is prepared
	faults   []string
	failures int
	panics   int
	now      int
	most     int
}

var errChance = errors.New("by chance")

func (c *checker) fault(format string, args ...any) {
	if len(c.faults) < 10 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
}

func (c *checker) enter(names []string) (begin int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range names {
		if c.busy[n] {
			c.fault("%s: two calls at once", n)
		}
		c.busy[n] = true
	}
	c.now++
	c.most = max(c.most, c.now)
	c.tick++
	return c.tick
}

func (c *checker) leave(names []string, do func(*call), made *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now--
	for _, n := range names {
		c.busy[n] = false
	}
	if made == nil {
		return
	}
	if do != nil {
		do(made)
	}
	if made.what == "" {
		return
	}
	c.tick++
	made.end = c.tick
	for _, n := range names {
		c.logs[n] = append(c.logs[n], *made)
	}
}

// call is any call: it takes its time, and fails at times. What it does, it does in the end.
func (c *checker) call(made call, do func(*call), names ...string) error {
	made.begin = c.enter(names)
	done := (*call)(nil)
	defer func() { c.leave(names, do, done) }()
	switch n := rand.IntN(1000); {
	case n < 30:
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
	case n < 60:
		c.mu.Lock()
		c.failures++
		c.mu.Unlock()
		return errChance
	case n < 62:
		c.mu.Lock()
		c.panics++
		c.mu.Unlock()
		panic("by chance")
	}
	done = &made
	return nil
}

func (c *checker) told(what string, s *State) error {
	return c.call(call{what: what}, nil, s.Feed+"/"+s.Name)
}

func (c *checker) Enable(_ context.Context, s *State) error   { return c.told(callEnable, s) }
func (c *checker) Disable(_ context.Context, s *State) error  { return c.told(callDisable, s) }
func (c *checker) Freeze(_ context.Context, s *State) error   { return c.told(callFreeze, s) }
func (c *checker) Unfreeze(_ context.Context, s *State) error { return c.told(callUnfreeze, s) }

func (c *checker) Event(_ context.Context, s *State, r notifications.Record) error {
	check := func(*call) {
		if s.Last.ID != r.Event.ID || s.Name != r.Event.Target.Repository {
			c.fault("%s: state at %s for event %d", s.Name, s.Last.ID, r.Position)
		}
	}
	return c.call(call{what: callEvent, position: r.Position}, check, s.Feed+"/"+s.Name)
}

func (c *checker) Get(_ context.Context, r Repository) (prepared bool, err error) {
	name := r.Feed + "/" + r.Name
	err = c.call(call{}, func(made *call) {
		if prepared = c.storage[name]; prepared {
			made.what = callFound
		}
	}, name)
	return prepared, err
}

func (c *checker) Init(_ context.Context, r Repository) error {
	name := r.Feed + "/" + r.Name
	return c.call(call{what: callInit}, func(*call) { c.storage[name] = true }, name)
}

func (c *checker) Move(_ context.Context, from, to Repository) error {
	a, b := from.Feed+"/"+from.Name, to.Feed+"/"+to.Name
	return c.call(call{what: callMove, from: a, to: b}, func(*call) {
		if !c.storage[a] {
			c.fault("nothing to move from %s to %s", a, b)
		}
		delete(c.storage, a)
		c.storage[b] = true
	}, a, b)
}

// check compares what was called with what had to be.
func (c *checker) check(t *testing.T, worlds map[string]*world) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	assert.Empty(t, c.faults)
	want := make(map[string][]call)
	for _, w := range worlds {
		maps.Copy(want, w.want)
	}
	for name, log := range c.logs {
		assert.LessOrEqual(t, len(log), len(want[name]), "%s: too many calls, the last %v", name, log[len(log)-1])
	}
	byEntity := make(map[*entity][]call)
	var storing []call
	for name, calls := range want {
		log := c.logs[name]
		for i := range calls {
			if i >= len(log) || !calls[i].same(log[i]) {
				from := max(0, i-3)
				require.Fail(t, "other calls than there have to be", "%s: %v, want %v", name, log[min(from, len(log)):min(i+4, len(log))], calls[from:min(i+4, len(calls))])
			}
			made := log[i]
			made.entity = calls[i].entity
			switch made.what {
			case callMove:
				if name == made.from {
					continue // it is under the other name, too
				}
				storing = append(storing, made)
			case callInit, callFound:
				storing = append(storing, made)
				storing[len(storing)-1].to = name
			}
			byEntity[made.entity] = append(byEntity[made.entity], made)
		}
	}
	// A repository's calls under all its names, one after another.
	for e, calls := range byEntity {
		slices.SortFunc(calls, func(a, b call) int { return int(a.begin - b.begin) })
		require.Len(t, calls, len(e.want))
		for i := range calls {
			if !calls[i].same(e.want[i]) {
				require.Fail(t, "another order across names", "%v, want %v", calls[max(0, i-3):i+1], e.want[max(0, i-3):i+1])
			}
			if i > 0 && calls[i-1].end > calls[i].begin {
				require.Fail(t, "two calls at once", "%v and %v", calls[i-1], calls[i])
			}
		}
	}
	// What is prepared for one is not moved as another's, nor overwritten.
	slices.SortFunc(storing, func(a, b call) int { return int(a.begin - b.begin) })
	of := make(map[string]*entity)
	for _, m := range storing {
		if m.what == callMove {
			require.True(t, m.entity == of[m.from], "%v: that is another's", m)
			delete(of, m.from)
		}
		of[m.to] = m.entity
	}
}

// world is the model: it makes events, and says what has to be called for them.
type world struct {
	name     string
	feed     *sinktest.Feed
	random   *rand.Rand
	prepares bool
	loading  bool
	crossing bool // a rename while loading
	last     uint64
	moves    int

	names   []string
	of      map[string]*entity // by name, if it is there
	storage map[string]*entity
	touched map[*entity]bool // while loading
	want    map[string][]call

	out []*notifications.Event
}

// entity is a repository, under whatever name.
type entity struct {
	name            string
	told            Told
	prepared        bool
	frozen, deleted bool
	news            bool
	tags            map[string]digest.Digest
	manifests       map[digest.Digest]bool
	want            []call
}

var digests = func() (all []digest.Digest) {
	for i := range 16 {
		all = append(all, digest.FromString(fmt.Sprint(i)))
	}
	return all
}()

func newWorld(name string, random *rand.Rand, prepares bool) *world {
	w := &world{
		name: name, feed: new(sinktest.Feed), random: random, prepares: prepares, of: make(map[string]*entity),
		storage: make(map[string]*entity), touched: make(map[*entity]bool), want: make(map[string][]call),
	}
	for i := range 150 {
		w.names = append(w.names, fmt.Sprintf("o/n%d", i))
	}
	return w
}

func (w *world) expect(e *entity, c call, names ...string) {
	c.entity = e
	e.want = append(e.want, c)
	for _, n := range names {
		n = w.name + "/" + n
		w.want[n] = append(w.want[n], c)
	}
}

// block makes at least so many events.
func (w *world) block(n int) []*notifications.Event {
	w.out = nil
	for len(w.out) < n {
		w.step()
	}
	return w.out
}

// some returns names of repositories that are there, none twice, or fewer if these are few.
func (w *world) some(n int) (all []string) {
	for range 50 * n {
		name := w.names[w.random.IntN(len(w.names))]
		if e := w.of[name]; e != nil && !e.deleted && !slices.Contains(all, name) {
			if all = append(all, name); len(all) == n {
				break
			}
		}
	}
	return all
}

// free returns a name that nobody has, or only one that was deleted.
func (w *world) free() (string, bool) {
	for range 50 {
		name := w.names[w.random.IntN(len(w.names))]
		if e := w.of[name]; e == nil || e.deleted {
			return name, true
		}
	}
	return "", false
}

func (w *world) step() {
	tag, dgst := fmt.Sprint("v", w.random.IntN(8)), digests[w.random.IntN(len(digests))]
	one := func(action, kind string, set func(*notifications.Target)) {
		for _, name := range w.some(1) {
			e := event(action, kind, name)
			if set != nil {
				set(&e.Target)
			}
			w.emit(e)
		}
	}
	switch n := w.random.IntN(1000); {
	case n < 600:
		e := event(notifications.ActionPush, notifications.TypeManifest, w.names[w.random.IntN(len(w.names))])
		e.Target.MediaType, e.Target.Tag, e.Target.Digest = "application/vnd.oci.image.manifest.v1+json", tag, dgst
		w.emit(e)
	case n < 680:
		one(notifications.ActionPull, notifications.TypeManifest, nil)
	case n < 720:
		one(notifications.ActionPush, notifications.TypeBlob, nil)
	case n < 750:
		one(notifications.ActionDelete, notifications.TypeTag, func(t *notifications.Target) { t.Tag = tag })
	case n < 780:
		one(notifications.ActionDelete, notifications.TypeManifest, func(t *notifications.Target) { t.Digest = dgst })
	case n < 805:
		one(ActionFreeze, notifications.TypeRepository, nil)
	case n < 830:
		one(ActionUnfreeze, notifications.TypeRepository, nil)
	case n < 870:
		one(notifications.ActionDelete, notifications.TypeRepository, nil)
	case n < 890:
		one("audit", notifications.TypeRepository, nil)
	case n < 930: // a chain: each takes the name of the one before
		if to, ok := w.free(); ok {
			for _, from := range w.some(1 + w.random.IntN(4)) {
				w.emit(rename(from, to))
				to = from
			}
		}
	case n < 960: // a ring
		if to, ok := w.free(); ok {
			tmp, all := to, w.some(2+w.random.IntN(4))
			for _, from := range all {
				w.emit(rename(from, to))
				to = from
			}
			if len(all) > 0 {
				w.emit(rename(tmp, to))
			}
		}
	case n < 980: // there and back
		if to, ok := w.free(); ok {
			for _, from := range w.some(1) {
				w.emit(rename(from, to))
				w.emit(rename(to, from))
			}
		}
	case n < 990: // to where nobody observes
		for _, from := range w.some(1) {
			w.emit(rename(from, fmt.Sprint("x/", w.random.Uint32())))
		}
	default:
		if to, ok := w.free(); ok {
			w.emit(rename(fmt.Sprint("x/", w.random.Uint32()), to))
		}
	}
}

// emit writes an event, and works out what follows from it.
func (w *world) emit(e *notifications.Event) {
	w.last++
	w.out = append(w.out, e)
	if e.Action == notifications.ActionRename {
		w.moves++
		w.rename(e.Target.FromRepository, e.Target.Repository)
		return
	}
	name := e.Target.Repository
	r := w.of[name]
	if r == nil {
		r = &entity{name: name}
		w.of[name] = r
	}
	r.fold(e)
	w.happened(r, e.Action == notifications.ActionPull)
}

// happened is behind an event that was folded.
func (w *world) happened(r *entity, pull bool) {
	if w.loading {
		w.touched[r] = true
		r.news = r.news || !pull
		return
	}
	w.tell(r, false)
	if !w.crossing {
		w.expect(r, call{what: callEvent, position: w.last}, r.name)
	}
	if r.deleted {
		delete(w.of, r.name)
	}
}

func (w *world) rename(from, to string) {
	r := w.of[from]
	if w.loading && r.isKnown() { // it is a step of its own
		w.loading, w.crossing = false, true
		defer func() { w.loading, w.crossing = true, false }()
		delete(w.touched, r)
		r.news = false
	}
	if before := w.of[to]; before != nil {
		delete(w.touched, before) // a name that is somebody's in the end is not disabled
	}
	if r == nil { // as if it were new
		w.of[to] = &entity{name: to}
		w.happened(w.of[to], false)
		return
	}
	delete(w.of, from)
	wasKnown := r.told != "" || r.prepared
	if r.told == Enabled || r.told == Frozen {
		w.expect(r, call{what: callDisable}, from)
	}
	r.told = ""
	if !strings.HasPrefix(to, "o/") {
		delete(w.touched, r)
		return
	}
	if wasKnown && r.prepared {
		w.expect(r, call{what: callMove, from: w.name + "/" + from, to: w.name + "/" + to}, from, to)
		w.storage[to] = w.storage[from]
		delete(w.storage, from)
	}
	r.name = to
	w.of[to] = r
	w.happened(r, false)
}

// isKnown says whether somebody was told of it.
func (r *entity) isKnown() bool { return r != nil && (r.told != "" || r.prepared) }

// tell expects what a repository has to be told, if it has to be told at all.
func (w *world) tell(r *entity, settles bool) {
	now := Enabled
	switch {
	case r.deleted:
		now = Disabled
	case r.frozen:
		now = Frozen
	}
	if now == r.told && (!settles || !r.news) {
		return
	}
	if now == Disabled {
		w.expect(r, call{what: callDisable}, r.name)
		r.told, r.prepared = now, false
		return
	}
	if w.prepares && !r.prepared {
		what := callFound
		if w.storage[r.name] == nil {
			what = callInit
		}
		w.expect(r, call{what: what}, r.name)
		w.storage[r.name], r.prepared = r, true
	}
	switch {
	case now == Frozen:
		w.expect(r, call{what: callFreeze}, r.name)
	case r.told == Frozen && !settles:
		w.expect(r, call{what: callUnfreeze}, r.name)
	default:
		w.expect(r, call{what: callEnable}, r.name)
	}
	r.told = now
}

// settle is the end of loading.
func (w *world) settle() {
	w.loading = false
	for r := range w.touched {
		w.tell(r, true)
		r.news = false
		if r.deleted {
			delete(w.of, r.name)
		}
	}
	clear(w.touched)
}

func (r *entity) fold(e *notifications.Event) {
	t := &e.Target
	switch e.Action {
	case notifications.ActionPush:
		r.deleted = false
		if t.Type != notifications.TypeManifest {
			return
		}
		if r.manifests == nil {
			r.tags, r.manifests = make(map[string]digest.Digest), make(map[digest.Digest]bool)
		}
		r.tags[t.Tag], r.manifests[t.Digest] = t.Digest, true
	case notifications.ActionDelete:
		switch t.Type {
		case notifications.TypeTag:
			delete(r.tags, t.Tag)
		case notifications.TypeManifest:
			delete(r.manifests, t.Digest)
			maps.DeleteFunc(r.tags, func(_ string, d digest.Digest) bool { return d == t.Digest })
		default:
			r.tags, r.manifests, r.deleted, r.frozen = nil, nil, true, false
		}
	case ActionFreeze:
		r.frozen = true
	case ActionUnfreeze:
		r.frozen = false
	}
}

// checkStates compares what was stored in the end.
func (w *world) checkStates(t *testing.T, store *memory, feed string) {
	there := 0
	for key := range store.all {
		if strings.HasPrefix(key, stateKey+feed+"/") {
			there++
		}
	}
	assert.Len(t, w.of, there)
	for name, r := range w.of {
		var s State
		require.NoError(t, json.Unmarshal([]byte(store.get(Repository{feed, name}.key())), &s), name)
		tags, manifests := r.tags, make(map[digest.Digest]bool)
		if tags == nil {
			tags = make(map[string]digest.Digest)
		}
		for d := range s.Manifests {
			manifests[d] = true
		}
		if s.Tags == nil {
			s.Tags = make(map[string]digest.Digest)
		}
		require.Equal(t, tags, s.Tags, name)
		require.True(t, maps.Equal(r.manifests, manifests), name)
		require.Equal(t, [2]bool{r.frozen, r.deleted}, [2]bool{s.Frozen, s.Deleted}, name)
		require.Equal(t, r.told, s.Told, name)
	}
}
