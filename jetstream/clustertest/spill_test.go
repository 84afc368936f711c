package clustertest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

// away is a hub whose network can be cut, with a sink that another instance has.
type away struct {
	cluster *Cluster
	proxy   *Proxy
	config  jetstream.Config
	hub     *jetstream.Hub
	reader  *jetstream.Hub
	fake    *sinktest.Fake
	lossy   bool // Close returns an error
}

func newAway(t *testing.T, change func(*jetstream.Config)) *away {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	proxy, err := NewProxy(c.URLOf(0)[len("nats://"):])
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	a := &away{cluster: c, proxy: proxy, fake: new(sinktest.Fake)}
	a.config = jetstream.Config{Lease: 5 * time.Second, Partitions: 1, Logger: quiet()}
	a.reader = openHub(t, c.URL(), a.config)
	require.NoError(t, a.reader.Add("fake", a.fake))
	change(&a.config)
	a.open(t)
	return a
}

// wait checks that these have come for the first time, in this order, and no others. On a busy
// machine a lease may end, and events come twice.
func (a *away) wait(t *testing.T, want []*notifications.Event) {
	t.Helper()
	var got []string
	sinktest.Eventually(t, func() bool {
		got = got[:0]
		seen := make(map[string]bool)
		for _, id := range sinktest.IDs(a.fake.Events()) {
			if !seen[id] {
				seen[id] = true
				got = append(got, id)
			}
		}
		return len(got) >= len(want)
	}, "%d events", len(want))
	assert.Equal(t, sinktest.IDs(want), got)
}

// open opens the hub, once more.
func (a *away) open(t *testing.T) {
	t.Helper()
	nc := connect(t, "nats://"+a.proxy.Addr())
	h, err := jetstream.Open(t.Context(), nc, a.config)
	require.NoError(t, err)
	a.hub = h
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); !a.lossy {
			assert.NoError(t, err)
		}
	})
}

// TestSpill: while the cluster is away, events go to disk; then they come, in order, before
// those that are written meanwhile, and what the cluster had already comes once.
func TestSpill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spill")
	a := newAway(t, func(c *jetstream.Config) { c.Spill.Dir = dir })
	events := sinktest.Events("repo", 400)
	write := func(h *jetstream.Hub, events []*notifications.Event) {
		for _, e := range events {
			// As a bridge does.
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			require.NoError(t, h.Write(ctx, e))
			cancel()
		}
	}
	write(a.hub, events[:100])
	a.proxy.Cut(true)
	write(a.hub, events[100:200])
	assert.NotZero(t, a.hub.Stat().Spilled)
	a.proxy.Cut(false)
	write(a.hub, events[200:300])
	a.wait(t, events[:300])
	sinktest.Eventually(t, func() bool { return a.hub.Stat().Spilled == 0 }, "drained")

	// A run that ends meanwhile leaves them to the next.
	a.proxy.Cut(true)
	write(a.hub, events[300:350])
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, a.hub.Close(ctx))
	a.proxy.Cut(false)
	a.open(t)
	write(a.hub, events[350:])
	a.wait(t, events)
}

// TestSpillSilence: a network that says nothing is noticed in less than the second that a
// bridge has.
func TestSpillSilence(t *testing.T) {
	a := newAway(t, func(c *jetstream.Config) { c.Spill.Dir = filepath.Join(t.TempDir(), "spill") })
	events := sinktest.Events("repo", 20)
	require.NoError(t, a.hub.Write(t.Context(), events[:10]...))
	a.proxy.Hole(true)
	for _, e := range events[10:] {
		require.NoError(t, a.hub.Write(t.Context(), e))
	}
	assert.EqualValues(t, 10, a.hub.Stat().Spilled)
	a.proxy.Hole(false)
	a.wait(t, events)
}

// TestSpillFull: a spill without room says so, and takes events again when it has room.
func TestSpillFull(t *testing.T) {
	a := newAway(t, func(c *jetstream.Config) {
		c.Spill = jetstream.Spill{Dir: filepath.Join(t.TempDir(), "spill"), MaxBytes: 256 << 10}
	})
	a.proxy.Cut(true)
	var taken []*notifications.Event
	var err error
	for n := 0; err == nil; n++ {
		require.Less(t, n, 1000)
		block := sinktest.Events(fmt.Sprint("repo", n), 20)
		if err = a.hub.Write(t.Context(), block...); err == nil {
			taken = append(taken, block...)
		}
	}
	require.ErrorIs(t, err, notifications.ErrFull)
	a.proxy.Cut(false)
	a.wait(t, taken)
	more := sinktest.Events("more", 10)
	require.NoError(t, a.hub.Write(t.Context(), more...))
	a.wait(t, append(taken, more...))
}

// TestQueued: Write does not wait for the cluster, until there is too much, and Close does.
func TestQueued(t *testing.T) {
	a := newAway(t, func(c *jetstream.Config) { c.Queued = true })
	a.proxy.Cut(true)
	events := sinktest.Events("repo", 3000)
	for i := 0; i < len(events); i += 100 {
		require.NoError(t, a.hub.Write(t.Context(), events[i:i+100]...))
	}
	full := 0
	for ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond); ; full++ {
		defer cancel()
		require.Less(t, full, 20)
		block := sinktest.Events(fmt.Sprint("more", full), 1000)
		if err := a.hub.Write(ctx, block...); err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		events = append(events, block...)
	}
	assert.Equal(t, 13, full)
	a.proxy.Cut(false)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, a.hub.Close(ctx))
	a.wait(t, events)
}

// TestQueuedLost: what could not be written by the end of Close's context is said.
func TestQueuedLost(t *testing.T) {
	a := newAway(t, func(c *jetstream.Config) { c.Queued = true })
	a.proxy.Cut(true)
	require.NoError(t, a.hub.Write(t.Context(), sinktest.Events("repo", 7)...))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	assert.ErrorContains(t, a.hub.Close(ctx), "7 events were queued")
	a.lossy = true
}

// TestCloseTwice: a second Close whose context ends early costs the first nothing.
func TestCloseTwice(t *testing.T) {
	a := newAway(t, func(c *jetstream.Config) { c.Queued = true })
	a.proxy.Cut(true)
	events := sinktest.Events("repo", 100)
	require.NoError(t, a.hub.Write(t.Context(), events...))
	first := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		first <- a.hub.Close(ctx)
	}()
	sinktest.Eventually(t, func() bool { return errors.Is(a.hub.Write(t.Context()), notifications.ErrSinkClosed) }, "closing")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	assert.ErrorIs(t, a.hub.Close(ctx), context.DeadlineExceeded)
	a.proxy.Cut(false)
	require.NoError(t, <-first)
	a.wait(t, events)
}

// TestSmallerServer: an event that is queued, and too large for the server that comes back, is
// told of and holds nothing up.
func TestSmallerServer(t *testing.T) {
	log := new(book)
	a := newAway(t, func(c *jetstream.Config) { c.Queued, c.Logger = true, log.logger() })
	a.proxy.Cut(true)
	events := sinktest.Events("repo", 10)
	events[3].Target.URL = strings.Repeat("x", 100<<10)
	require.NoError(t, a.hub.Write(t.Context(), events...))
	a.cluster.Kill(0)
	a.cluster.Change(0, func(o *server.Options) { o.MaxPayload = 64 << 10 })
	require.NoError(t, a.cluster.Restart(0))
	a.proxy.Cut(false)
	a.wait(t, append(append([]*notifications.Event(nil), events[:3]...), events[4:]...))
	assert.Contains(t, log.String(), "an event is lost")
}
