package clustertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

// checker is what several instances deliver to.
type checker struct {
	mu    sync.Mutex // guards the rest
	last  map[string]int
	seen  map[string]int
	wrong []string
}

func newChecker() *checker {
	return &checker{last: make(map[string]int), seen: make(map[string]int)}
}

// take checks that nothing comes for the first time behind what comes after it.
func (c *checker) take(events []*notifications.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		var n int
		if _, err := fmt.Sscanf(e.Target.Tag, "v%d", &n); err != nil {
			c.wrong = append(c.wrong, err.Error())
		}
		name := e.Target.Repository
		c.seen[e.ID]++
		if c.seen[e.ID] > 1 {
			continue
		}
		if next := c.last[name] + 1; n != next {
			c.wrong = append(c.wrong, fmt.Sprintf("%s: %d comes where %d does", name, n, next))
		}
		c.last[name] = n
	}
}

func (c *checker) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// to is a sink of one instance.
type to struct {
	*checker
	pause time.Duration
}

func (s *to) Write(ctx context.Context, events ...*notifications.Event) error {
	select {
	case <-time.After(s.pause):
	case <-ctx.Done():
		return ctx.Err()
	}
	s.take(events)
	return nil
}

func (s *to) Close(context.Context) error { return nil }

// number writes events of several repositories, numbered from one.
func number(repositories, each int) (events []*notifications.Event) {
	for n := 1; n <= each; n++ {
		for r := range repositories {
			e := notifications.NewEvent(notifications.ActionPush)
			e.Target.Type, e.Target.Repository, e.Target.Tag = notifications.TypeManifest, fmt.Sprint("repo", r), fmt.Sprint("v", n)
			events = append(events, e)
		}
	}
	return events
}

// TestShare: instances share the work, in order for each repository, when they come and when
// they go.
func TestShare(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	config := jetstream.Config{Lease: time.Second, Logger: quiet()}
	all := newChecker()
	events := number(40, 50)
	first := openHub(t, c.URL(), config)
	require.NoError(t, first.Add("sink", &to{all, time.Millisecond}))
	half := len(events) / 2
	write := func(h *jetstream.Hub, events []*notifications.Event) {
		for len(events) > 0 {
			n := min(20, len(events))
			require.NoError(t, h.Write(t.Context(), events[:n]...))
			events = events[n:]
		}
	}
	write(first, events[:half/2])
	second := openHub(t, c.URL(), config)
	require.NoError(t, second.Add("sink", &to{all, time.Millisecond}))
	shared := func() bool {
		return first.Metrics()["sink"].Delivered > 0 && second.Metrics()["sink"].Delivered > 0
	}
	write(first, events[half/2:half])
	// The second takes its share when the first has given some back.
	at := half
	sinktest.Eventually(t, func() bool {
		if at < len(events)-200 {
			write(second, events[at:at+20])
			at += 20
			time.Sleep(20 * time.Millisecond)
		}
		return shared()
	}, "both deliver")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, first.Close(ctx))
	write(second, events[at:])
	sinktest.Eventually(t, func() bool { return all.count() == len(events) }, "all of %d: %d", len(events), all.count())
	assert.Empty(t, all.wrong)
}

// TestInstanceDies: when one is cut off, others go on behind what it has settled; it stops
// delivering before they begin.
func TestInstanceDies(t *testing.T) {
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	proxy, err := NewProxy(c.URLOf(0)[len("nats://"):])
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	config := jetstream.Config{Lease: time.Second, Timeout: 200 * time.Millisecond, Logger: quiet()}
	all := newChecker()
	dies := openHub(t, "nats://"+proxy.Addr(), config)
	require.NoError(t, dies.Add("sink", &to{all, 2 * time.Millisecond}))
	events := number(40, 50)
	writer := openHub(t, c.URL(), config)
	require.NoError(t, writer.Write(t.Context(), events[:1000]...))
	sinktest.Eventually(t, func() bool { return all.count() > 100 }, "it works")
	proxy.Cut(true)
	other := openHub(t, c.URL(), config)
	require.NoError(t, other.Add("sink", &to{all, 0}))
	require.NoError(t, writer.Write(t.Context(), events[1000:]...))
	sinktest.Eventually(t, func() bool { return all.count() == len(events) }, "all of %d: %d", len(events), all.count())
	assert.Empty(t, all.wrong)
	proxy.Cut(false)
}
