package notifications_test

import (
	"context"
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
			// A receiver that is mended in the middle of a run of refusals can make dead
			// letters of a few: see DESIGN.md.
			m := e.Metrics()
			assert.EqualValues(t, 2000, m.Delivered+m.DeadLettered)
			assert.LessOrEqual(t, m.DeadLettered, uint64(10))
			if name != "refusing everything for a while" {
				assert.Zero(t, m.DeadLettered)
			}
			assert.GreaterOrEqual(t, len(c.inOrder(t)), int(m.Delivered))
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

// pushOf returns the n-th push to a repository.
func pushOf(repo string, n int) *Event {
	e := NewEvent(ActionPush)
	e.ID, e.Target.Repository = fmt.Sprintf("%s#%d", repo, n), repo
	return e
}

// TestPoisonAloneInItsLane: what other lanes got through is what decides.
func TestPoisonAloneInItsLane(t *testing.T) {
	for name, n := range map[string]int{"a few": 10, "a full block": 2048} {
		t.Run(name, func(t *testing.T) {
			c := newCrossroads(t)
			c.set(func(id string) int {
				if id == "poison#1" {
					return 422
				}
				return 0
			})
			e := newEndpoint(t, "hook", c.URL, EndpointConfig{MaxInFlight: 2, Logger: silent()})
			hub := newBroadcaster(t)
			require.NoError(t, hub.Add("hook", e))
			events := []*Event{pushOf("poison", 1)}
			for i := 1; i < n; i++ {
				events = append(events, pushOf("fine", i))
			}
			require.NoError(t, hub.Write(t.Context(), events...))
			sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 0 }, "all settled, and nobody waited")
			assert.EqualValues(t, n-1, e.Metrics().Delivered)
			assert.EqualValues(t, 1, e.Metrics().DeadLettered)
			assert.LessOrEqual(t, len(c.took), n, "one came again, as a witness")
			require.NoError(t, hub.Close(t.Context()))
		})
	}
}

// TestWorstAnswerCounts has one lane told to come back in an hour and another one to
// come back at all.
func TestWorstAnswerCounts(t *testing.T) {
	both := make(chan struct{}, 2)
	meet := func() {
		both <- struct{}{}
		for len(both) < 2 {
			time.Sleep(time.Millisecond)
		}
	}
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		meet()
		if strings.Contains(string(body), "first#1") {
			w.WriteHeader(503)
			return
		}
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
	}))
	defer r.Close()
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{MaxInFlight: 2, Backoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond, Logger: silent()})
	require.NoError(t, e.Write(t.Context(), pushOf("first", 1), pushOf("second", 1)))
	sinktest.Eventually(t, func() bool { return e.Metrics().State.Reason == ReasonRetryAfter }, "the longest wait")
	assert.EqualValues(t, 2, e.Metrics().Failures)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Error(t, e.Close(ctx))
}

// TestLanesEndAtTheFirstFailure: a receiver that is gone gets no more than what is on
// its way already.
func TestLanesEndAtTheFirstFailure(t *testing.T) {
	c := newCrossroads(t)
	c.set(func(id string) int {
		if strings.HasPrefix(id, "gone") {
			return 410
		}
		return 0
	})
	e := newEndpoint(t, "hook", c.URL, EndpointConfig{MaxInFlight: 2, MaxEvents: 1, Logger: silent()})
	events := []*Event{pushOf("gone", 1)}
	for i := range 500 {
		events = append(events, pushOf("there", i+1))
	}
	hub := newBroadcaster(t)
	require.NoError(t, hub.Add("hook", e))
	require.NoError(t, hub.Write(t.Context(), events...))
	sinktest.Eventually(t, func() bool { return e.Metrics().State.Reason == ReasonGone }, "gone")
	time.Sleep(20 * time.Millisecond)
	c.mu.Lock()
	took := len(c.took)
	c.mu.Unlock()
	assert.Less(t, took, 100)
	c.set(nil)
	e.Resume()
	require.NoError(t, hub.Close(t.Context()))
	assert.Len(t, c.inOrder(t), 501)
}

// TestSameEventInAnotherHub: nothing that was settled before answers for it.
func TestSameEventInAnotherHub(t *testing.T) {
	c := newCrossroads(t)
	c.set(func(id string) int {
		if id == "down#1" {
			return 503
		}
		return 0
	})
	e := newEndpoint(t, "hook", c.URL, EndpointConfig{MaxInFlight: 2, Backoff: time.Hour, MaxBackoff: time.Hour, Logger: silent()})
	events := []*Event{pushOf("down", 1), pushOf("up", 1)}
	for range 2 {
		hub := newBroadcaster(t)
		require.NoError(t, hub.Add("hook", e))
		require.NoError(t, hub.Write(t.Context(), events...))
		sinktest.Eventually(t, func() bool { return e.Metrics().State.Phase == Waiting }, "a failure")
		require.NoError(t, hub.Remove(t.Context(), "hook"))
		require.NoError(t, hub.Close(t.Context()))
		e.Resume()
	}
	c.set(nil)
	require.NoError(t, e.Write(t.Context(), events...))
	require.NoError(t, e.Close(t.Context()))
	assert.EqualValues(t, 2, e.Metrics().Delivered)
	assert.Len(t, c.inOrder(t), 2)
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
