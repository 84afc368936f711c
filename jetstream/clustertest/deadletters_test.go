package clustertest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestDeadLetters: what one instance's endpoint gives up is in the cluster, and another's sends
// it again.
func TestDeadLetters(t *testing.T) {
	var refuses atomic.Bool
	refuses.Store(true)
	got := make(chan struct{}, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if refuses.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got <- struct{}{}
	}))
	t.Cleanup(receiver.Close)
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	config := jetstream.Config{Lease: 5 * time.Second, Partitions: 1, Logger: quiet()}
	endpoint := func() *notifications.Endpoint {
		e, err := notifications.NewEndpoint("hook", receiver.URL, notifications.EndpointConfig{
			MaxAttempts: 1, MaxEvents: 1, Logger: quiet(),
		})
		require.NoError(t, err)
		return e
	}
	first := openHub(t, c.URL(), config)
	require.NoError(t, first.Add("hook", endpoint()))
	events := sinktest.Events("repo", 3)
	require.NoError(t, first.Write(t.Context(), events...))
	letters := func() uint64 {
		n, err := first.DeadLetters().Count(t.Context())
		require.NoError(t, err)
		return n
	}
	sinktest.Eventually(t, func() bool { return letters() == 3 }, "dead")
	require.NoError(t, first.Close(t.Context()))

	second := openHub(t, c.URL(), config)
	e := endpoint()
	require.NoError(t, second.Add("hook", e))
	none := errors.New("not now")
	taken := 0
	assert.ErrorIs(t, second.DeadLetters().Take(t.Context(), func(*notifications.DeadLetter) bool { return true }, func(l *notifications.DeadLetter) error {
		assert.Equal(t, events[0].ID, l.Event.ID)
		assert.Equal(t, notifications.ReasonExpired, l.Reason)
		taken++
		return none
	}), none)
	assert.Equal(t, 1, taken)
	assert.EqualValues(t, 3, letters())
	refuses.Store(false)
	n, err := e.Replay(t.Context(), notifications.ReplayFilter{})
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	for range 3 {
		<-got
	}
	assert.Zero(t, letters())
}

// TestRemoveCounts: what a sink has not had when it is removed is counted as that.
func TestRemoveCounts(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(receiver.Close)
	h := one(t)(t, nil)
	e, err := notifications.NewEndpoint("hook", receiver.URL, notifications.EndpointConfig{Logger: quiet()})
	require.NoError(t, err)
	require.NoError(t, h.Add("hook", e))
	require.NoError(t, h.Write(t.Context(), sinktest.Events("repo", 100)...))
	sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 100 }, "pending")
	require.NoError(t, h.Remove(t.Context(), "hook"))
	m := e.Metrics()
	assert.NoError(t, sinktest.Conserved(m.Metrics))
	assert.EqualValues(t, 100, m.Accepted)
	assert.EqualValues(t, 100, m.Dropped[notifications.DroppedRemoved])
	require.NoError(t, e.Close(t.Context()))
}
