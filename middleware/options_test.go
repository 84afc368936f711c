package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
)

func TestOptions(t *testing.T) {
	o, err := new(document).parse(optionsOf(t, `
addr: :5443
url: https://registry.example.org
events: {includereferences: true}
dispatchtimeout: 250ms
draintimeout: 1m30s
trustedproxies: 2
trustbasicuser: true
pullthrough: true
counthead: true
hub: memory
deadletters: {file: /var/lib/registry/dead.jsonl, maxbytes: 1MiB, maxfiles: 3}
`))
	require.NoError(t, err)

	want := &options{
		Addr: ":5443", URL: "https://registry.example.org",
		DispatchTimeout: 250 * time.Millisecond, DrainTimeout: 90 * time.Second,
		TrustedProxies: 2, TrustBasicUser: true, PullThrough: true, CountHEAD: true,
		Hub:         "memory",
		DeadLetters: deadLetterOptions{File: "/var/lib/registry/dead.jsonl", MaxBytes: 1 << 20, MaxFiles: 3},
	}
	want.Events.IncludeReferences = true
	require.Equal(t, want, o)
}

// Every option that an endpoint has can be had from YAML, and one that it gets in years
// to come as well.
func TestEndpointOptions(t *testing.T) {
	o, err := new(document).parse(optionsOf(t, `
endpoints:
  - name: audit
    url: https://audit.example.org/events
    disabled: true
    headers: {Authorization: [Bearer x], X-Two: [a, b]}
    timeout: 5s
    threshold: 3
    backoff: 1s
    maxbackoff: 1m
    maxattempts: 20
    maxage: 72h
    maxpending: 1000
    maxpendingbytes: 64MiB
    overflow: drop-oldest
    mediatype: application/vnd.docker.distribution.events.v1+json
    maxevents: 1
    maxbytes: 4096
    maxinflight: 4
    signingkeys: ["env:KEY", "file:/run/secrets/key"]
    tls: {cafile: /ca.pem, certfile: /cert.pem, keyfile: /key.pem, servername: audit, insecureskipverify: true}
    addresses: {allow: [10.0.0.0/8], deny: [10.1.0.0/16, 10.2.3.4]}
    ignoredmediatypes: [application/octet-stream]
    only: {repositories: ["library/**"], actions: [push, delete], mediatypes: [a/b]}
    ignore: {mediatypes: [text/plain], actions: [pull], repositories: [library/test]}
    images: true
`))
	require.NoError(t, err)
	require.Len(t, o.Endpoints, 1)
	want := notifications.EndpointConfig{
		Name: "audit", URL: "https://audit.example.org/events", Disabled: true,
		Headers: http.Header{"Authorization": {"Bearer x"}, "X-Two": {"a", "b"}},
		Timeout: 5 * time.Second, Threshold: 3, Backoff: time.Second, MaxBackoff: time.Minute,
		MaxAttempts: 20, MaxAge: 72 * time.Hour,
		MaxPending: 1000, MaxPendingBytes: 64 << 20, Overflow: notifications.DropOldest,
		MediaType: notifications.MediaTypeV1, MaxEvents: 1, MaxBytes: 4096, MaxInFlight: 4,
		SigningKeys: []string{"env:KEY", "file:/run/secrets/key"},
		TLS:         notifications.TLS{CAFile: "/ca.pem", CertFile: "/cert.pem", KeyFile: "/key.pem", ServerName: "audit", InsecureSkipVerify: true},
		Addresses:   notifications.Addresses{Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.1.0.0/16", "10.2.3.4"}},

		IgnoredMediaTypes: []string{"application/octet-stream"},
		Only:              notifications.Rules{Repositories: []string{"library/**"}, Actions: []string{"push", "delete"}, MediaTypes: []string{"a/b"}},
		Ignore:            notifications.Rules{MediaTypes: []string{"text/plain"}, Actions: []string{"pull"}, Repositories: []string{"library/test"}},
		Images:            true,
	}
	// Through plain structs: printed, a configuration hides what is secret.
	type plain notifications.EndpointConfig
	require.Equal(t, plain(want), plain(o.Endpoints[0]))
	assertAllSet(t, o.Endpoints[0], "DeadLetters", "Logger")
}

func TestOptionDefaults(t *testing.T) {
	for _, yaml := range []string{"{}", "draintimeout: 0s", "endpoints:\ndraintimeout:\nevents:\nhub:\nmemory:\njournal:\ndeadletters:"} {
		o, err := new(document).parse(optionsOf(t, yaml))
		require.NoError(t, err)
		require.Equal(t, &options{Addr: ":5000", DrainTimeout: 10 * time.Second, Hub: "memory"}, o)
	}
	o, err := new(document).parse(nil)
	require.NoError(t, err)
	require.Equal(t, ":5000", o.Addr)
}

// Who subscribes to images gets their references; a disabled endpoint is as good as none.
func TestImagesIncludeReferences(t *testing.T) {
	for yaml, want := range map[string]bool{
		"{}":                                false,
		"events: {includereferences: true}": true,
		"endpoints: [{name: a}, {name: b, images: true}]":                 true,
		"endpoints: [{name: a}, {name: b, images: true, disabled: true}]": false,
	} {
		o, err := new(document).parse(optionsOf(t, yaml))
		require.NoError(t, err)
		config, err := o.bridge()
		require.NoError(t, err)
		require.Equal(t, want, config.IncludeReferences, yaml)
	}
}

// Each of these keeps a server from starting, and names the option.
func TestStartUpErrors(t *testing.T) {
	t.Setenv("HUNTER", "hunter2")
	t.Setenv("TEN", "10")
	t.Setenv("DIGITS", "655")
	pem := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat("hunter2hunter2\n", 20)
	file := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(file, []byte(pem), 0o600))

	const (
		good     = "{name: a, url: 'http://127.0.0.1:1/'}"
		ofHubs   = "journal, memory, testhub"
		ofAll    = "addr, counthead, deadletters, dispatchtimeout, draintimeout, endpoints, events, hub, journal, memory, pullthrough, testhub, trustbasicuser, trustedproxies, url"
		ofOne    = "addresses, backoff, disabled, headers, ignore, ignoredmediatypes, images, maxage, maxattempts, maxbackoff, maxbytes, maxevents, maxinflight, maxpending, maxpendingbytes, mediatype, name, only, overflow, signingkeys, threshold, timeout, tls, url"
		ofFiles  = "file, maxbytes, maxfiles"
		ofMemory = "backoff, maxbackoff, maxpending, maxpendingbytes, overflow"
		duration = `text with a unit, as "500ms" or "1m30s"`
		refs     = "allowed are ${env:NAME} and ${file:/path}, and $${ for ${ itself"
	)
	one := func(option string) string {
		return "endpoints: [{name: a, url: 'http://127.0.0.1:1/', " + option + "}]"
	}
	for _, c := range []struct{ yaml, want string }{
		{"endpoint: []", `endpoint: there is no such option: allowed are ` + ofAll},
		{"jurnal: {dir: /x}", `jurnal: there is no such option: allowed are ` + ofAll},
		{"5: x", `5: there is no such option: allowed are ` + ofAll},
		{"Addr: ':5000'", `Addr: there is no such option: allowed are ` + ofAll},
		{"events: {includereference: true}", `events.includereference: there is no such option: allowed are includereferences`},
		{"events: true", "events: a boolean: allowed is a map"},
		{"events: {includereferences: 1}", "events.includereferences: 1: allowed is true or false"},
		{"events: {includereferences: 'true'}", `events.includereferences: "true": allowed is true or false`},
		{"draintimeout: 10", `draintimeout: 10: allowed is ` + duration},
		{"draintimeout: soon", `draintimeout: "soon": allowed is ` + duration},
		{"draintimeout: [10s]", `draintimeout: a list: allowed is ` + duration},
		{"draintimeout: -1s", "draintimeout: -1s: allowed are zero, for the default, and above"},
		{"dispatchtimeout: 1000", `dispatchtimeout: 1000: allowed is ` + duration},
		{"dispatchtimeout: -1s", "dispatchtimeout: -1s: allowed are zero, for the default, and above"},
		{"trustedproxies: -1", "trustedproxies: -1: allowed are zero and above"},
		{"trustedproxies: 1.5", "trustedproxies: 1.5: allowed is a whole number"},
		{"trustedproxies: '1'", `trustedproxies: "1": allowed is a whole number`},
		{"trustedproxies: 9223372036854775808", "trustedproxies: 9223372036854775808: allowed is a whole number"},
		{"trustbasicuser: 'yes'", `trustbasicuser: "yes": allowed is true or false`},
		{"counthead: 1", `counthead: 1: allowed is true or false`},
		{"addr: 5000", "addr: a number: allowed is text, in quotes where it looks like something else"},
		{"addr: '5000'", `addr: "5000": allowed is host:port or :port`},
		{"url: registry.example.org", "url: [redacted]: allowed is http:// or https://, a host and a path, without user or query"},

		{"endpoints: {a: b}", "endpoints: a map: allowed is a list"},
		{"endpoints: [a]", "endpoints[0]: text: allowed is a map"},
		{"endpoints: [{url: 'http://127.0.0.1:1/'}]", "endpoints[0].name: empty: allowed is any other"},
		{"endpoints: [~]", "endpoints[0].name: empty: allowed is any other"},
		{"endpoints: [" + good + "," + good + "]", `endpoints[1].name: "a": is in use: allowed is any other`},
		{"endpoints: [{name: a}]", `endpoints[0].url: "": allowed is http:// or https://, a host and a path`},
		{"endpoints: [{name: a, url: 'ftp://example.org/'}]", "endpoints[0].url: ftp://example.org/: allowed is http:// or https://, a host and a path"},
		{"endpoints: [" + good + ", {name: b, url: 'http://127.0.0.1:1/', timeout: 500}]", `endpoints[1].timeout: 500: allowed is ` + duration},
		{"endpoints: [" + good + ", {name: b, url: 'http://127.0.0.1:1/', backoff: -1s}]", "endpoints[1].backoff: -1s: allowed are zero, for the default, and above"},
		{one("tiemout: 5s"), `endpoints[0].tiemout: there is no such option: allowed are ` + ofOne},
		{one("threshold: many"), `endpoints[0].threshold: "many": allowed is a whole number`},
		{one("headers: {Authorization: Bearer hunter2}"), "endpoints[0].headers.Authorization: text: allowed is a list"},
		{one("headers: {Authorization: [Bearer hunter2, 5]}"), "endpoints[0].headers.Authorization[1]: a number: allowed is text, in quotes where it looks like something else"},
		{one("headers: {Content-Length: ['1']}"), `endpoints[0].headers: "Content-Length": is set by the transport: allowed are headers of the request's own`},
		{one("ignore: {action: [pull]}"), `endpoints[0].ignore.action: there is no such option: allowed are actions, mediatypes, repositories`},
		{one("only: {repositories: ['a[b]']}"), `endpoints[0].only.repositories[0]: "a[b]": allowed are names and the patterns *, ** and ?`},
		{one("images: yes please"), `endpoints[0].images: "yes please": allowed is true or false`},
		{one("tls: {certfile: /x}"), "endpoints[0].tls.keyfile: empty, and certfile is not: allowed are both or none"},
		{one("addresses: {allow: [here]}"), `endpoints[0].addresses.allow[0]: "here": allowed is an address, as 192.0.2.1, or a network, as 192.0.2.0/24 or 2001:db8::/32`},
		{one("maxpendingbytes: 64MB"), `endpoints[0].maxpendingbytes: "64MB": allowed is ` + allowedSize},
		{one("overflow: reject"), `endpoints[0].overflow: "reject": allowed are block, drop-newest and drop-oldest`},
		{one("signingkeys: [hunter2]"), "endpoints[0].signingkeys[0]: signature: key: unknown form: allowed are file:/path, env:NAME, and whsec_, whsk_ or whpk_ with standard base64 behind it"},

		{"hub: disk", `hub: "disk": allowed are ` + ofHubs},
		{"hub: ''", `hub: "": allowed are ` + ofHubs},
		{"hub: [memory]", "hub: a list: allowed is text, in quotes where it looks like something else"},
		{"memory: 5", "memory: a number: allowed is a map"},
		{"memory: {maxpendin: 5}", "memory.maxpendin: there is no such option: allowed are " + ofMemory},
		{"memory: {maxpending: -5}", "memory.maxpending: -5: allowed are zero, for no limit, and above"},
		{"memory: {maxpending: 5MiB}", `memory.maxpending: "5MiB": allowed is a whole number`},
		{"memory: {maxpendingbytes: -1KiB}", "memory.maxpendingbytes: -1024: allowed are zero, for no limit, and above"},
		{"memory: {maxpendingbytes: lots}", `memory.maxpendingbytes: "lots": allowed is ` + allowedSize},
		{"memory: {overflow: reject}", `memory.overflow: "reject": allowed are block, drop-newest and drop-oldest`},
		{"memory: {maxbackoff: -1s}", "memory.maxbackoff: -1s: allowed are zero, for the default, and above"},
		{"memory: {backoff: -1s}", "memory.backoff: -1s: allowed are zero, for the default, and above"},
		{"journal: {dir: /x}", `journal: is for hub: journal, and hub is "memory": allowed are the options of that one`},
		{"{hub: journal, journal: {dir: /x}, memory: {maxpending: 5}}", `memory: is for hub: memory, and hub is "journal": allowed are the options of that one`},
		{"{hub: jurnal, journal: {dir: /x}}", `journal: is for hub: journal, and hub is "jurnal": allowed are the options of that one`},

		{"hub: journal", "journal.dir: empty: allowed is the path of a directory"},
		{"{hub: journal, journal: {dir: /proc/self/x}}", "journal.dir: journal: mkdir /proc/self/x: no such file or directory"},
		{"{hub: journal, journal: {dir: /x, sync: often}}", `journal.sync: "often": allowed are always, interval and none`},
		{"{hub: journal, journal: {dir: /x, syncinterval: -1s}}", `journal.syncinterval: -1s: allowed are zero and above`},
		{"{hub: journal, journal: {dir: /x, segmentbytes: 1KiB}}", "journal.segmentbytes: 1024: allowed are zero, for the default, and 65536 and above"},
		{"{hub: journal, journal: {dir: /x, maxbytes: 1KiB}}", "journal.maxbytes: 1024: allowed are zero, for no limit, and twice segmentbytes (65536) and above"},
		{"{hub: journal, journal: {dir: /x, maxbytes: 10GB}}", `journal.maxbytes: "10GB": allowed is ` + allowedSize},
		{"{hub: journal, journal: {dir: /x, maxage: 7d}}", `journal.maxage: "7d": allowed is ` + duration},
		{"{hub: journal, journal: {dir: /x, overflow: drop-newest}}", `journal.overflow: "drop-newest": allowed are block, reject and drop-oldest`},
		{"{hub: journal, journal: {dir: /x, retain: -1s}}", `journal.retain: -1s: allowed are zero and above`},
		{"{hub: journal, journal: {dir: /x, maxage: -1s}}", `journal.maxage: -1s: allowed are zero and above`},
		{"{hub: journal, journal: {dir: events, backoff: -1s}}", `journal.backoff: -1s: allowed are zero, for the default, and above`},
		{"{hub: journal, journal: {dir: events, maxbackoff: -1s}}", `journal.maxbackoff: -1s: allowed are zero, for the default, and above`},
		{"{hub: journal, journal: {dir: /x, start: now}}", `journal.start: "now": allowed are end and beginning`},
		{"{hub: journal, journal: {dir: /x, forget: old}}", "journal.forget: text: allowed is a list"},
		{"{hub: journal, journal: {dir: /x, forget: [b, a]}, endpoints: [" + good + "]}", `journal.forget[1]: "a": is an endpoint: allowed are the names of those that there are no more, or that are disabled`},
		{"{hub: journal, journal: {dir: /x}, deadletters: {file: /y}}", "deadletters: is not for hub: journal, which keeps them in its directory: allowed is none"},
		{"{hub: journal, journal: {dir: /x}, " + one("maxpending: 5") + "}", `endpoints[0].maxpending: is for what is in memory, and hub is "journal": allowed are the bounds of that one`},
		{"{hub: journal, journal: {dir: /x}, " + one("maxpendingbytes: 5") + "}", `endpoints[0].maxpendingbytes: is for what is in memory, and hub is "journal": allowed are the bounds of that one`},
		{"{hub: journal, journal: {dir: /x}, " + one("overflow: block") + "}", `endpoints[0].overflow: is for what is in memory, and hub is "journal": allowed are the bounds of that one`},

		{"deadletters: {maxfiles: 3}", "deadletters.file: empty: allowed is the path of a file"},
		{"deadletters: {path: /x}", "deadletters.path: there is no such option: allowed are " + ofFiles},
		{"deadletters: {file: /proc/self/x}", "deadletters.file: notifications: dead letters: open /proc/self/x: no such file or directory"},
		{"deadletters: {file: /x, maxbytes: -1}", "deadletters.maxbytes: -1: allowed are zero, for the default, and above"},
		{"deadletters: {file: /x, maxfiles: -1}", "deadletters.maxfiles: -1: allowed are zero, for the default, and above"},

		{"url: '${env:NOT_SET_ANYWHERE}'", "url: ${env:NOT_SET_ANYWHERE}: is empty or not set: allowed is a variable with a value"},
		{"url: '${file:/proc/self/x}'", "url: ${file:/proc/self/x}: no such file or directory: allowed is a file that can be read and is not empty, of at most 65536 bytes"},
		{one("headers: {Authorization: ['Bearer p${hunter2']}"), "endpoints[0].headers.Authorization[0]: has ${ without }: " + refs},
		{one("headers: {Authorization: ['Bearer p${hunter2}']}"), "endpoints[0].headers.Authorization[0]: has ${ with neither env: nor file: behind it: " + refs},
		{one("headers: {Authorization: ['${vault:hunter2}']}"), "endpoints[0].headers.Authorization[0]: has ${ with neither env: nor file: behind it: " + refs},
		{"{hub: journal, journal: {dir: '${env:NOT_SET_ANYWHERE}'}}", "journal.dir: ${env:NOT_SET_ANYWHERE}: is empty or not set: allowed is a variable with a value"},

		// Of what came from elsewhere nothing is shown.
		{one("threshold: '${env:HUNTER}'"), `endpoints[0].threshold: "[redacted]": allowed is a whole number`},
		{one("timeout: '${env:HUNTER}'"), `endpoints[0].timeout: "[redacted]": allowed is ` + duration},
		{one("timeout: '${env:TEN}'"), `endpoints[0].timeout: "10": allowed is ` + duration},
		{one("images: '${env:HUNTER}'"), `endpoints[0].images: "[redacted]": allowed is true or false`},
		{one("headers: '${env:HUNTER}'"), `endpoints[0].headers: text: allowed is a map`},
		{one("maxbytes: '${env:HUNTER}'"), `endpoints[0].maxbytes: "[redacted]": allowed is ` + allowedSize},
		{one("overflow: 'x${env:HUNTER}'"), `endpoints[0].overflow: "[redacted]": allowed are block, drop-newest and drop-oldest`},
		{"endpoints: [{name: '${env:HUNTER}', url: 'http://127.0.0.1:1/'}, {name: hunter2}]", `endpoints[1].name: "[redacted]": is in use: allowed is any other`},
		{"addr: 'hunter2${env:HUNTER}'", `addr: "[redacted]": allowed is host:port or :port`},
		{"hub: '${file:" + file + "}'", `hub: "[redacted]": allowed are ` + ofHubs},
		{one("mediatype: '${file:" + file + "}'"), `endpoints[0].mediatype: "[redacted]": allowed are application/vnd.docker.distribution.events.v2+json and application/vnd.docker.distribution.events.v1+json`},
		{one("tls: {cafile: '${file:" + file + "}'}"), `endpoints[0].tls.cafile: is the content of a file, not shown here: allowed is the path of one`},
		{"deadletters: {file: '${file:" + file + "}'}", "deadletters.file: notifications: dead letters: open [redacted]: file name too long"},
		{"{hub: journal, journal: {dir: '${env:HUNTER}/${env:HUNTER}'}}", "journal.dir: journal: mkdir DIR/[redacted]: no such file or directory"},
		{"{hub: journal, journal: {dir: './${env:HUNTER}/x'}}", "journal.dir: journal: mkdir DIR/[redacted]/x: no such file or directory"},
		{"{hub: journal, journal: {dir: /x, segmentbytes: '${env:DIGITS}'}}", "journal.segmentbytes: [redacted]: allowed are zero, for the default, and 65536 and above"},
	} {
		t.Run(c.yaml, func(t *testing.T) {
			t.Chdir(t.TempDir())
			dir, err := os.Getwd()
			require.NoError(t, err)
			n, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, c.yaml))
			require.Nil(t, n)
			require.EqualError(t, err, root+"."+strings.ReplaceAll(c.want, "DIR", dir))
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
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
	parse := func(values map[string]any) (*options, error) { return new(document).parse(values) }
	o, err := parse(map[string]any{"endpoints": []map[string]any{{
		"name": "a", "url": "http://127.0.0.1:1/", "headers": http.Header{"X": {"y"}}, "timeout": "5s", "overflow": notifications.DropOldest,
	}}})
	require.NoError(t, err)
	require.Equal(t, http.Header{"X": {"y"}}, o.Endpoints[0].Headers)
	require.Equal(t, notifications.DropOldest, o.Endpoints[0].Overflow)

	for _, bad := range []any{notifications.EndpointConfig{Name: "a"}, &notifications.EndpointConfig{}} {
		_, err = parse(map[string]any{"endpoints": []any{bad}})
		require.EqualError(t, err, fmt.Sprintf("%s.endpoints[0]: a %T: allowed is a map", root, bad))
	}

	_, err = parse(map[string]any{"dispatchtimeout": time.Second})
	require.ErrorContains(t, err, root+".dispatchtimeout: 1s: allowed is text with a unit")
	_, err = parse(map[string]any{"addr": func() {}})
	require.ErrorContains(t, err, root+".addr: a func(): allowed is text")
}

func TestErrorsCanBeUnwrapped(t *testing.T) {
	cause := errors.New("5: no")
	err := at(root, fmt.Errorf("notifications: endpoint: %w", &notifications.ConfigError{Field: "timeout", Err: cause}))
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, root+".timeout: 5: no")
	require.ErrorIs(t, new(document).hide(err), cause)
	require.Equal(t, cause, new(document).hide(cause))
}

// What the server may print of the middleware must show no secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	t.Setenv("HUNTER", "hunter2")
	n, err := newRegistry(context.Background(), &fakeRegistry{}, nil, optionsOf(t, `
endpoints:
  - name: a
    url: http://user:hunter2@127.0.0.1:1/?token=hunter2
    headers: {X-Key: [hunter2], X-Other: ["${env:HUNTER}"]}
`))
	require.NoError(t, err)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, n), "hunter2")
		require.NotContains(t, fmt.Sprintf(format, *n.(*namespace)), "hunter2")
	}
	require.NoError(t, n.(*namespace).Close())
}
