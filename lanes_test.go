package notifications_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// crossroads is a receiver to which several envelopes are under way at once.
type crossroads struct {
	*httptest.Server
	mu     sync.Mutex // guards the rest
	under  int
	most   int // that were under way at once
	took   []string
	refuse func(body string) int // zero: takes it
}

func newCrossroads(t *testing.T) *crossroads {
	c := new(crossroads)
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *crossroads) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	env, err := DecodeEnvelope(r.Header.Get("Content-Type"), r.Body, 1<<30)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.enter()
	time.Sleep(rand.N(2 * time.Millisecond))
	c.leave(w, env)
}

func (c *crossroads) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under++
	c.most = max(c.most, c.under)
}

func (c *crossroads) leave(w http.ResponseWriter, env *Envelope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.under--
	for _, e := range env.Events {
		if c.refuse != nil {
			if status := c.refuse(e.ID); status != 0 {
				w.WriteHeader(status)
				_, _ = io.WriteString(w, "no")
				return
			}
		}
	}
	for _, e := range env.Events {
		c.took = append(c.took, e.ID)
	}
}

func (c *crossroads) set(refuse func(id string) int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = refuse
}

// inOrder says which events the receiver has, the first time that it took each, and
// asserts that those of each repository came in their order.
func (c *crossroads) inOrder(t *testing.T) (ids map[string]bool) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	ids = make(map[string]bool)
	last := make(map[string]int)
	for _, id := range c.took {
		if ids[id] {
			continue
		}
		ids[id] = true
		var n int
		repo, number, _ := strings.Cut(id, "#")
		_, err := fmt.Sscan(number, &n)
		require.NoError(t, err)
		assert.Greater(t, n, last[repo], "%s after %d", id, last[repo])
		last[repo] = n
	}
	return ids
}

// trafficOf returns events of several repositories, numbered for each from one on.
func trafficOf(n, repositories int) []*Event {
	events := make([]*Event, n)
	count := make(map[string]int)
	for i := range events {
		repo := fmt.Sprintf("team/app-%d", rand.N(repositories))
		count[repo]++
		events[i] = NewEvent(ActionPush)
		events[i].ID = fmt.Sprintf("%s#%d", repo, count[repo])
		events[i].Target.Repository = repo
	}
	return events
}

func TestSeveralEnvelopesInFlight(t *testing.T) {
	for name, fault := range map[string]func(c *crossroads, e *Endpoint){
		"healthy": func(*crossroads, *Endpoint) {},
		"failing now and then": func(c *crossroads, _ *Endpoint) {
			c.set(func(string) int { return []int{0, 0, 0, 0, 0, 0, 0, 0, 0, 503}[rand.N(10)] })
		},
		"refusing everything for a while": func(c *crossroads, e *Endpoint) {
			c.set(func(string) int { return 400 })
			go func() {
				time.Sleep(30 * time.Millisecond)
				c.set(nil)
			}()
		},
		"paused and resumed": func(_ *crossroads, e *Endpoint) {
			go func() {
				for range 10 {
					e.Pause()
					time.Sleep(time.Millisecond)
					e.Resume()
					time.Sleep(2 * time.Millisecond)
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrossroads(t)
			e := newEndpoint(t, "hook", c.URL, EndpointConfig{
				MaxInFlight: 4, MaxEvents: 8, Backoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond, Logger: silent(),
			})
			hub := newBroadcaster(t)
			require.NoError(t, hub.Add("hook", e))
			fault(c, e)
			events := trafficOf(2000, 20)
			for block := events; len(block) > 0; {
				n := min(len(block), 1+rand.N(100))
				require.NoError(t, hub.Write(t.Context(), block[:n]...))
				block = block[n:]
			}
			sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 0 }, "everything delivered")
			require.NoError(t, sinktest.Conserved(e.Metrics().Metrics))
			require.NoError(t, hub.Close(t.Context()))
			assert.EqualValues(t, 2000, e.Metrics().Delivered)
			assert.Len(t, c.inOrder(t), 2000)
			if name == "healthy" {
				assert.Greater(t, c.most, 1, "at once")
				assert.Len(t, c.took, 2000, "once")
			}
			assert.LessOrEqual(t, c.most, 4)
		})
	}
}

