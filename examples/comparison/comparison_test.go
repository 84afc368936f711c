package comparison

import (
	"context"
	"net/http/httptest"
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
	t.Run("http", overHTTP)
	t.Run("decorators", byDecorators)
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
	for _, d := range wireDifferences {
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
		client      string // its Authorization
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
			if c.configure != nil {
				c.configure(config)
			}
			client := startServer(t, config)
			client.Authorization = c.client

			steps := c.steps(client)
			for _, step := range append(steps, sentinel(client)) {
				require.NoError(t, step.Do(t.Context()), step.Name)
			}
			compare(t, theirs.until(t, "sentinel/repo"), ours.until(t, "sentinel/repo"), append(c.differences, wireDifferences...))
			checkWanted(t, steps, ours.until(t, "sentinel/repo"))
			for _, d := range c.differences {
				require.NotZero(t, seen.differences[d.name], "no such difference any more: %s", d.name)
			}
		})
	}
}

// serverConfig is a stock server that tells theirs itself, and has our middleware.
func serverConfig(theirs string, options configuration.Parameters) *configuration.Configuration {
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"inmemory":    configuration.Parameters{},
			"delete":      configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}},
		},
		Notifications: configuration.Notifications{
			EventConfig: configuration.Events{IncludeReferences: true},
			Endpoints: []configuration.Endpoint{{
				Name: "theirs", URL: theirs, Timeout: 10 * time.Second, Threshold: 10, Backoff: time.Second,
			}},
		},
		Middleware: map[string][]configuration.Middleware{
			"registry": {{Name: "notifications", Options: options}},
		},
	}
	config.HTTP.Addr = "127.0.0.1:5000" // both put the port into the source
	config.HTTP.Secret = "secret"
	return config
}

// startServer returns a client of a running server.
func startServer(t *testing.T, config *configuration.Configuration) *scenario.Scenario {
	//lint:ignore SA1029 the server's key is a plain string
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), "instance.id", "the-instance"))
	app := handlers.NewApp(ctx, config)
	server := httptest.NewServer(app)
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
