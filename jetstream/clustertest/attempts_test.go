package clustertest

import (
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

// TestAttempts: how often an event was tried is known to the next instance.
func TestAttempts(t *testing.T) {
	var hits atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(receiver.Close)
	c, err := Start(1, nil)
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	config := jetstream.Config{Lease: 5 * time.Second, Partitions: 2, Logger: quiet()}
	open := func() *jetstream.Hub {
		h := openHub(t, c.URL(), config)
		e, err := notifications.NewEndpoint("hook", receiver.URL, notifications.EndpointConfig{
			MaxAttempts: 30, Backoff: 5 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, Logger: quiet(),
		})
		require.NoError(t, err)
		require.NoError(t, h.Add("hook", e))
		return h
	}
	first := open()
	require.NoError(t, first.Write(t.Context(), sinktest.Events("repo", 1)...)) // more may come in several blocks, each with attempts of its own
	sinktest.Eventually(t, func() bool { return hits.Load() >= 10 }, "tried")
	require.NoError(t, first.Close(t.Context()))
	before := hits.Load()
	require.Less(t, before, int64(30))

	second := open()
	sinktest.Eventually(t, func() bool { return second.Metrics()["hook"].DeadLettered == 1 }, "given up")
	assert.LessOrEqual(t, hits.Load(), int64(31), "one attempt may have been under way at the end")
	n := 0
	require.NoError(t, second.DeadLetters().Take(t.Context(), func(*notifications.DeadLetter) bool { return true }, func(l *notifications.DeadLetter) error {
		assert.Equal(t, 30, l.Attempts)
		assert.NotZero(t, l.First)
		n++
		return nil
	}))
	assert.Equal(t, 1, n)

	// What comes next is tried anew.
	require.NoError(t, second.Write(t.Context(), sinktest.Events("repo", 6)[5]))
	sinktest.Eventually(t, func() bool { return second.Metrics()["hook"].DeadLettered == 2 }, "given up")
	assert.GreaterOrEqual(t, hits.Load(), int64(60))
}
