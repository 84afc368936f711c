package notifications_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/sinktest"
)

var quietLog = stdlog.New(io.Discard, "", 0)

// impatient is an endpoint configuration for tests that fail deliveries.
func impatient(c EndpointConfig) EndpointConfig {
	c.Backoff, c.MaxBackoff = time.Millisecond, 10*time.Millisecond
	if c.Logger == nil {
		c.Logger, _ = quietLogger()
	}
	return c
}

func newEndpoint(t testing.TB, name, url string, c EndpointConfig) *Endpoint {
	e, err := NewEndpoint(name, url, impatient(c))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = e.Close(ctx)
	})
	return e
}

func TestEndpointIsASink(t *testing.T) {
	for name, config := range map[string]EndpointConfig{
		"default":   {},
		"filtering": {Ignore: Rules{Actions: []string{"nothing"}}},
		"one event": {MaxEvents: 1},
	} {
		t.Run(name, func(t *testing.T) {
			sinktest.TestSink(t, func(t *testing.T) sinktest.Subject {
				r := newReceiver(t)
				return sinktest.Subject{Sink: newEndpoint(t, "hook", r.URL, config), Events: r.got, Hold: r.hold}
			})
		})
	}
}

func TestEndpointDoesNotWaitForTheNetwork(t *testing.T) {
	r := newReceiver(t)
	release := r.hold()
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{})
	events := sinktest.Events("app", 100)
	for _, event := range events {
		require.NoError(t, e.Write(t.Context(), event)) // would hang if it waited
	}
	m := e.Metrics()
	assert.EqualValues(t, 100, m.Accepted)
	assert.EqualValues(t, 100, m.Pending)
	release()
	sinktest.Eventually(t, func() bool { return e.Metrics().Delivered == 100 }, "all delivered")
	assert.Equal(t, sinktest.IDs(events), sinktest.IDs(r.got()))
	assert.Less(t, r.posts(), 100, "what had to wait went together")
}

func TestEndpointRetriesUntilItIsTaken(t *testing.T) {
	r := newReceiver(t)
	failures := 0
	r.answers(func(w http.ResponseWriter, req *http.Request) {
		if failures++; failures == 5 { // one request at a time
			r.answers(nil)
		}
		w.WriteHeader(503)
	})
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{Threshold: 2})
	events := sinktest.Events("app", 10)
	require.NoError(t, e.Write(t.Context(), events...))
	sinktest.Eventually(t, func() bool { return e.Metrics().Delivered == 10 }, "all delivered")
	assert.Equal(t, sinktest.IDs(events), sinktest.IDs(r.got()))

	m := e.Metrics()
	assert.EqualValues(t, 5, m.Failures)
	assert.Equal(t, map[string]uint64{"503 Service Unavailable": 5, "200 OK": 1}, m.Statuses)
	assert.Equal(t, State{Phase: Running}, m.State)
	assert.NoError(t, sinktest.Conserved(m.Metrics))
	// A retry is the same envelope, byte for byte.
	for _, body := range r.bodies {
		assert.Equal(t, r.bodies[0], body)
	}
}

func TestEndpointState(t *testing.T) {
	for _, c := range []struct {
		answer http.HandlerFunc
		want   State
	}{
		{statusHandler(500), State{Phase: Waiting, Reason: ReasonFailures}},
		{statusHandler(403), State{Phase: Waiting, Reason: ReasonRefused}},
		{statusHandler(410), State{Phase: Stopped, Reason: ReasonGone}},
		{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "100")
			w.WriteHeader(429)
		}, State{Phase: Waiting, Reason: ReasonRetryAfter}},
	} {
		r := newReceiver(t)
		r.answers(c.answer)
		e := newEndpoint(t, "hook", r.URL, EndpointConfig{})
		require.Equal(t, State{Phase: Running}, e.Metrics().State)
		require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
		sinktest.Eventually(t, func() bool { return e.Metrics().State.Phase == c.want.Phase }, "%+v", c.want)
		got := e.Metrics().State
		if c.want.Phase == Waiting {
			assert.False(t, got.Until.IsZero())
		}
		got.Until = time.Time{}
		assert.Equal(t, c.want, got)
		assert.EqualValues(t, 1, e.Metrics().Pending, "nothing is lost")

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		var left *UndeliveredError
		require.ErrorAs(t, e.Close(ctx), &left)
		assert.Equal(t, map[string]uint64{"hook": 1}, left.Sinks)
		assert.ErrorContains(t, left, `1 for "hook"`)
	}
}

