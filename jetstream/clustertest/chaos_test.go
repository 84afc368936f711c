package clustertest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/journal"
	"github.com/registry-notifications/notifications/sinktest"
)

var (
	rounds = flag.Int("rounds", 3, "how many rounds TestChaos has")
	seed   = flag.Uint64("seed", 0, "what TestChaos's faults come from; zero: another each time")
	long   = flag.Bool("long", false, "also what takes half a minute")
	only   = flag.String("fault", "", "a pattern of the names of TestChaos's faults; empty: all")
)

// TestChaos: three servers, two instances that write and three that deliver, while something
// fails in each round. At its end nothing is lost, each repository's events came in order, and
// nothing came twice but what was under way when the fault struck.
func TestChaos(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed %d", *seed)
	require.NotEmpty(t, deck(), "-fault %s", *only)
	c := newChaos(t, nil, nil)
	for n, f := range deal(rand.New(rand.NewPCG(*seed, 0)), *rounds) {
		c.round(n+1, f)
		if t.Failed() {
			break
		}
	}
}

// deal returns what fails in each round: everything once before anything twice, and from then
// on two things at once.
func deal(random *rand.Rand, rounds int) (dealt [][]fault) {
	deck := deck()
	for len(dealt) < rounds {
		random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		for i, f := range deck {
			if len(dealt) == rounds {
				break
			}
			now := []fault{f}
			if len(dealt) >= len(deck) {
				if other := deck[(i+1)%len(deck)]; other.name != f.name && !(f.ofServers && other.ofServers) {
					now = append(now, other)
				}
			}
			dealt = append(dealt, now)
		}
	}
	return dealt
}

func deck() (deck []fault) {
	for _, f := range faults {
		if ok, err := regexp.MatchString("^("+*only+")$", f.name); ok && err == nil || *only == "" {
			deck = append(deck, f)
		}
	}
	return deck
}

// chaos is a cluster, and what works on it.
type chaos struct {
	t       *testing.T
	cluster *Cluster
	config  jetstream.Config
	ledger  *ledger
	log     *diary
	random  *rand.Rand

	reader     *jetstream.Hub // is never struck
	stream     js.Stream
	read       uint64 // up to which position the ledger knows the stream
	publishers []*publisher
	ends       sync.WaitGroup // of workers that are dead

	mu      sync.Mutex // guards the rest
	workers []*worker
	ever    []*worker // with those that were abandoned
	born    int
}

const (
	chaosPartitions = 6
	pauseOfSink     = 10 * time.Millisecond
)

func newChaos(t *testing.T, change func(*jetstream.Config), servers func(*server.Options)) *chaos {
	t.Helper()
	cluster, err := Start(3, servers)
	require.NoError(t, err)
	t.Cleanup(cluster.Stop)
	c := &chaos{t: t, cluster: cluster, ledger: newLedger(), log: newDiary(t), random: rand.New(rand.NewPCG(*seed, 1))}
	c.config = jetstream.Config{
		Stream: "events", Replicas: 3, Partitions: chaosPartitions, Timeout: time.Second, Lease: 4 * time.Second,
	}
	c.config.Hub.Backoff, c.config.Hub.MaxBackoff = 5*time.Millisecond, 50*time.Millisecond
	if change != nil {
		change(&c.config)
	}
	nc := connect(t, cluster.URL(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	config := c.config
	config.Instance, config.Logger = "reader", c.log.of("reader")
	c.reader, err = jetstream.Open(t.Context(), nc, config)
	require.NoError(t, err)
	t.Cleanup(func() { c.close("reader", c.reader) })
	engine, err := js.New(nc)
	require.NoError(t, err)
	c.stream, err = engine.Stream(t.Context(), c.config.Stream)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, c.bear())
	}
	for i := range 2 {
		p := &publisher{name: fmt.Sprint("publisher", i+1), config: c.config}
		p.links, err = newLinks(cluster)
		require.NoError(t, err)
		t.Cleanup(p.links.close)
		if i == 1 {
			p.config.Spill = jetstream.Spill{Dir: filepath.Join(t.TempDir(), "spill"), Sync: journal.SyncNone} // other disks have other tests
		}
		p.config.Instance, p.config.Logger = p.name, c.log.of(p.name)
		require.NoError(t, c.start(p))
		t.Cleanup(func() { c.close(p.name, p.hub.Load()) })
		c.publishers = append(c.publishers, p)
	}
	t.Cleanup(c.ends.Wait)
	return c
}

