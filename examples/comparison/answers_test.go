package comparison

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/examples/internal/scenario"
	"github.com/registry-notifications/notifications/ociregistry"
	"github.com/registry-notifications/notifications/sinktest"
)

// Nobody who talks to a registry can see that it tells of what happens: its answers are the
// same, byte for byte, with the handler around it, or the middleware inside, as without.
func TestAnswersAreTheSame(t *testing.T) {
	stock := func(storage string) func(t *testing.T, options configuration.Parameters) http.Handler {
		return func(t *testing.T, options configuration.Parameters) http.Handler {
			config := serverConfig("", options)
			if options == nil {
				config.Middleware = nil
			}
			if storage == "filesystem" {
				delete(config.Storage, "inmemory")
				config.Storage[storage] = configuration.Parameters{"rootdirectory": t.TempDir()}
			}
			config.Catalog.MaxEntries = 1000
			ctx, cancel := context.WithCancel(context.Background())
			app := handlers.NewApp(ctx, config)
			t.Cleanup(func() {
				require.NoError(t, app.Shutdown())
				cancel()
			})
			return app
		}
	}
	for _, c := range []struct {
		name  string
		start func(t *testing.T, options configuration.Parameters) http.Handler
		more
	}{
		{name: "go-containerregistry", start: func(*testing.T, configuration.Parameters) http.Handler {
			return registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
		}, more: more{random: 300}},
		{"distribution", stock("inmemory"), more{random: 300, stock: true}},
		{"distribution on disk", stock("filesystem"), more{stock: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain := listen(t, c.start(t, nil), c.more)
			statuses := statusesOf(plain)
			n := 0
			for _, times := range statuses {
				n += times
			}
			t.Logf("%d answers: %v", n, statuses)
			require.Greater(t, n, 300)
			for _, status := range []string{"200", "201", "202", "206", "404", "400", "416"} {
				require.NotZero(t, statuses[status], status)
			}

			sink := new(sinktest.Fake)
			config := ociregistry.Config{BridgeConfig: notifications.BridgeConfig{IncludeReferences: true}}
			same(t, plain, listen(t, ociregistry.Handler(c.start(t, nil), sink, config), c.more))
			require.Greater(t, len(sink.Events()), 50)

			if c.more.stock {
				to := newStream(t)
				same(t, plain, listen(t, c.start(t, configuration.Parameters{
					"endpoints": []any{map[any]any{"name": "webhook", "url": to.url}},
				}), c.more))
				to.until(t, "last/of/all")
			}
		})
	}
}

// more is what a client does besides everything.
type more struct {
	random int  // things that a client does which nobody has thought of
	stock  bool // what a stock server answers as it should
}

func same(t *testing.T, without, with []exchange) {
	t.Helper()
	require.Equal(t, len(without), len(with))
	for i := range with {
		require.Equal(t, without[i], with[i], "exchange %d", i)
	}
}

// listen serves a registry, has a client do much to it, and returns what could be heard.
func listen(t *testing.T, handler http.Handler, more more) (all []exchange) {
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // a registry may panic
	server.Start()
	defer server.Close()
	tap := &tap{address: server.Listener.Addr().String()}
	client, err := scenario.New("localhost:5000")
	require.NoError(t, err)
	client.DialWith(tap.dial)
	defer client.Close()
	heard := func() { all = append(all, tap.next().fixed()) }

	everything(&caller{t, client, heard})
	random := client.Random(1)
	for range more.random {
		require.NoError(t, random.Next(t.Context()))
		heard()
	}
	var steps []scenario.Step
	if more.stock {
		steps = slices.Concat(client.Protocol(), client.Odd())
	}
	for _, step := range append(steps, client.Push("last/of/all")) {
		require.NoError(t, step.Do(t.Context()), step.Name)
		heard()
	}
	return all
}

var statusLine = regexp.MustCompile(`(?m)^HTTP/1\.1 (\d{3}) .*\r$`)

// statusesOf counts the answers by their status.
func statusesOf(all []exchange) map[string]int {
	by := make(map[string]int)
	for _, e := range all {
		for _, m := range statusLine.FindAllStringSubmatch(e.answer, -1) {
			by[m[1]]++
		}
	}
	return by
}

// caller is a client that takes any answer, and none.
type caller struct {
	t     *testing.T
	to    *scenario.Scenario
	heard func() // is called after each request
}

// do sends a request and returns where the answer points to. Headers are "Name: value".
func (c *caller) do(method, path string, body io.Reader, headers ...string) (location string) {
	if strings.HasPrefix(path, "/") {
		path = "http://localhost:5000" + path
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, path, body)
	require.NoError(c.t, err)
	r.Header.Set("User-Agent", "caller")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	defer c.heard()
	resp, err := c.to.RoundTrip(r)
	if err != nil {
		return path // the registry has panicked
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if at := resp.Header.Get("Location"); at != "" {
		return at
	}
	return path
}
