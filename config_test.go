package notifications_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/registry-notifications/notifications"
)

// wholeConfig has every field of an EndpointConfig, in JSON.
const wholeConfig = `{
	"name": "hook", "url": "https://example.org/hook", "disabled": true,
	"headers": {"Authorization": ["Bearer secret-token"]},
	"timeout": "500ms", "threshold": 3, "backoff": "2s", "maxbackoff": "1m30s",
	"mediatype": "application/vnd.docker.distribution.events.v1+json", "maxevents": 7, "maxbytes": 8, "maxinflight": 9, "images": true,
	"maxattempts": 4, "maxage": "24h", "maxpending": 5, "maxpendingbytes": 6, "overflow": "drop-oldest",
	"signingkeys": ["whsec_c2VjcmV0LXRva2VuLXNlY3JldC10b2tlbg==", "env:KEY"],
	"tls": {"cafile": "ca", "certfile": "cert", "keyfile": "key", "servername": "name", "insecureskipverify": true},
	"addresses": {"allow": ["10.0.0.0/8"], "deny": ["10.0.0.1"]},
	"ignoredmediatypes": ["a"],
	"only": {"mediatypes": ["b"], "actions": ["push"], "repositories": ["team/**"]},
	"ignore": {"mediatypes": ["c"], "actions": ["pull"], "repositories": ["x"]}
}`

func wholeEndpointConfig() EndpointConfig {
	return EndpointConfig{
		Name: "hook", URL: "https://example.org/hook", Disabled: true,
		Headers: http.Header{"Authorization": {"Bearer secret-token"}},
		Timeout: 500 * time.Millisecond, Threshold: 3, Backoff: 2 * time.Second, MaxBackoff: 90 * time.Second,
		MediaType: MediaTypeV1, MaxEvents: 7, MaxBytes: 8, MaxInFlight: 9, Images: true,
		MaxAttempts: 4, MaxAge: 24 * time.Hour, MaxPending: 5, MaxPendingBytes: 6, Overflow: DropOldest,
		SigningKeys:       []string{"whsec_c2VjcmV0LXRva2VuLXNlY3JldC10b2tlbg==", "env:KEY"},
		TLS:               TLS{CAFile: "ca", CertFile: "cert", KeyFile: "key", ServerName: "name", InsecureSkipVerify: true},
		Addresses:         Addresses{Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.0.0.1"}},
		IgnoredMediaTypes: []string{"a"},
		Only:              Rules{MediaTypes: []string{"b"}, Actions: []string{"push"}, Repositories: []string{"team/**"}},
		Ignore:            Rules{MediaTypes: []string{"c"}, Actions: []string{"pull"}, Repositories: []string{"x"}},
	}
}

func TestEndpointConfigDecodes(t *testing.T) {
	var c EndpointConfig
	require.NoError(t, json.Unmarshal([]byte(wholeConfig), &c))
	assert.Equal(t, wholeEndpointConfig(), c)

	c = EndpointConfig{}
	require.NoError(t, c.UnmarshalYAML(likeYAML(wholeConfig)))
	assert.Equal(t, wholeEndpointConfig(), c)

	c = EndpointConfig{}
	require.NoError(t, json.Unmarshal([]byte(`{"timeout":null}`), &c))
	assert.Equal(t, EndpointConfig{}, c)
}

// likeYAML gives what YAML libraries give: maps whose keys are of any type.
func likeYAML(doc string) func(any) error {
	return func(to any) error {
		var m map[string]any
		if err := json.Unmarshal([]byte(doc), &m); err != nil {
			return err
		}
		for key, value := range m {
			if inner, ok := value.(map[string]any); ok {
				loose := make(map[any]any)
				for k, v := range inner {
					loose[k] = v
				}
				m[key] = loose
			}
		}
		*(to.(*map[string]any)) = m
		return nil
	}
}

// TestWholeConfigIsWhole, so that a new field is not forgotten in the tests.
func TestWholeConfigIsWhole(t *testing.T) {
	v := reflect.ValueOf(wholeEndpointConfig())
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Tag.Get("yaml") != "-" {
			assert.False(t, v.Field(i).IsZero(), f.Name)
			assert.Equal(t, f.Tag.Get("yaml"), strings.Replace(f.Tag.Get("json"), "omitzero", "omitempty", 1), f.Name)
			assert.Equal(t, strings.ToLower(f.Name)+",omitempty", f.Tag.Get("yaml"))
		}
	}
}

