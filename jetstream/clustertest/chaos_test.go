package clustertest

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
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
	purged     bool   // then servers that do not lead do not say the same as the leader
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
	wrong, repeats := c.ledger.close(func(r repeat, position uint64) bool {
		return position > floors[c.partition(r.repository)] && slices.Contains(struck, r.before)
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

// settle waits until everything was delivered, and the servers know.
func (c *chaos) settle(round int) {
	c.t.Helper()
	c.until(func() bool {
		made, firsts := c.ledger.count()
		for _, p := range c.publishers {
			if p.hub.Load().Stat().Spilled > 0 {
				return false
			}
		}
		return firsts >= made
	}, "round %d: everything is delivered", round)
	require.NoError(c.t, c.cluster.Wait())
	state := ""
	defer func() {
		if c.t.Failed() {
			c.t.Log(state)
		}
	}()
	c.until(func() (ok bool) { state, ok = c.settled(); return ok }, "round %d: everything is acknowledged", round)
	c.log.of("test").Debug("settled: ", state)
	c.follow()
}

// follow reads what the stream has.
func (c *chaos) follow() {
	c.t.Helper()
	c.until(func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		records, err := c.reader.Read(ctx, c.read, 0)
		if len(records) > 0 {
			c.ledger.stored(records)
			c.read = records[len(records)-1].Position
		}
		if err != nil || len(records) > 0 {
			return false
		}
		info, err := c.stream.Info(ctx) // a server that is behind may have answered
		return err == nil && c.read == info.State.LastSeq
	}, "the stream is read")
}

// settled says whether no consumer has anything to deliver, nor anything of which it does not
// know what became of it, and all replicas know.
func (c *chaos) settled() (state string, ok bool) {
	infos, err := c.consumers()
	if err != nil {
		return err.Error(), false
	}
	ok = len(infos) == chaosPartitions
	for _, i := range infos {
		state += fmt.Sprintf("%s: %d pending, %d not acknowledged, delivered %v, floor %v\n", i.Name, i.NumPending, i.NumAckPending, i.Delivered, i.AckFloor)
		ok = ok && i.NumPending == 0 && i.NumAckPending == 0
		for _, r := range i.Cluster.Replicas {
			ok = ok && r.Current && !r.Offline && r.Lag == 0
		}
		for n := range c.cluster.servers { // one that is behind says that it is not
			floor := c.cluster.ackFloor(n, c.config.Stream, i.Name)
			state += fmt.Sprintf("\tserver %d: floor %d\n", n, floor)
			ok = ok && (floor >= i.AckFloor.Stream || c.purged)
		}
	}
	return state, ok
}

// floors returns up to which position the servers know that everything was delivered.
func (c *chaos) floors() (map[string]uint64, error) {
	infos, err := c.consumers()
	floors := make(map[string]uint64)
	for _, i := range infos {
		floors[i.Config.FilterSubject] = i.AckFloor.Stream
	}
	if err == nil && len(floors) != chaosPartitions {
		err = fmt.Errorf("%d consumers where %d are", len(floors), chaosPartitions)
	}
	return floors, err
}

func (c *chaos) consumers() (infos []*js.ConsumerInfo, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all := c.stream.ListConsumers(ctx)
	for i := range all.Info() {
		infos = append(infos, i)
	}
	return infos, all.Err()
}

// partition returns which subjects a repository's events have, as the documentation says it.
func (c *chaos) partition(repository string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(repository))
	return fmt.Sprintf("%s.%d.>", c.config.Stream, h.Sum32()%chaosPartitions)
}

// bear adds a worker.
func (c *chaos) bear() error {
	c.mu.Lock()
	c.born++
	w := &worker{name: fmt.Sprint("worker", c.born), ledger: c.ledger, dead: make(chan struct{})}
	c.mu.Unlock()
	w.pause.Store(int64(pauseOfSink))
	var err error
	if w.links, err = newLinks(c.cluster); err != nil {
		return err
	}
	c.t.Cleanup(w.links.close)
	config := c.config
	config.Instance, config.Logger = w.name, c.log.of(w.name)
	if err := c.succeed(func() (err error) { w.hub, err = c.open(w.links, config); return err }); err != nil {
		return err
	}
	c.t.Cleanup(func() { c.bury(w) })
	if err := c.succeed(func() error { return w.hub.Add("sink", w) }); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers, c.ever = append(c.workers, w), append(c.ever, w)
	return nil
}

// bury closes a worker's hub. A second time does nothing.
func (c *chaos) bury(w *worker) {
	assert.NoError(c.t, sinktest.Conserved(w.hub.Metrics()["sink"]), w.name)
	c.close(w.name, w.hub)
}

// alive returns the workers that were not abandoned.
func (c *chaos) alive() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.workers)
}

// everyone returns all workers that there ever were.
func (c *chaos) everyone() []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ever)
}

// some returns one of the workers.
func (c *chaos) some() *worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers[c.random.IntN(len(c.workers))]
}

// someone returns one of the publishers.
func (c *chaos) someone() *publisher {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.publishers[c.random.IntN(len(c.publishers))]
}

// abandon drops a worker, whose hub is closed while others go on.
func (c *chaos) abandon(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers = slices.DeleteFunc(c.workers, func(other *worker) bool { return other == w })
	c.ends.Go(func() { c.bury(w) })
}
