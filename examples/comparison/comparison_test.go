package comparison

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/silly"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications/examples/internal/scenario"
	_ "github.com/registry-notifications/notifications/middleware"
)

func TestComparison(t *testing.T) {
	seen = newTally()
	t.Run("http", overHTTP)
	t.Run("decorators", byDecorators)
	t.Run("tags", pushedByTag)
	if t.Failed() {
		return
	}

	t.Log(&seen)
	require.GreaterOrEqual(t, seen.events, 40)
	for _, kind := range []string{
		"push manifest", "push manifest by tag", "push blob",
		"pull manifest", "pull manifest by tag", "pull blob",
		"mount blob",
		"delete manifest", "delete blob", "delete tag", "delete repository",
	} {
		require.NotZero(t, seen.kinds[kind], kind)
	}
	for _, d := range append(allDifferences(), afterTag) {
		require.NotZero(t, seen.differences[d.name], "no such difference any more: %s", d.name)
	}
}

// overHTTP has one server that reports everything to both streams, in several
// set-ups.
func overHTTP(t *testing.T) {
	trusting := map[any]any{"trustedproxies": 1, "trustbasicuser": true}
	for _, c := range []struct {
		name        string
		configure   func(*configuration.Configuration)
		options     map[any]any
		steps       func(*scenario.Scenario) []scenario.Step
		client      string       // its Authorization
		pulls       []difference // nil means pullDifferences
		differences []difference
	}{
		{name: "an image", steps: (*scenario.Scenario).Image},
		{name: "the protocol", steps: (*scenario.Scenario).Protocol},
		{
			name:  "with a public name",
			steps: (*scenario.Scenario).Image,
			configure: func(c *configuration.Configuration) {
				c.HTTP.Host = "http://registry.example.org"
				c.HTTP.RelativeURLs = false
			},
			options: map[any]any{"url": "http://registry.example.org"},
		},
		{
			name:  "with authentication",
			steps: (*scenario.Scenario).Protocol,
			configure: func(c *configuration.Configuration) {
				c.Auth = configuration.Auth{"silly": {"realm": "r", "service": "s"}}
			},
			client: "Bearer anything",
		},
		{name: "trusting a proxy", steps: (*scenario.Scenario).Proxied, options: trusting, differences: proxyDifferences},
		{
			name: "counting HEAD", steps: (*scenario.Scenario).Heads,
			options: map[any]any{"counthead": true}, pulls: pullDifferences[1:],
		},
		{name: "trusting nobody", steps: (*scenario.Scenario).Proxied, differences: trustDifferences},
	} {
		t.Run(c.name, func(t *testing.T) {
			theirs, ours := newStream(t), newStream(t)
			options := configuration.Parameters{
				"addr": "127.0.0.1:5000", "events": map[any]any{"includereferences": true},
				"endpoints": []any{map[any]any{"name": "ours", "url": ours.url}},
			}
			for key, value := range c.options {
				options[key.(string)] = value
			}
			config := serverConfig(theirs.url, options)
			requests := new(requests)
			inside(config, watch, configuration.Parameters{"to": requests})
			if c.configure != nil {
				c.configure(config)
			}
			client := startServer(t, config)
			client.Authorization = c.client

			steps := c.steps(client)
			for _, step := range append(steps, sentinel(client)) {
				require.NoError(t, step.Do(t.Context()), step.Name)
			}
			if c.pulls == nil {
				c.pulls = pullDifferences
			}
			compare(t, theirs.until(t, "sentinel/repo"), ours.until(t, "sentinel/repo"), requests.by, slices.Concat(c.differences, wireDifferences, c.pulls))
			checkWanted(t, steps, ours.until(t, "sentinel/repo"))
			for _, d := range c.differences {
				require.NotZero(t, seen.differences[d.name], "no such difference any more: %s", d.name)
			}
		})
	}
}

// allDifferences are those that there are of a middleware without options.
func allDifferences() []difference { return slices.Concat(wireDifferences, pullDifferences) }

// serverConfig is a stock server that tells theirs itself, if that is a URL, and has our
// middleware.
func serverConfig(theirs string, options configuration.Parameters) *configuration.Configuration {
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"inmemory":    configuration.Parameters{},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Middleware: map[string][]configuration.Middleware{
			"registry": {{Name: "notifications", Options: options}},
		},
	}
	if theirs != "" {
		config.Notifications = configuration.Notifications{
			EventConfig: configuration.Events{IncludeReferences: true},
			Endpoints: []configuration.Endpoint{{
				Name: "theirs", URL: theirs, Timeout: 10 * time.Second, Threshold: 10, Backoff: time.Second,
			}},
		}
	}
	config.HTTP.Addr = "127.0.0.1:5000" // both put the port into the source
	config.HTTP.Secret = "secret"
	return config
}

// inside puts a middleware of the server's behind those that it has: the last one is
// what the server calls, and closes.
func inside(config *configuration.Configuration, name string, options configuration.Parameters) {
	config.Middleware["registry"] = append([]configuration.Middleware{{Name: name, Options: options}}, config.Middleware["registry"]...)
}

// startServer returns a client of a running server, before which others may stand.
func startServer(t *testing.T, config *configuration.Configuration, front ...func(http.Handler) http.Handler) *scenario.Scenario {
	//lint:ignore SA1029 the server's key is a plain string
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), "instance.id", "the-instance"))
	app := handlers.NewApp(ctx, config)
	var handler http.Handler = app
	for _, f := range front {
		handler = f(handler)
	}
	server := httptest.NewServer(handler)
	client, err := scenario.New(strings.TrimPrefix(server.URL, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() {
		client.Close()
		server.Close()
		require.NoError(t, app.Shutdown())
		cancel()
	})
	return client
}

func sentinel(s *scenario.Scenario) scenario.Step { return s.Push("sentinel/repo") }

// checkWanted checks that the scenario's own list is right.
func checkWanted(t *testing.T, steps []scenario.Step, ours []values) {
	t.Helper()
	var want, got []scenario.Event
	for _, step := range steps {
		want = append(want, step.Want...)
	}
	for _, e := range ours {
		got = append(got, scenario.Event{
			Action: text(e, "action"), Type: text(e, "target", "type"),
			Repository: text(e, "target", "repository"), Tag: text(e, "target", "tag"), From: text(e, "target", "fromRepository"),
		})
	}
	require.ElementsMatch(t, want, got)
}
