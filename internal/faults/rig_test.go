package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// What the endpoints of the suite are set to: the slow pace is fast.
const (
	timeout    = 150 * time.Millisecond
	backoff    = 2 * time.Millisecond
	maxBackoff = 40 * time.Millisecond
	threshold  = 5
)

// grace is how much longer than its context Close may take.
const grace = 500 * time.Millisecond

func silent() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// rig is one endpoint behind a hub, and its receiver.
type rig struct {
	t       testing.TB
	r       *receiver
	names   *nameServer
	ca      *authority
	leaks   goleak.Option
	config  EndpointConfig
	url     string
	e       *Endpoint
	hub     *Broadcaster
	letters *DeadLetters

	repositories int
	written      int // by now
	events       []*Event
	watching     sync.WaitGroup
	stopWatch    context.CancelFunc
	closed       bool
}

const repositories = 5

// newRig makes a rig without the endpoint, which open adds, and all the events it will
// need, of which event i is of repository i%repositories.
func newRig(t testing.TB, events int) *rig {
	g := &rig{t: t, leaks: goleak.IgnoreCurrent(), letters: NewDeadLetters(0, silent()), repositories: repositories}
	g.config = EndpointConfig{
		Timeout: timeout, Backoff: backoff, MaxBackoff: maxBackoff, Threshold: threshold,
		DeadLetters: g.letters, Logger: silent(),
	}
	each := (events + g.repositories - 1) / g.repositories
	lanes := make([][]*Event, g.repositories)
	for i := range lanes {
		lanes[i] = sinktest.Events("app"+strconv.Itoa(i), each)
	}
	for i := range events {
		g.events = append(g.events, lanes[i%g.repositories][i/g.repositories])
	}
	return g
}

