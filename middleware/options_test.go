package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

func TestOptions(t *testing.T) {
	o, err := parse(optionsOf(t, `
addr: :5443
url: https://registry.example.org
events: {includereferences: true}
dispatchtimeout: 250ms
draintimeout: 1m30s
trustedproxies: 2
trustbasicuser: true
pullthrough: true
endpoints:
  - name: audit
    url: https://audit.example.org/events
    disabled: true
    headers: {Authorization: [Bearer x]}
    timeout: 5s
    threshold: 3
    backoff: 1s
    maxbackoff: 1m
    ignoredmediatypes: [application/octet-stream]
    ignore: {mediatypes: [text/plain], actions: [pull]}
`))
	require.NoError(t, err)

	want := &options{
		Addr: ":5443", URL: "https://registry.example.org",
		DispatchTimeout: duration(250 * time.Millisecond), DrainTimeout: duration(90 * time.Second),
		TrustedProxies: 2, TrustBasicUser: true, PullThrough: true,
		Endpoints: endpoints{{
			Name: "audit", URL: "https://audit.example.org/events", Disabled: true,
			Headers: http.Header{"Authorization": {"Bearer x"}},
			Timeout: 5 * time.Second, Threshold: 3, Backoff: time.Second, MaxBackoff: time.Minute,
			IgnoredMediaTypes: []string{"application/octet-stream"},
			Ignore:            notifications.Rules{MediaTypes: []string{"text/plain"}, Actions: []string{"pull"}},
		}},
	}
	want.Events.IncludeReferences = true
	require.Equal(t, want, o)
}

func TestOptionDefaults(t *testing.T) {
	for _, yaml := range []string{"{}", "draintimeout: 0s", "endpoints:\ndraintimeout:\nevents:"} {
		o, err := parse(optionsOf(t, yaml))
		require.NoError(t, err)
		require.Equal(t, ":5000", o.Addr)
		require.Equal(t, 10*time.Second, time.Duration(o.DrainTimeout))
		require.Empty(t, o.Endpoints)
	}
	o, err := parse(nil)
	require.NoError(t, err)
	require.Equal(t, ":5000", o.Addr)
}