func TestPoisonWithSeveralInFlight(t *testing.T) {
	c := newCrossroads(t)
	letters := NewDeadLetters(0, silent())
	e := newEndpoint(t, "hook", c.URL, EndpointConfig{
		MaxInFlight: 4, MaxEvents: 8, Backoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond,
		DeadLetters: letters, Logger: silent(),
	})
	hub := newBroadcaster(t)
	require.NoError(t, hub.Add("hook", e))
	events := trafficOf(1000, 10)
	poison := map[string]bool{events[0].ID: true, events[500].ID: true, events[501].ID: true}
	c.set(func(id string) int {
		if poison[id] {
			return 422
		}
		return 0
	})
	require.NoError(t, hub.Write(t.Context(), events...))
	sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 0 }, "everything settled")
	require.NoError(t, hub.Close(t.Context()))
	assert.EqualValues(t, 997, e.Metrics().Delivered)
	assert.EqualValues(t, 3, e.Metrics().DeadLettered)
	assert.Len(t, c.inOrder(t), 997)
	for _, l := range letters.Letters() {
		assert.True(t, poison[l.Event.ID])
	}
}

// TestRenameInFlight follows a repository under its old name and its new one.
func TestRenameInFlight(t *testing.T) {
	c := newCrossroads(t)
	e := newEndpoint(t, "hook", c.URL, EndpointConfig{MaxInFlight: 8, MaxEvents: 2})
	hub := newBroadcaster(t)
	require.NoError(t, hub.Add("hook", e))
	var events []*Event
	for i := range 200 {
		// Both names have events before the rename, and so perhaps lanes of their own.
		for _, repo := range []string{"old", "new"} {
			event := NewEvent(ActionPush)
			event.ID, event.Target.Repository = fmt.Sprintf("%s-%d#1", repo, i), fmt.Sprintf("%s-%d", repo, i)
			events = append(events, event)
		}
		rename := NewEvent(ActionRename)
		rename.ID = fmt.Sprintf("rename-%d#1", i)
		rename.Target.Repository, rename.Target.FromRepository = fmt.Sprintf("new-%d", i), fmt.Sprintf("old-%d", i)
		events = append(events, rename)
	}
	require.NoError(t, hub.Write(t.Context(), events...))
	require.NoError(t, hub.Close(t.Context()))
	at := make(map[string]int)
	for i, id := range c.took {
		at[id] = i
	}
	require.Len(t, at, 600)
	for i := range 200 {
		rename := at[fmt.Sprintf("rename-%d#1", i)]
		assert.Greater(t, rename, at[fmt.Sprintf("old-%d#1", i)], "what happened under the old name comes first")
		assert.Greater(t, rename, at[fmt.Sprintf("new-%d#1", i)])
	}
}

func TestInFlightBadInput(t *testing.T) {
	for _, n := range []int{-1, 65} {
		_, err := NewEndpoint("hook", "http://127.0.0.1/", EndpointConfig{MaxInFlight: n})
		assert.ErrorContains(t, err, fmt.Sprintf("maxinflight: %d: allowed are zero, for one, to 64", n))
	}
}

// TestSameEventTwiceInFlight writes one event several times, which nobody forbids.
func TestSameEventTwiceInFlight(t *testing.T) {
	c := newCrossroads(t)
	e := newEndpoint(t, "hook", c.URL, EndpointConfig{MaxInFlight: 3, MaxEvents: 2, Backoff: time.Millisecond, Logger: silent()})
	c.set(func(string) int { return []int{0, 0, 0, 503}[rand.N(4)] })
	hub := newBroadcaster(t)
	require.NoError(t, hub.Add("hook", e))
	events := trafficOf(30, 3)
	block := append(append(append([]*Event(nil), events...), events...), events[:7]...)
	require.NoError(t, hub.Write(t.Context(), block...))
	sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 0 }, "everything settled")
	assert.EqualValues(t, 67, e.Metrics().Delivered)
	require.NoError(t, hub.Close(t.Context()))
}
