package journal

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

var (
	livesFlag = flag.Int("lives", 100, "TestKill: how often a process is killed and started again")
	livesSeed = flag.Uint64("lives.seed", 0, "TestKill: `seed` of what is by chance; zero makes one")
)

// TestKill has a process write to a journal and deliver from it, ends it with kill -9,
// and starts another one on the same directory, again and again. In the end every event
// whose Write returned has come to every receiver, in order, and a restart repeated no
// more than the block that was on its way. To the journal it is the same whether it
// syncs: the end of a process takes nothing from the system.
func TestKill(t *testing.T) {
	lives := *livesFlag
	if testing.Short() {
		lives = min(lives, 20)
	}
	for _, c := range []struct {
		sync  Sync
		lives int
	}{{SyncAlways, lives}, {SyncInterval, lives / 5}, {SyncNone, lives / 5}} {
		t.Run(string(c.sync), func(t *testing.T) {
			seed := *livesSeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("-lives.seed %d", seed)
			k := newKilling(t, c.sync, seed)
			for range max(2, c.lives-1) {
				k.live(t)
			}
			k.lastLife(t)
			k.check(t)
		})
	}
}

// killing is a run of lives.
type killing struct {
	args   lifeArgs
	random *rand.Rand
	to     map[string]*receiver

	acknowledged map[[2]int][]int // sizes of the blocks, by life and writer
	events       int              // in them
	torn         int              // lives that found a torn tail
	moments      [3]int
	last         map[string]notifications.Metrics
}

func newKilling(t *testing.T, sync Sync, seed uint64) *killing {
	k := &killing{
		args:   lifeArgs{Dir: t.TempDir(), Sync: sync, URLs: make(map[string]string)},
		random: rand.New(rand.NewPCG(seed, 0)), to: make(map[string]*receiver), acknowledged: make(map[[2]int][]int),
	}
	if sync == SyncNone {
		k.args.Retain = time.Hour // to look at all of it in the end
	}
	for _, name := range receivers {
		k.to[name] = startReceiver(t, name)
		k.args.URLs[name] = k.to[name].server.URL
	}
	return k
}

func (k *killing) start(t *testing.T) *child {
	k.args.Number++
	k.args.Seed = k.random.Uint64()
	k.args.SegmentBytes = minSegment << (2 * k.random.IntN(3))
	c := startChild(t, "live", k.args)
	line, _ := c.line(t)
	require.Equal(t, "opening", line, &c.stderr)
	return c
}

// read takes in what the process says.
func (k *killing) read(t *testing.T, line string) {
	t.Helper()
	if torn, ok := strings.CutPrefix(line, "open "); ok {
		if torn != "0" {
			k.torn++
		}
		return
	}
	var writer, block, of int
	_, err := fmt.Sscan(line, &writer, &block, &of)
	require.NoError(t, err, line)
	key := [2]int{k.args.Number, writer}
	require.Len(t, k.acknowledged[key], block, "a writer goes on when its Write has returned")
	k.acknowledged[key] = append(k.acknowledged[key], of)
	k.events += of
}

// The moments at which a process is killed.
const (
	whileOpening    = iota
	whileWriting    // when some blocks were acknowledged
	whileDelivering // when a receiver has an envelope, and has not answered yet
)

// live is one life that ends with kill -9.
func (k *killing) live(t *testing.T) {
	t.Helper()
	moment := []int{whileOpening, whileWriting, whileWriting, whileDelivering}[k.random.IntN(4)]
	blocks := 1 + k.random.IntN(40)
	answer := 1 + k.random.IntN(3)
	hold := receivers[k.random.IntN(len(receivers)):][:1]
	if k.args.Number == 0 {
		// Nothing is settled in the first life: the places have to be on disk before.
		moment, answer, hold = whileDelivering, 1, receivers
	}
	k.moments[moment]++
	var held <-chan struct{}
	if moment == whileDelivering {
		for _, name := range hold {
			var release func()
			held, release = k.to[name].holdAnswer(answer)
			defer release()
		}
	}

	c := k.start(t)
	var due <-chan time.Time
	soon := func() { due = time.After(time.Duration(k.random.Int64N(int64(3 * time.Millisecond)))) }
	if moment == whileOpening {
		soon()
	}
	for {
		select {
		case line, ok := <-c.lines:
			require.True(t, ok, "the process ended by itself: %s", &c.stderr)
			k.read(t, line)
			if blocks--; blocks == 0 && moment == whileWriting {
				soon()
			}
			continue
		case <-held:
		case <-due:
		case <-time.After(hung):
			c.end()
			require.FailNow(t, "the process hangs", c.stderr.String())
		}
		break
	}
	for _, line := range c.kill(t) {
		k.read(t, line)
	}
}

// lastLife delivers what there is, and ends well.
func (k *killing) lastLife(t *testing.T) {
	t.Helper()
	k.args.Last = true
	lines := k.start(t).wait(t)
	require.Len(t, lines, 2)
	k.read(t, lines[0])
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &k.last))
}