func TestEndpointFilters(t *testing.T) {
	r := newReceiver(t)
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{
		IgnoredMediaTypes: []string{"a"},
		Ignore:            Rules{MediaTypes: []string{"b"}, Actions: []string{ActionPull}},
	})
	events := sinktest.Events("app", 4)
	events[0].Target.MediaType, events[1].Target.MediaType, events[2].Action = "a", "b", ActionPull
	require.NoError(t, e.Write(t.Context(), events...))
	require.NoError(t, e.Close(t.Context()), "flushes with an ignore rule too")
	assert.Equal(t, []string{"app-3"}, sinktest.IDs(r.got()))
	m := e.Metrics().Metrics
	assert.Equal(t, Metrics{Accepted: 4, Delivered: 1, Filtered: 3}, m)
}

func TestEndpointBehindAHubHasNoQueue(t *testing.T) {
	r := newReceiver(t)
	release := r.hold()
	defer release()
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{Ignore: Rules{Actions: []string{ActionPull}}})
	b := newBroadcaster(t)
	require.NoError(t, b.Add("hook", e))
	events := sinktest.Events("app", 10)
	events[4].Action = ActionPull
	require.NoError(t, b.Write(t.Context(), events...))
	sinktest.Eventually(t, func() bool { return r.posts() == 1 }, "a POST is under way")

	// What is under way counts as pending, for the hub and the endpoint alike.
	for _, m := range []Metrics{b.Metrics()["hook"], e.Metrics().Metrics} {
		assert.Equal(t, Metrics{Accepted: 10, Pending: 10}, m)
	}
	release()
	require.NoError(t, b.Close(t.Context()))
	for _, m := range []Metrics{b.Metrics()["hook"], e.Metrics().Metrics} {
		assert.Equal(t, Metrics{Accepted: 10, Delivered: 9, Filtered: 1}, m)
	}
	assert.ErrorIs(t, e.Write(t.Context(), NewEvent(ActionPush)), ErrSinkClosed, "the hub closed it")
	assert.Equal(t, Metrics{Accepted: 10, Delivered: 9, Filtered: 1, Rejected: 1}, e.Metrics().Metrics)
}

func TestEndpointClosedInAHubLeavesIt(t *testing.T) {
	r := newReceiver(t)
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{})
	b := newBroadcaster(t)
	defer b.Close(t.Context())
	require.NoError(t, b.Add("hook", e))
	require.NoError(t, e.Close(t.Context()))
	require.NoError(t, b.Write(t.Context(), sinktest.Events("app", 3)...))
	sinktest.Eventually(t, func() bool { return len(b.Metrics()) == 0 }, "it leaves the hub")
	m := e.Metrics().Metrics
	assert.Equal(t, map[string]uint64{DroppedSinkClosed: 3}, m.Dropped)
	assert.NoError(t, sinktest.Conserved(m))
}

func TestEndpointDeliver(t *testing.T) {
	r := newReceiver(t)
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{MaxEvents: 4, Ignore: Rules{Actions: []string{ActionPull}}})
	events := sinktest.Events("app", 6)
	events[5].Action = ActionPull
	n, err := e.Deliver(t.Context(), events...)
	require.NoError(t, err)
	assert.Equal(t, 4, n, "one envelope")
	n, err = e.Deliver(t.Context(), events[4:]...)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, Metrics{Accepted: 6, Delivered: 5, Filtered: 1}, e.Metrics().Metrics)
}