// open makes the endpoint and the hub, and looks at the counts from then on.
func (g *rig) open() {
	g.t.Helper()
	if g.r == nil {
		g.r = newReceiver(g.t, nil)
	}
	if g.url == "" {
		g.url = g.r.url()
	}
	var err error
	g.e, err = NewEndpoint("hook", g.url, g.config)
	require.NoError(g.t, err)
	g.hub, err = NewBroadcaster(HubConfig{Backoff: backoff, MaxBackoff: maxBackoff, Logger: silent()})
	require.NoError(g.t, err)
	require.NoError(g.t, g.hub.Add("hook", g.e))

	ctx, stop := context.WithCancel(context.Background())
	g.stopWatch = stop
	g.watching.Go(func() {
		for ctx.Err() == nil {
			if err := sinktest.Conserved(g.e.Metrics().Metrics); err != nil {
				g.t.Errorf("while it runs: %v", err)
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
}

// write writes the next n events in blocks of at most that many.
func (g *rig) write(n, block int) {
	g.t.Helper()
	for n > 0 {
		b := min(n, block)
		require.NoError(g.t, g.hub.Write(context.Background(), g.events[g.written:g.written+b]...))
		g.written += b
		n -= b
	}
}

// settled waits until all that was written is delivered or a dead letter.
func (g *rig) settled() {
	g.t.Helper()
	g.eventually(func() bool {
		m := g.e.Metrics()
		return m.Delivered+m.DeadLettered == uint64(g.written)
	}, "all %d events settled", g.written)
}

// eventually is sinktest's, and says where the endpoint is when it is not.
func (g *rig) eventually(ok func() bool, what string, args ...any) {
	g.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			hits, posts, conns, _ := g.r.count()
			g.t.Fatalf("not after 20 s: %s; endpoint %+v; receiver: %d hits, %d posts, %d connections",
				fmt.Sprintf(what, args...), g.e.Metrics(), hits, posts, conns)
		}
	}
}

// struck returns how often the fault was met since there were that many failures.
func (g *rig) struck(before uint64) int {
	hits, _, _, _ := g.r.count()
	return max(hits, int(g.failures()-before))
}

func (g *rig) failures() uint64 {
	m := g.e.Metrics()
	return m.Failures + m.Errors
}

// row is a line of the table.
type row struct {
	fault                                             string
	events, delivered, dead, dropped, duplicate, lost int
	recovery                                          time.Duration
	bubble                                            bool // recovery is by the clock of a synctest bubble
}

// close closes the hub by a context of so long, and the receiver, and checks that
// nothing is left of them.
func (g *rig) close(within time.Duration) (took time.Duration, err error) {
	g.t.Helper()
	g.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	begin := time.Now()
	err = g.hub.Close(ctx)
	took = time.Since(begin)
	assert.Less(g.t, took, within+grace, "Close returns within its context")
	g.stopWatch()
	g.watching.Wait()
	assert.NoError(g.t, sinktest.Conserved(g.e.Metrics().Metrics))
	assert.Zero(g.t, g.e.Metrics().Pending, "a memory hub that is closed has nothing pending")

	// The receiver is still there: who hangs up is the endpoint.
	g.eventually(func() bool { _, _, conns, _ := g.r.count(); return conns == 0 }, "the endpoint closed its connections")
	g.shut()
	assert.NoError(g.t, g.left(), "no goroutine is left")
	return took, err
}

// left returns what goroutines are left. Those of a look-up that was given up may stay
// until net's resolver has tried each name server as often as it does, 5 s each.
func (g *rig) left() (err error) {
	for deadline := time.Now().Add(30 * time.Second); ; {
		if err = goleak.Find(g.leaks); err == nil || g.names == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (g *rig) shut() {
	g.r.stop()
	if g.names != nil {
		g.names.close()
	}
}

// abort is for a test that has failed before its close.
func (g *rig) abort() {
	if g.closed || g.hub == nil {
		return
	}
	g.stopWatch()
	g.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = g.hub.Close(ctx)
	g.shut()
}

// result looks at what has become of the events: by the endpoint's own account, and by
// what its receiver and the dead letters have.
func (g *rig) result(name string) row {
	g.t.Helper()
	m := g.e.Metrics()
	out := row{fault: name, events: int(m.Accepted), delivered: int(m.Delivered), dead: int(m.DeadLettered)}
	for _, n := range m.Dropped {
		out.dropped += int(n)
	}
	assert.EqualValues(g.t, g.written, m.Accepted, "accepted")

	g.r.mu.Lock()
	stray := g.r.stray
	g.r.mu.Unlock()
	assert.Zero(g.t, stray, "requests that are not a POST to the endpoint's URL")

	taken := g.r.got()
	have := make(map[string]bool, len(taken))
	for _, id := range taken {
		if have[id] {
			out.duplicate++
		}
		have[id] = true
	}
	dead := make(map[string]bool)
	for _, l := range g.letters.Letters() {
		dead[l.Event.ID] = true
	}
	assert.Len(g.t, dead, out.dead)
	for _, e := range g.events[:g.written] {
		if !have[e.ID] && !dead[e.ID] {
			out.lost++
		}
	}
	g.inOrder(taken, dead)
	return out
}

// inOrder checks that each repository's events came first in the order in which they
// were written, without a gap but for dead letters. One that comes again is no newer
// than what came before it.
func (g *rig) inOrder(taken []string, dead map[string]bool) {
	g.t.Helper()
	next := make(map[string]int)
	for _, id := range taken {
		repository, number, _ := strings.Cut(id, "-")
		n, err := strconv.Atoi(number)
		require.NoError(g.t, err)
		for dead[repository+"-"+strconv.Itoa(next[repository])] {
			next[repository]++
		}
		switch want := next[repository]; {
		case n == want:
			next[repository]++
		case n > want:
			g.t.Errorf("order: %s came before %s-%d", id, repository, want)
			return
		}
	}
}

// undelivered is how many events Close says that it left.
func undelivered(err error) (n uint64) {
	if left := (*UndeliveredError)(nil); errors.As(err, &left) {
		n = left.Sinks["hook"]
	}
	return n
}
