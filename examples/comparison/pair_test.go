package comparison

import (
	"context"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/examples/internal/scenario"
	"github.com/registry-notifications/notifications/ociregistry"
)

// setup is how a server is put together that tells of everything twice: by the
// decorators inside, and by the handler around it. The zero value works.
type setup struct {
	configure func(*configuration.Configuration)
	options   configuration.Parameters // of the middleware
	config    ociregistry.Config

	// wrap returns what the client talks to, of the application and of what makes
	// handlers of one configuration around something. Nil means one around the application.
	wrap func(t *testing.T, app http.Handler, around func(http.Handler) http.Handler) http.Handler
}

// pair is such a server, with a client.
type pair struct {
	client       *scenario.Scenario
	server       http.Handler // what the client talks to
	requests     *requests
	inner, outer *stream       // the decorators' and the handler's
	last         scenario.Step // tells both streams that there is no more
}

func startPair(t *testing.T, s setup) *pair {
	p := &pair{requests: new(requests), inner: newStream(t), outer: newStream(t)}
	options := configuration.Parameters{
		"addr": "127.0.0.1:5000", "events": map[any]any{"includereferences": true},
		"endpoints": []any{map[any]any{"name": "inner", "url": p.inner.url}},
	}
	for key, value := range s.options {
		options[key] = value
	}
	config := serverConfig("", options)
	inside(config, watch, configuration.Parameters{"to": p.requests})
	if s.configure != nil {
		s.configure(config)
	}

	hub := startHub(t, p.outer.url)
	var err error
	s.config.Source, err = notifications.NewSource("127.0.0.1:5000")
	require.NoError(t, err)
	s.config.Source.InstanceID = "the-instance"
	s.config.IncludeReferences = true
	around := func(next http.Handler) http.Handler { return ociregistry.Handler(next, hub, s.config) }
	p.client = startServer(t, config, func(app http.Handler) http.Handler {
		if s.wrap == nil {
			p.server = around(app)
		} else {
			p.server = s.wrap(t, app, around)
		}
		return p.server
	})
	p.last = sentinel(p.client)
	return p
}

// startHub returns a hub with one webhook.
func startHub(t *testing.T, url string) *notifications.Broadcaster {
	hub, err := notifications.NewBroadcaster(notifications.HubConfig{})
	require.NoError(t, err)
	endpoint, err := notifications.NewEndpoint("outer", url, notifications.EndpointConfig{})
	require.NoError(t, err)
	require.NoError(t, hub.Add(endpoint.Name(), endpoint))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, hub.Close(ctx))
	})
	return hub
}

// run has the client go through the steps, and compares what both tell of it. The
// differences are made of the decorators' events.
func (p *pair) run(t *testing.T, steps []scenario.Step, differences func(inner []values) []difference) {
	t.Helper()
	for _, step := range append(steps, p.last) {
		require.NoError(t, step.Do(t.Context()), step.Name)
	}
	inner, outer := p.inner.until(t, "sentinel/repo"), p.outer.until(t, "sentinel/repo")
	checkWanted(t, steps, inner)
	named := differences(inner)
	before := maps.Clone(seen.differences)
	compare(t, inner, outer, p.requests.by, named)
	for _, d := range named {
		require.Greater(t, seen.differences[d.name], before[d.name], "no such difference any more: %s", d.name)
	}
}