func TestEndpointConfigBadInput(t *testing.T) {
	for doc, want := range map[string]string{
		`{"timeout": 500}`:                    `timeout: 500: allowed is text with a unit, as "500ms"`,
		`{"backoff": 1.5}`:                    `backoff: 1.5: allowed`,
		`{"maxbackoff": "5"}`:                 `maxbackoff: "5": allowed`,
		`{"timeout": "5 fish"}`:               `timeout: "5 fish": allowed`,
		`{"timeout": {}}`:                     `timeout: {}: allowed`,
		`{"timeuot": "5s"}`:                   `"timeuot": there is no such option`,
		`{"ignore": {"medaitypes": ["a"]}}`:   `"medaitypes": there is no such option`,
		`{"threshold": "many"}`:               `threshold`,
		`{"headers": {"A": "not a list"}}`:    `headers`,
		`{"maxevents": 99999999999999999999}`: `maxevents`,
		`[]`:                                  `array: allowed is a map`,
	} {
		var c EndpointConfig
		err := json.Unmarshal([]byte(doc), &c)
		assert.ErrorContains(t, err, want, doc)
		assert.ErrorContains(t, c.UnmarshalYAML(func(to any) error { return json.Unmarshal([]byte(doc), to) }), "", doc)
	}
}

// TestConfigShowsNoSecrets prints and encodes configurations in every way there is.
func TestConfigShowsNoSecrets(t *testing.T) {
	c := wholeEndpointConfig()
	c.URL = "https://mallory:hunter2@example.org/hook?token=query-token"
	h := HTTPConfig{Headers: c.Headers, SigningKeys: c.SigningKeys}
	for _, v := range []any{c, &c, h, &h, []EndpointConfig{c}, struct{ C EndpointConfig }{c}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			assertNoSecrets(t, fmt.Sprintf(verb, v))
		}
	}
	b, err := json.Marshal(c)
	require.NoError(t, err)
	assertNoSecrets(t, string(b))
	assert.Contains(t, string(b), `"timeout":"500ms"`)
	assert.Contains(t, string(b), `"url":"https://redacted@example.org/hook?redacted"`)
	y, err := c.MarshalYAML()
	require.NoError(t, err)
	assertNoSecrets(t, fmt.Sprintf("%+v", y))
	assert.Contains(t, fmt.Sprintf("%+v", c), "[redacted]", "prints the rest")

	// And decodes again, as far as it goes.
	var again EndpointConfig
	require.NoError(t, json.Unmarshal(b, &again))
	assert.Equal(t, c.Timeout, again.Timeout)
}

func assertNoSecrets(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{"secret-token", "mallory", "hunter2", "query-token", fmt.Sprintf("%x", "secret-token"), "bWFsbG9yeTpodW50ZXIy", "c2VjcmV0LXRva2Vu"} {
		assert.NotContains(t, text, secret)
	}
}

func FuzzEndpointConfig(f *testing.F) {
	f.Add([]byte(wholeConfig))
	f.Add([]byte(`{"timeout":5}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		var c EndpointConfig
		if json.Unmarshal(doc, &c) != nil {
			return
		}
		b, err := json.Marshal(c)
		require.NoError(t, err)
		var again EndpointConfig
		require.NoError(t, json.Unmarshal(b, &again), "%s", b)
		require.Equal(t, c.Timeout, again.Timeout)
	})
}