func (k *killing) check(t *testing.T) {
	report, err := Verify(t.Context(), k.args.Dir, nil)
	require.NoError(t, err)
	assert.True(t, report.OK(), "%+v", report)
	assert.Zero(t, report.TornBytes)
	for _, name := range receivers {
		assert.Equal(t, report.Last, report.Cursors[name], name)
	}

	var figures []string
	missing := 0
	first := make(map[string][]eventID) // arrivals, in order
	for _, name := range receivers {
		arrivals, again := k.arrivals(t, name)
		first[name] = arrivals
		figures = append(figures, fmt.Sprintf("%s %d, at most %d in one life", name, again.events, again.most))
		// Each position was one event, and each came out.
		assert.EqualValues(t, report.Last, len(arrivals), name)
		missing += k.missing(arrivals)
		k.checkLastLife(t, name)
	}
	assert.Zero(t, missing)
	k.checkBlocks(t, first[steady])
	assert.True(t, slices.Equal(first[steady], first[moody]), "two receivers got the events in different order")
	repos := k.to[steady].repos
	assert.True(t, maps.EqualFunc(byRepository(first[steady], repos), byRepository(first[wide], repos), slices.Equal), "the order of a repository")
	if k.args.Retain > 0 {
		var kept []eventID
		_, err := Cat(t.Context(), k.args.Dir, func(r notifications.Record) error {
			kept = append(kept, parseEventID(t, r.Event.ID))
			return nil
		})
		require.NoError(t, err)
		assert.True(t, slices.Equal(kept, first[steady]), "the log and a receiver have different events, or another order")
	}
	t.Logf("%d lives, of which %d were killed while opening, %d while writing and %d while delivering; %d torn tails; "+
		"%d events acknowledged, and %d more that came out; %d missing; duplicates: %s",
		k.args.Number, k.moments[whileOpening], k.moments[whileWriting], k.moments[whileDelivering], k.torn,
		k.events, int(report.Last)-k.events, missing, strings.Join(figures, "; "))
}

// repeats counts what came twice.
type repeats struct{ events, most int }

// arrivals returns the events that a receiver got, in order, each once. What came twice
// was in the last block before a kill, and came again at the start of the next life.
func (k *killing) arrivals(t *testing.T, name string) (arrivals []eventID, again repeats) {
	var (
		lifeOf = make(map[eventID]int)
		block  []eventID // the last one before this life
		last   envelope
		count  int  // repeated in this life
		fresh  bool // something new has come in this life
	)
	for _, env := range k.to[name].envelopes() {
		if env.life != last.life {
			block, count, fresh = last.ids, 0, false
		}
		last = env
		for _, id := range env.ids {
			life, seen := lifeOf[id]
			lifeOf[id] = env.life
			if !seen {
				fresh = true
				arrivals = append(arrivals, id)
				continue
			}
			count++
			again.events++
			again.most = max(again.most, count)
			switch {
			case life == env.life:
				require.FailNow(t, "came twice in one life", "%s: %v", name, id)
			case name == wide && count > wideInFlight*wideEvents:
				require.FailNow(t, "more than a block came again", "%s: life %d", name, life)
			case name != wide && fresh:
				require.FailNow(t, "came again behind what is new", "%s: %v", name, id)
			case name != wide && !slices.Contains(block, id):
				require.FailNow(t, "came again, and was not in the last block", "%s: %v", name, id)
			}
		}
	}
	return arrivals, again
}

// missing returns how many events were acknowledged, and did not arrive.
func (k *killing) missing(arrivals []eventID) (n int) {
	arrived := make(map[eventID]bool, len(arrivals))
	for _, id := range arrivals {
		arrived[id] = true
	}
	for key, blocks := range k.acknowledged {
		for block, of := range blocks {
			for i := range of {
				if !arrived[eventID{key[0], key[1], block, i, of}] {
					n++
				}
			}
		}
	}
	return n
}

// checkBlocks: a block came as a whole, in a row. Each writer's came in their order, and
// of those that were not acknowledged at most one for each of its lives.
func (k *killing) checkBlocks(t *testing.T, arrivals []eventID) {
	next := make(map[[2]int]int) // block, by life and writer
	for len(arrivals) > 0 {
		id := arrivals[0]
		for i := range id.of {
			want := eventID{id.life, id.writer, id.block, i, id.of}
			if i >= len(arrivals) || arrivals[i] != want {
				require.FailNow(t, "an event is missing in its block", want)
			}
		}
		arrivals = arrivals[id.of:]
		key := [2]int{id.life, id.writer}
		if id.block != next[key] {
			require.FailNow(t, "a writer's blocks came in another order", "%v, want block %d", id, next[key])
		}
		next[key]++
	}
	for key, blocks := range next {
		assert.LessOrEqual(t, blocks, len(k.acknowledged[key])+1, "life and writer %v: nobody has written these", key)
	}
}

// checkLastLife: what the last life counts is what came.
func (k *killing) checkLastLife(t *testing.T, name string) {
	m := k.last[name]
	require.NoError(t, sinktest.Conserved(m))
	delivered := 0
	for _, env := range k.to[name].envelopes() {
		if env.life == k.args.Number {
			delivered += len(env.ids)
		}
	}
	assert.EqualValues(t, delivered, m.Delivered, name)
	assert.EqualValues(t, delivered, m.Accepted, name)
}

func byRepository(ids []eventID, repos map[eventID]string) map[string][]eventID {
	by := make(map[string][]eventID)
	for _, id := range ids {
		by[repos[id]] = append(by[repos[id]], id)
	}
	return by
}
