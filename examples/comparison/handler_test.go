package comparison

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/examples/internal/scenario"
	"github.com/registry-notifications/notifications/ociregistry"
)

// The decorators inside a server and the handler around it tell of the same. In what
// follows, "theirs" are the decorators' events and "ours" are the handler's.
func TestHandler(t *testing.T) {
	seen = newTally()
	t.Run("every scenario", everyScenario)
	t.Run("every set-up", everySetup)
	t.Run("a pull-through cache", pullThrough)
	t.Run("answers that break off", breakOff)

	t.Log(&seen)
}

func everyScenario(t *testing.T) {
	for _, c := range []struct {
		name        string
		steps       func(*scenario.Scenario) []scenario.Step
		differences func(inner []values) []difference
	}{
		{"an image", (*scenario.Scenario).Image, usual},
		{"the protocol", (*scenario.Scenario).Protocol, usual},
		{"uploads", (*scenario.Scenario).Uploads, only(sameRequest)},
		{"manifests", (*scenario.Scenario).Manifests, usual},
		{"what is odd", (*scenario.Scenario).Odd, only(sameRequest)},
		{"what is not acceptable", (*scenario.Scenario).Unacceptable, func(inner []values) []difference {
			return []difference{lookedUp(inner), notAcceptable, sameRequest()}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPair(t, setup{})
			p.run(t, c.steps(p.client), c.differences)
		})
	}
}

func everySetup(t *testing.T) {
	public, err := notifications.NewURLBuilder("https://registry.example.org/public")
	require.NoError(t, err)
	authentication := func(c *configuration.Configuration) {
		c.Auth = configuration.Auth{"silly": {"realm": "r", "service": "s"}}
	}
	of := func(c notifications.BridgeConfig) ociregistry.Config { return ociregistry.Config{BridgeConfig: c} }

	for _, c := range []struct {
		name          string
		setup         setup
		authorization string // the client's
		steps         func(*scenario.Scenario) []scenario.Step
		differences   func(inner []values) []difference
	}{
		{
			name:  "with a public name",
			setup: setup{options: configuration.Parameters{"url": "https://registry.example.org/public"}, config: of(notifications.BridgeConfig{URLs: public})},
			steps: (*scenario.Scenario).Protocol, differences: usual,
		},
		{
			name: "with its own idea of where it is",
			setup: setup{configure: func(c *configuration.Configuration) {
				c.HTTP.Host, c.HTTP.RelativeURLs = "http://registry.example.org", false
			}},
			steps: (*scenario.Scenario).Protocol, differences: usual,
		},
		{
			name: "below a prefix",
			setup: setup{
				configure: func(c *configuration.Configuration) { c.HTTP.Prefix = "/hub/" },
				config:    ociregistry.Config{Prefix: "/hub"},
				wrap: func(_ *testing.T, app http.Handler, around func(http.Handler) http.Handler) http.Handler {
					next := around(app)
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if !strings.HasPrefix(r.URL.Path, "/hub/") {
							r.URL.Path, r.URL.RawPath = "/hub"+r.URL.Path, ""
						}
						next.ServeHTTP(w, r)
					})
				},
			},
			steps: (*scenario.Scenario).Protocol, differences: usual,
		},
		{
			name:  "with authentication of its own",
			setup: setup{configure: authentication}, authorization: "Bearer anything",
			steps: (*scenario.Scenario).Protocol,
			differences: func(inner []values) []difference {
				return []difference{sameRequest(), untagged(inner), unknownActor}
			},
		},
		{
			name: "with authentication in front",
			setup: setup{configure: authentication, wrap: func(_ *testing.T, app http.Handler, around func(http.Handler) http.Handler) http.Handler {
				next := around(app)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ada := notifications.ActorRecord{Name: "ada"}
					next.ServeHTTP(w, r.WithContext(notifications.ContextWithActor(r.Context(), ada)))
				})
			}},
			authorization: "Bearer anything",
			steps:         (*scenario.Scenario).Protocol, differences: usual,
		},
		{
			name: "trusting a proxy",
			setup: setup{
				options: configuration.Parameters{"trustedproxies": 1, "trustbasicuser": true},
				config:  of(notifications.BridgeConfig{TrustedProxies: 1, TrustBasicUser: true}),
			},
			steps: (*scenario.Scenario).Proxied, differences: only(sameRequest),
		},
		{name: "trusting nobody", steps: (*scenario.Scenario).Proxied, differences: only(sameRequest)},
		{
			name: "counting HEAD",
			setup: setup{
				options: configuration.Parameters{"counthead": true},
				config:  of(notifications.BridgeConfig{CountHEAD: true}),
			},
			steps: (*scenario.Scenario).Heads,
			differences: func([]values) []difference {
				return []difference{sameRequest(), onlyLooked}
			},
		},
		{
			name: "with one ID for both",
			setup: setup{wrap: func(_ *testing.T, app http.Handler, around func(http.Handler) http.Handler) http.Handler {
				return notifications.RecordRequests(around(app))
			}},
			steps: (*scenario.Scenario).Protocol,
			differences: func(inner []values) []difference {
				return []difference{untagged(inner)}
			},
		},
		{
			name:  "behind a reverse proxy",
			setup: setup{options: configuration.Parameters{"trustedproxies": 1}, wrap: behindProxy},
			steps: (*scenario.Scenario).Protocol,
			differences: func(inner []values) []difference {
				return []difference{sameRequest(), untagged(inner), noPort}
			},
		},
		{
			name: "with a handler for each request",
			setup: setup{wrap: func(_ *testing.T, app http.Handler, around func(http.Handler) http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { around(app).ServeHTTP(w, r) })
			}},
			steps: (*scenario.Scenario).Uploads,
			differences: func([]values) []difference {
				return []difference{sameRequest(), notPassedBy}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startPair(t, c.setup)
			p.client.Authorization = c.authorization
			p.run(t, c.steps(p.client), c.differences)
		})
	}
}

// behindProxy has the handler around a reverse proxy to the application.
func behindProxy(t *testing.T, app http.Handler, around func(http.Handler) http.Handler) http.Handler {
	backend := httptest.NewServer(app)
	to, err := url.Parse(backend.URL)
	require.NoError(t, err)
	transport := new(http.Transport)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		backend.Close()
	})
	return around(&httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.SetXForwarded()
		r.Out.Host = r.In.Host
	}})
}

// A pull-through cache is told of by a middleware of another kind.
func pullThrough(t *testing.T) {
	upstream := startServer(t, serverConfig("", nil))
	for _, step := range []scenario.Step{upstream.Image()[0], sentinel(upstream)} {
		require.NoError(t, step.Do(t.Context()), step.Name)
	}

	p := startPair(t, setup{
		options: configuration.Parameters{"pullthrough": true},
		configure: func(c *configuration.Configuration) {
			c.Proxy.RemoteURL = "http://" + upstream.Host()
			off := -time.Second // keeps for ever what it has, and so starts no scheduler
			c.Proxy.TTL = &off
			c.Middleware["repository"] = []configuration.Middleware{{Name: "notifications"}}
		},
	})
	p.last = p.client.Pull("sentinel/repo")
	pull := p.client.Image()[1]
	p.run(t, []scenario.Step{pull, pull}, only(sameRequest))
}
