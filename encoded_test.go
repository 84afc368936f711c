package notifications_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// relay is a sink that passes events on, two at a time.
type relay struct {
	sinktest.Fake

	mu     sync.Mutex // guards passed
	passed []string
	wrong  error // returned once, with a number that cannot be
}

func (r *relay) DeliverEncoded(_ context.Context, events ...[]byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.wrong; err != nil {
		r.wrong = nil
		return len(events) + 1, err
	}
	n := min(2, len(events))
	for _, e := range events[:n] {
		r.passed = append(r.passed, string(e))
	}
	return n, nil
}

func (r *relay) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.passed...)
}

func TestEncodedDeliverer(t *testing.T) {
	hub, err := NewBroadcaster(quick)
	require.NoError(t, err)
	r := &relay{wrong: errors.New("boom")}
	require.NoError(t, hub.Add("relay", r))
	events := sinktest.Events("relay", 101)
	require.NoError(t, hub.Write(t.Context(), events...))
	sinktest.Eventually(t, func() bool { return len(r.all()) == len(events) }, "passed on")
	for i, passed := range r.all() {
		want, err := json.Marshal(events[i])
		require.NoError(t, err)
		require.Equal(t, string(want), passed)
	}
	require.NoError(t, hub.Close(t.Context()))
	assert.Empty(t, r.Events(), "Write is not called")
	assert.EqualValues(t, len(events), hub.Metrics()["relay"].Delivered)
}