func TestEndpointBadInput(t *testing.T) {
	const url = "http://example.org/hook"
	for _, c := range []struct {
		name, url string
		config    EndpointConfig
		want      string
	}{
		{"", url, EndpointConfig{}, "name: empty"},
		{"hook", "", EndpointConfig{}, `endpoint "hook": url: ""`},
		{"hook", "mailto:a@example.org", EndpointConfig{}, "url:"},
		{"hook", url, EndpointConfig{Name: "other"}, `name: "other"`},
		{"hook", url, EndpointConfig{URL: "http://u:hunter2@example.org/other"}, "url: http://redacted@example.org/other"},
		{"hook", url, EndpointConfig{Disabled: true}, "disabled: true"},
		{"hook", url, EndpointConfig{Timeout: -time.Second}, "timeout: -1s"},
		{"hook", url, EndpointConfig{Threshold: -1}, "threshold: -1"},
		{"hook", url, EndpointConfig{Backoff: -1}, "backoff: -1ns"},
		{"hook", url, EndpointConfig{MaxBackoff: -1}, "maxbackoff: -1ns"},
		{"hook", url, EndpointConfig{Backoff: time.Hour, MaxBackoff: time.Second}, "maxbackoff: 1s"},
		{"hook", url, EndpointConfig{MaxEvents: 5000}, "maxevents: 5000"},
		{"hook", url, EndpointConfig{MaxBytes: -5}, "maxbytes: -5"},
		{"hook", url, EndpointConfig{MediaType: "x"}, `mediatype: "x"`},
		{"hook", url, EndpointConfig{Ignore: Rules{Actions: []string{""}}}, `ignore.actions[0]: ""`},
		{"hook", url, EndpointConfig{Only: Rules{Repositories: []string{"[a"}}}, `only.repositories[0]: "[a"`},
		{"hook", url, EndpointConfig{Headers: http.Header{"X": {"hunter2\n"}}}, "headers: X[0]"},
		{"hook", url, EndpointConfig{MaxAttempts: -1}, "maxattempts: -1"},
		{"hook", url, EndpointConfig{MaxAge: -1}, "maxage: -1ns"},
		{"hook", url, EndpointConfig{MaxPending: -1}, "maxpending: -1"},
		{"hook", url, EndpointConfig{Overflow: "x"}, `overflow: "x"`},
		{"hook", url, EndpointConfig{SigningKeys: []string{"whsec_hunter2"}}, "signingkeys[0]"},
		{"hook", url, EndpointConfig{SigningKeys: []string{"hunter2"}}, "signingkeys[0]"},
		{"hook", url, EndpointConfig{SigningKeys: []string{"env:"}}, "signingkeys[0]"},
		{"hook", url, EndpointConfig{Addresses: Addresses{Allow: []string{"10.0.0.0/8", "10.0.0"}}}, "addresses.allow[1]"},
		{"hook", url, EndpointConfig{Addresses: Addresses{Deny: []string{"x"}}}, "addresses.deny[0]"},
		{"hook", url, EndpointConfig{TLS: TLS{CertFile: "x"}}, "tls."},
		{"hook", url, EndpointConfig{TLS: TLS{CAFile: "/dev/null"}}, "tls.cafile"},
	} {
		e, err := NewEndpoint(c.name, c.url, c.config)
		assert.Nil(t, e)
		if assert.ErrorContains(t, err, c.want) {
			assert.ErrorAs(t, err, new(*ConfigError), c.want)
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
	assert.Equal(t, "[]", publishedEndpoints(t), "nothing was started")
}

func TestHubBadInput(t *testing.T) {
	_, err := NewBroadcaster(HubConfig{Backoff: -time.Second})
	assert.ErrorContains(t, err, "backoff: -1s")
	_, err = NewBroadcaster(HubConfig{Backoff: time.Second, MaxBackoff: time.Millisecond})
	assert.ErrorContains(t, err, "maxbackoff: 1ms")
	_, err = NewHub(nil, HubConfig{})
	assert.Error(t, err)
	_, err = NewQueue(nil, HubConfig{})
	assert.Error(t, err)
	b := newBroadcaster(t)
	defer b.Close(t.Context())
	assert.Error(t, b.Add("hook", (*Endpoint)(nil)))
}

func publishedEndpoints(t *testing.T) string {
	t.Helper()
	registry, ok := expvar.Get("registry").(*expvar.Map)
	if !ok {
		return "[]" // before the first endpoint
	}
	return registry.Get("notifications").(*expvar.Map).Get("endpoints").String()
}

func TestEndpointExpvar(t *testing.T) {
	r := newReceiver(t)
	e := newEndpoint(t, "hook", strings.Replace(r.URL, "http://", "http://mallory:hunter2@", 1)+"/?token=query-token",
		EndpointConfig{Headers: http.Header{"X-Token": {"secret-token"}}, Ignore: Rules{Actions: []string{ActionPull}}})
	events := sinktest.Events("app", 3)
	events[0].Action = ActionPull
	require.NoError(t, e.Write(t.Context(), events...))
	sinktest.Eventually(t, func() bool { return e.Metrics().Pending == 0 }, "all settled")

	shown := publishedEndpoints(t)
	assertNoSecrets(t, shown)
	var list []struct {
		Name, URL string
		Timeout   time.Duration
		Threshold int
		Headers   http.Header
		Ignore    Rules
		Metrics   struct {
			Pending, Events, Successes, Failures, Errors, Filtered int
			Statuses                                               map[string]int
			State                                                  State
		}
	}
	require.NoError(t, json.Unmarshal([]byte(shown), &list), shown)
	require.Len(t, list, 1)
	got := list[0]
	assert.Equal(t, "hook", got.Name)
	assert.Equal(t, strings.Replace(r.URL, "http://", "http://redacted@", 1)+"/?redacted", got.URL)
	assert.Equal(t, 15*time.Second, got.Timeout)
	assert.Equal(t, 10, got.Threshold)
	assert.Equal(t, http.Header{"X-Token": {"[redacted]"}}, got.Headers)
	assert.Equal(t, []string{ActionPull}, got.Ignore.Actions)
	assert.Equal(t, 3, got.Metrics.Events)
	assert.Equal(t, 2, got.Metrics.Successes)
	assert.Equal(t, 1, got.Metrics.Filtered)
	assert.Equal(t, map[string]int{"200 OK": 1}, got.Metrics.Statuses)
	assert.Equal(t, Running, got.Metrics.State.Phase)

	require.NoError(t, e.Close(t.Context()))
	assert.Equal(t, "[]", publishedEndpoints(t), "gone after Close")
}

// TestEndpointShowsNoSecrets looks for the configuration's secrets in every log,
// error and way to print there is.
func TestEndpointShowsNoSecrets(t *testing.T) {
	var logged bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&logged)
	logger.SetLevel(logrus.TraceLevel)
	config := EndpointConfig{
		Headers: http.Header{"X-Token": {"secret-token"}}, Logger: logrus.NewEntry(logger),
		Timeout: 5 * time.Second, SigningKeys: []string{"whsec_c2VjcmV0LXRva2VuLXNlY3JldC10b2tlbg=="},
	}
	with := func(url string) string {
		return strings.Replace(url, "http://", "http://mallory:hunter2@", 1) + "/?token=query-token"
	}
	echo := func(c net.Conn) {
		// A receiver that is not one, and throws what it got back at us.
		_, _ = io.WriteString(c, "HTTP/1.1 secret-token hunter2 query-token\r\n\r\n")
	}
	r := newReceiver(t)
	r.answers(statusHandler(403))
	refused := newReceiver(t)
	refused.Close()
	for _, url := range []string{with(r.URL), with(refused.URL), with(listen(t, echo))} {
		e := newEndpoint(t, "hook", url, config)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			assertNoSecrets(t, fmt.Sprintf(verb, e))
			assertNoSecrets(t, fmt.Sprintf(verb, struct{ e *Endpoint }{e}))
			assertNoSecrets(t, fmt.Sprintf(verb, e.Metrics()))
		}
		require.NoError(t, e.Write(t.Context(), NewEvent(ActionPush)))
		sinktest.Eventually(t, func() bool { return e.Metrics().State.Phase == Waiting }, "a failure")
		assertNoSecrets(t, publishedEndpoints(t))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		assertNoSecrets(t, fmt.Sprint(e.Close(ctx)))

		s := newHTTPSink(t, url, HTTPConfig{Headers: config.Headers, SigningKeys: config.SigningKeys})
		err := s.Write(t.Context(), NewEvent(ActionPush))
		for ; err != nil; err = errors.Unwrap(err) {
			assertNoSecrets(t, fmt.Sprintf("%+v %#v", err, err))
		}
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			assertNoSecrets(t, fmt.Sprintf(verb, s))
		}
	}
	assert.NotEmpty(t, logged.String())
	assertNoSecrets(t, logged.String())
}

func TestEndpointRemovedFromAHub(t *testing.T) {
	r := newReceiver(t)
	defer r.hold()()
	e := newEndpoint(t, "hook", r.URL, EndpointConfig{})
	first, second := newBroadcaster(t), newBroadcaster(t)
	defer first.Close(t.Context())
	require.NoError(t, first.Add("hook", e))
	require.NoError(t, first.Write(t.Context(), sinktest.Events("app", 5)...))
	sinktest.Eventually(t, func() bool { return r.posts() == 1 }, "a POST is under way")
	require.NoError(t, first.Remove(t.Context(), "hook"))
	assert.Equal(t, Metrics{Accepted: 5, Dropped: map[string]uint64{DroppedRemoved: 5}}, e.Metrics().Metrics)

	// It is not closed, and can move to another hub.
	r.hold()()
	require.NoError(t, second.Add("hook", e))
	require.NoError(t, second.Write(t.Context(), sinktest.Events("app", 2)...))
	require.NoError(t, second.Close(t.Context()))
	assert.Equal(t, Metrics{Accepted: 7, Delivered: 2, Dropped: map[string]uint64{DroppedRemoved: 5}}, e.Metrics().Metrics)
}
