package notifications_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

// TestWhatRegistriesGetWrong has what operators of today's registries suffer from,
// and the test that shows that we do not have it.
func TestWhatRegistriesGetWrong(t *testing.T) {
	for _, line := range []struct {
		wrong string
		test  func(*testing.T)
	}{
		{"the first retries come without any delay", testRetriesAreFew},
		{"backoff arithmetic overflows after some sixty failures", TestRetryBacksOffExponentially},
		{"Close on a dead endpoint never returns", testCloseOnADeadEndpoint},
		{"Close with an ignore rule flushes nothing", TestEndpointFilters},
		{"removing a closed sink skips one and writes twice to another", testClosedSinksAmongOthers},
		{"one blocking sink blocks every write", testOneBlockingSink},
		{"a new connection for every event", TestHTTPSinkKeepsItsConnection},
		{"the process's idle connections are closed", TestHTTPSinkLeavesTheRestOfTheProcessAlone},
		{"headers are appended, Host is ignored", TestHTTPSinkHeadersReplace},
		{"Authorization goes to another host", testNoAuthorizationAcrossRedirects},
		{"secrets in expvar", TestEndpointExpvar},
		{"secrets in the log", TestEndpointShowsNoSecrets},
		{"endpoints stay in expvar for ever", TestEndpointExpvar},
		{"timeout: 500 means 500 nanoseconds", testBareNumber},
		{"X-Forwarded-For and an unchecked user are trusted", TestBridgeTrustsNobodyUnlessTold},
		{"two sentinels, so that a closed sink is retried for ever", TestRetryGivesUpWhenTheSinkIsClosed},
		{"no metrics of retries and drops", testMetricsOfRetriesAndDrops},
	} {
		t.Run(line.wrong, line.test)
	}
}

func testRetriesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &script{}
		for range 1000 {
			to.errs = append(to.errs, status(Transient, 500, 0))
		}
		log, _ := quietLogger()
		s, err := NewRetryingSink(to, RetryConfig{Logger: log})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Error(t, s.Write(ctx, NewEvent(ActionPush)))
		assert.Less(t, len(to.attempts), 40, "attempts in the first minute")
	})
}

func testCloseOnADeadEndpoint(t *testing.T) {
	dead := newReceiver(t)
	dead.Close()
	e := newEndpoint(t, "dead", dead.URL, EndpointConfig{})
	require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	assert.ErrorAs(t, e.Close(ctx), new(*UndeliveredError))
}

func testClosedSinksAmongOthers(t *testing.T) {
	hub := newBroadcaster(t)
	defer hub.Close(t.Context())
	var open []*sinktest.Fake
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		f := new(sinktest.Fake)
		require.NoError(t, hub.Add(name, f))
		if i%2 == 0 {
			require.NoError(t, f.Close(t.Context()))
		} else {
			open = append(open, f)
		}
	}
	events := sinktest.Events("app", 20)
	for _, e := range events {
		require.NoError(t, hub.Write(t.Context(), e))
	}
	for _, f := range open {
		assert.Equal(t, sinktest.IDs(events), sinktest.IDs(f.Wait(t, 20)))
	}
}

func testOneBlockingSink(t *testing.T) {
	hub, stuck, free := newBroadcaster(t), new(sinktest.Fake), new(sinktest.Fake)
	release := stuck.Hold()
	require.NoError(t, hub.Add("stuck", stuck))
	require.NoError(t, hub.Add("free", free))
	for _, e := range sinktest.Events("app", 1000) {
		require.NoError(t, hub.Write(t.Context(), e))
	}
	free.Wait(t, 1000)
	release()
	require.NoError(t, hub.Close(t.Context()))
	assert.Len(t, stuck.Events(), 1000)
}

func testNoAuthorizationAcrossRedirects(t *testing.T) {
	other, first := newReceiver(t), newReceiver(t)
	for _, code := range []int{301, 302, 303, 307, 308} {
		first.answers(func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, other.URL, code) })
		s := newHTTPSink(t, first.URL, HTTPConfig{Headers: http.Header{"Authorization": {"Bearer x"}}})
		assert.Error(t, s.Write(t.Context(), NewEvent(ActionPush)))
	}
	assert.Zero(t, other.posts())
}

func testBareNumber(t *testing.T) {
	var c EndpointConfig
	assert.ErrorContains(t, json.Unmarshal([]byte(`{"timeout": 500}`), &c), `timeout: 500: allowed is text with a unit`)
}

func testMetricsOfRetriesAndDrops(t *testing.T) {
	r := newReceiver(t)
	r.answers(statusHandler(500))
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{})
	require.NoError(t, e.Write(t.Context(), sinktest.Events("app", 3)...))
	sinktest.Eventually(t, func() bool { return e.Metrics().Failures > 2 }, "retries are counted")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.Error(t, e.Close(ctx))
	assert.Equal(t, map[string]uint64{DroppedClosed: 3}, e.Metrics().Dropped)
}