// Each of these keeps a server from starting, and names the option.
func TestStartUpErrors(t *testing.T) {
	const good = "{name: a, url: 'http://127.0.0.1:1/'}"
	for _, c := range []struct{ yaml, want string }{
		{"endpoint: []", `"endpoint": there is no such option`},
		{"events: {includereference: true}", `"includereference": there is no such option`},
		{"events: true", "events: bool: allowed is a map"},
		{"events: {includereferences: 1}", "events.includereferences: number: allowed is true or false"},
		{"draintimeout: 10", `draintimeout: 10: allowed is text with a unit, as "500ms" or "1m30s"`},
		{"draintimeout: soon", `draintimeout: "soon": allowed is text with a unit, as "500ms" or "1m30s"`},
		{"draintimeout: -1s", "draintimeout: -1s: allowed are zero, for the default, and above"},
		{"dispatchtimeout: 1000", `dispatchtimeout: 1000: allowed is text with a unit, as "500ms" or "1m30s"`},
		{"dispatchtimeout: -1s", "dispatchtimeout: -1s: allowed are zero, for the default, and above"},
		{"trustedproxies: -1", "trustedproxies: -1: allowed are zero and above"},
		{"trustedproxies: 1.5", "trustedproxies: number 1.5: allowed is a whole number"},
		{"trustbasicuser: 'yes'", "trustbasicuser: string: allowed is true or false"},
		{"addr: 5000", "addr: number: allowed is text"},
		{"addr: '5000'", `addr: "5000": allowed is host:port or :port`},
		{"url: registry.example.org", "url: [redacted]: allowed is http:// or https://, a host and a path, without user or query"},
		{"endpoints: {a: b}", "endpoints: object: allowed is a list"},
		{"endpoints: [a]", "endpoints[0]: string: allowed is a map"},
		{"endpoints: [{url: 'http://127.0.0.1:1/'}]", "endpoints[0].name: empty: allowed is any other"},
		{"endpoints: [" + good + "," + good + "]", `endpoints[1].name: "a": is in use: allowed is any other`},
		{"endpoints: [{name: a}]", `endpoints[0].url: "": allowed is http:// or https://, a host and a path`},
		{"endpoints: [{name: a, url: 'ftp://example.org/'}]", "endpoints[0].url: ftp://example.org/: allowed is http:// or https://, a host and a path"},
		{"endpoints: [" + good + ", {name: b, url: 'http://127.0.0.1:1/', timeout: 500}]", `endpoints[1].timeout: 500: allowed is text with a unit, as "500ms" or "1m30s"`},
		{"endpoints: [" + good + ", {name: b, url: 'http://127.0.0.1:1/', backoff: -1s}]", "endpoints[1].backoff: -1s: allowed are zero, for the default, and above"},
		{"endpoints: [{name: a, url: 'http://127.0.0.1:1/', tiemout: 5s}]", `endpoints[0]: "tiemout": there is no such option`},
		{"endpoints: [{name: a, url: 'http://127.0.0.1:1/', threshold: many}]", "endpoints[0].threshold: string: allowed is a whole number"},
		{"endpoints: [{name: a, url: 'http://127.0.0.1:1/', headers: {Authorization: Bearer hunter2}}]", "endpoints[0].headers: string: allowed is a list"},
		{"endpoints: [{name: a, url: 'http://127.0.0.1:1/', headers: {Content-Length: ['1']}}]", `endpoints[0].headers: "Content-Length": is set by the transport: allowed are headers of the request's own`},
		{"endpoints: [{name: a, url: 'http://127.0.0.1:1/', ignore: {action: [pull]}}]", `endpoints[0]: "action": there is no such option`},
	} {
		t.Run(c.yaml, func(t *testing.T) {
			n, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, c.yaml))
			require.Nil(t, n)
			require.EqualError(t, err, fixPath(c.want))
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// fixPath puts the root before an option's path.
func fixPath(want string) string {
	if want[0] == '"' {
		return root + ": " + want
	}
	return root + "." + want
}

// A disabled endpoint is as good as none, whatever else is said of it.
func TestDisabledEndpoint(t *testing.T) {
	n, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, `
endpoints:
  - {name: a, url: 'http://127.0.0.1:1/'}
  - {name: a, url: 'http://127.0.0.1:2/', disabled: true}
  - {disabled: true}
`))
	require.NoError(t, err)
	require.NoError(t, n.(*namespace).Close())
}

// A program may write the options itself. A struct that encodes itself without its
// secrets would send the receiver what stands in their place.
func TestOptionsOfAProgram(t *testing.T) {
	_, err := parse(map[string]any{"endpoints": []map[string]any{{
		"name": "a", "url": "http://127.0.0.1:1/", "headers": http.Header{"X": {"y"}}, "timeout": "5s",
	}}})
	require.NoError(t, err)

	_, err = parse(map[string]any{"endpoints": []any{notifications.EndpointConfig{Name: "a"}}})
	require.EqualError(t, err, root+".endpoints[0]: a notifications.EndpointConfig: allowed are maps, lists, text, numbers and booleans, as YAML has them")

	_, err = parse(map[string]any{"dispatchtimeout": time.Second})
	require.ErrorContains(t, err, root+".dispatchtimeout: 1000000000: allowed is text with a unit")
}

func TestErrorsCanBeUnwrapped(t *testing.T) {
	cause := errors.New("5: no")
	err := at(root, fmt.Errorf("notifications: endpoint: %w", &notifications.ConfigError{Field: "timeout", Err: cause}))
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, root+".timeout: 5: no")
}

// What the server may print of the middleware must show no secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	n, err := newRegistry(context.Background(), &fakeRegistry{}, nil, optionsOf(t, `
endpoints:
  - name: a
    url: http://user:hunter2@127.0.0.1:1/?token=hunter2
    headers: {X-Key: [hunter2]}
`))
	require.NoError(t, err)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, n), "hunter2")
		require.NotContains(t, fmt.Sprintf(format, *n.(*namespace)), "hunter2")
	}
	require.NoError(t, n.(*namespace).Close())
}