// open opens the hub of an instance, over links of its own.
func (c *chaos) open(l links, config jetstream.Config) (*jetstream.Hub, error) {
	nc, err := l.connect()
	if err != nil {
		return nil, err
	}
	h, err := jetstream.Open(c.t.Context(), nc, config)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.t.Cleanup(nc.Close)
	return h, nil
}

// start opens the hub of a publisher. Another fault may be in its way.
func (c *chaos) start(p *publisher) error {
	return c.succeed(func() error {
		h, err := c.open(p.links, p.config)
		if err == nil {
			p.hub.Store(h)
		}
		return err
	})
}

// succeed tries something again and again.
func (c *chaos) succeed(try func() error) error {
	var err error
	if c.wait(func() bool { err = try(); return err == nil }, "") == nil {
		return nil
	}
	return err
}

func (c *chaos) close(name string, h *jetstream.Hub) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	assert.NoError(c.t, h.Close(ctx), name)
}

// round has the publishers write while faults strike, and checks everything when these are
// over.
func (c *chaos) round(n int, faults []fault) {
	t := c.t
	t.Helper()
	start := time.Now()
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	c.log.of("test").Infof("round %d: %v", n, names)
	defer func() {
		if t.Failed() {
			t.Logf("it was round %d: %v", n, names)
		}
	}()
	made, _ := c.ledger.count()
	for _, p := range c.publishers {
		p.written.Store(0)
		p.failures.Store(0)
		p.slowest.Store(0)
	}
	stop, written := c.write(n)
	c.progress(100)
	floors, err := c.floors()
	require.NoError(t, err)

	var struck []*worker
	var all sync.WaitGroup
	var mu sync.Mutex // guards struck
	for _, f := range faults {
		all.Go(func() {
			who, err := f.strike(c)
			if err != nil {
				t.Errorf("round %d: %s: %v", n, f.name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			struck = append(struck, who...)
		})
	}
	all.Wait()
	over := time.Since(start)
	c.progress(100)
	close(stop)
	written.Wait()
	c.settle(n)

	c.log.of("test").Debug("floors: ", floors)
	servers := slices.ContainsFunc(faults, func(f fault) bool { return f.ofServers })
	wrong, repeats := c.ledger.close(func(r repeat, position uint64) bool {
		floor := floors[c.partition(r.repository)]
		return position > floor.known && slices.Contains(struck, r.before) || servers && position > floor.fallback
	})
	for _, w := range wrong {
		t.Errorf("round %d: %v: %s", n, names, w)
	}
	for _, w := range c.alive() {
		assert.NoError(t, sinktest.Conserved(w.hub.Metrics()["sink"]), "round %d: %v: %s", n, names, w)
	}
	now, _ := c.ledger.count()
	line := fmt.Sprintf("round %d: %v: %d events, %d of them once more; the fault took %v, all %v", n, names,
		now-made, repeats, over.Round(10*time.Millisecond), time.Since(start).Round(10*time.Millisecond))
	for _, p := range c.publishers {
		line += fmt.Sprintf("; %s: %d Writes failed, the slowest took %v", p.name, p.failures.Load(), time.Duration(p.slowest.Load()).Round(time.Millisecond))
		if p.spills() && !slices.Contains(names, "publisher restarts") {
			assert.Zero(t, p.failures.Load(), "round %d: %v: %s has a spill, and a Write failed", n, names, p.name)
		}
	}
	t.Log(line)
	c.log.of("test").Info(line)
}

// write has all publishers write until stop is closed.
func (c *chaos) write(round int) (stop chan struct{}, written *sync.WaitGroup) {
	stop, written = make(chan struct{}), new(sync.WaitGroup)
	for i, p := range c.publishers {
		for w := range writersEach {
			written.Go(func() { p.write(c.ledger, w, *seed+uint64(100*round+10*i), stop) })
		}
	}
	return stop, written
}

// progress waits until so many more events were delivered.
func (c *chaos) progress(n int) {
	c.t.Helper()
	_, before := c.ledger.count()
	c.until(func() bool { _, now := c.ledger.count(); return now >= before+n }, "%d events more are delivered", n)
}

// until waits for a condition, and ends the test if it does not come.
func (c *chaos) until(ok func() bool, what string, args ...any) {
	c.t.Helper()
	for end := time.Now().Add(90 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("not after 90s: %s\n%s", fmt.Sprintf(what, args...), c.ledger.missing())
		}
	}
}
