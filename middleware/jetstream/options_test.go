package jetstream

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	registrymiddleware "github.com/distribution/distribution/v3/registry/middleware/registry"
	stream "github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/registry-notifications/notifications"
	"github.com/registry-notifications/notifications/jetstream"
	"github.com/registry-notifications/notifications/journal"
)

const (
	root   = "middleware.registry.notifications."
	secret = "hunter2hunter2"
	seed   = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY" // is in the documentation of NATS
)

// start returns why a server does not start with these options.
func start(t *testing.T, yaml string) error {
	t.Helper()
	config, err := configuration.Parse(strings.NewReader("version: 0.1\nstorage: {inmemory: {}}\nmiddleware:\n  registry:\n    - name: notifications\n      options:\n        " +
		strings.ReplaceAll(yaml, "\n", "\n        ")))
	require.NoError(t, err)
	n, err := registrymiddleware.Get(t.Context(), "notifications", config.Middleware["registry"][0].Options, nil, nil)
	require.Nil(t, n)
	require.Error(t, err)
	return err
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// Each of these keeps a server from starting, and names the option. No secret is shown.
func TestStartUpErrors(t *testing.T) {
	const (
		away     = "servers: ['nats://127.0.0.1:1']"
		all      = "backoff, credentials, duplicates, instance, lease, maxage, maxbackoff, maxbytes, nkey, partitions, password, queued, replicas, servers, spill, storage, stream, subject, timeout, tls, token, user, window"
		duration = `allowed is text with a unit, as "500ms" or "1m30s"`
		allowed  = ": " + allowedServer
	)
	t.Setenv("HUNTER", secret)
	text := file(t, secret)
	key := "-----BEGIN PRIVATE KEY-----\n" + secret + "\n"
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	server.Close()
	cert := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))

	for _, c := range []struct{ options, want string }{
		{"", "servers: empty: allowed is a list of URLs, at least one"},
		{"servers: []", "servers: empty: allowed is a list of URLs, at least one"},
		{"servers: 'nats://127.0.0.1:1'", "servers: text: allowed is a list"},
		{"servers: [127.0.0.1:4222]", `servers[0]: "127.0.0.1:4222"` + allowed},
		{"servers: ['nats://127.0.0.1:1', 'http://127.0.0.1:1']", "servers[1]: http://127.0.0.1:1" + allowed},
		{"servers: ['nats://:4222']", "servers[0]: nats://:4222" + allowed},
		{"servers: ['nats://127.0.0.1:1/x']", "servers[0]: nats://127.0.0.1:1/x" + allowed},
		{"servers: ['nats://127.0.0.1:1?token=" + secret + "']", "servers[0]: nats://127.0.0.1:1" + allowed},
		{"servers: ['nats://127.0.0.1:1#" + secret + "']", "servers[0]: nats://127.0.0.1:1" + allowed},
		{"servers: ['nats://registry:p@" + secret + "/x@127.0.0.1:1']", "servers[0]: [redacted]" + allowed},
		{"servers: ['nats://registry:1?" + secret + "@127.0.0.1:1']", "servers[0]: [redacted]" + allowed},
		{"servers: ['nats://127.0.0.1:x']", `servers[0]: "nats://127.0.0.1:x"` + allowed},
		{"servers: ['http://registry:" + secret + "@127.0.0.1:1']", "servers[0]: http://127.0.0.1:1" + allowed},
		{"servers: ['nats://registry:hunter2/" + secret + "@127.0.0.1:1']", "servers[0]: [redacted]" + allowed},
		{"servers: ['nats://registry:1/" + secret + "@127.0.0.1:1']", "servers[0]: [redacted]" + allowed},
		{"servers: ['" + secret + "@127.0.0.1:1']", "servers[0]: [redacted]" + allowed},
		{"servers: ['${env:HUNTER}']", `servers[0]: "[redacted]"` + allowed},
		{away, "servers: connecting to nats://127.0.0.1:1: nats: no servers available for connection"},
		{"servers: ['nats://registry:" + secret + "@127.0.0.1:1', 'tls://127.0.0.1:2']", "servers: connecting to nats://127.0.0.1:1, tls://127.0.0.1:2: nats: no servers available for connection"},
		{"server: x", "server: there is no such option: allowed are " + all},

		{away + "\npassword: " + secret, "password: is set, and user is not: allowed are both or none"},
		{away + "\nuser: registry\npassword: 5", "password: a number: allowed is text, in quotes where it looks like something else"},
		{away + "\nuser: registry\npassword: x\ntoken: " + secret, "token: is set, and user says who this is, too: allowed is one of both"},
		{away + "\ntoken: " + secret + "\nnkey: /x", "nkey: is set, and token says who this is, too: allowed is one of both"},
		{away + "\ncredentials: /x\nuser: registry", "credentials: is set, and user says who this is, too: allowed is one of both"},
		{"servers: ['nats://127.0.0.1:1', 'nats://" + secret + "@127.0.0.1:1']\nuser: registry", "user: is set, and servers[1] says who this is, too: allowed is one of both"},
		{away + "\ncredentials: /not/there", "credentials: /not/there: no such file or directory: allowed is the path of a file with a user's JWT and seed, as nsc makes it"},
		{away + "\ncredentials: " + text, "credentials: " + text + ": has no JWT: allowed is the path of a file with a user's JWT and seed, as nsc makes it"},
		{away + "\ncredentials: " + file(t, "a.b.c\n"), "credentials: FILE: unable to extract key pair from file"},
		{away + "\ncredentials: '" + secret + "'", "credentials: [redacted]: no such file or directory: allowed is"},
		{away + "\nnkey: /not/there", "nkey: /not/there: no such file or directory: allowed is the path of a file with a user's seed"},
		{away + "\nnkey: /proc", "nkey: /proc: is a directory: allowed is"},
		{away + "\nnkey: " + text, "nkey: " + text + ": nkeys: no nkey seed found: allowed is the path of a file with a user's seed"},
		{away + "\nnkey: " + seed, "nkey: [redacted]: no such file or directory: allowed is the path of a file with a user's seed"},
		{away + "\nnkey: " + file(t, seed), "servers: connecting to nats://127.0.0.1:1: nats: no servers"},
		{away + "\ntls: {cafile: /not/there}", "tls.cafile: /not/there: no such file or directory: allowed is the path of a PEM file"},
		{away + "\ntls: {cafile: " + text + "}", "tls.cafile: " + text + ": has no certificate: allowed is the path of a PEM file"},
		{away + "\ntls: {cafile: " + fmt.Sprintf("%q", key) + "}", "tls.cafile: [redacted]: "},
		{away + "\ntls: {cafile: " + cert + "}", "servers: connecting to nats://127.0.0.1:1: nats: no servers"},
		{away + "\ntls: {certfile: /x}", "tls.keyfile: empty, and certfile is not: allowed are both or none"},
		{away + "\ntls: {keyfile: /x}", "tls.certfile: empty, and keyfile is not: allowed are both or none"},
		{away + "\ntls: {certfile: " + cert + ", keyfile: " + text + "}", "tls.certfile: " + cert + ": nats: error loading client certificate: tls: failed to find any PEM data in key input: allowed is the path of a PEM file"},
		{away + "\ntls: {servername: x}", "tls.servername: there is no such option: allowed are cafile, certfile, keyfile"},

		{away + "\nstorage: disk", `storage: "disk": allowed are file and memory`},
		{away + "\nspill: {maxbytes: 1GiB}", "spill.dir: empty: allowed is the path of a directory"},
		{away + "\nspill: {dir: /x, maxbytes: 1GB}", `spill.maxbytes: "1GB": allowed is a whole number of bytes`},
		{away + "\nqueued: 1", "queued: 1: allowed is true or false"},
		{away + "\nmaxage: 7d", `maxage: "7d": ` + duration},
		{away + "\nmaxbytes: 10GB", `maxbytes: "10GB": allowed is a whole number of bytes, or one with KiB, MiB, GiB or TiB behind it, as "64MiB"`},
		{away + "\npartitions: many", `partitions: "many": allowed is a whole number`},
	} {
		err := start(t, "hub: jetstream\njetstream:\n  "+strings.ReplaceAll(c.options, "\n", "\n  "))
		want, path, _ := strings.Cut(c.want, "FILE")
		require.ErrorContains(t, err, root+"jetstream."+want, c.options)
		assert.ErrorContains(t, err, path)
		assert.NotContains(t, err.Error(), "hunter2", c.options)
		assert.NotContains(t, err.Error(), seed)
	}
}

// Each option of the stream gets to where it belongs, and each field there is an option.
func TestConfig(t *testing.T) {
	o := options{
		Stream: "events", Subject: "registry", Partitions: 2, Replicas: 3, Storage: "memory",
		MaxAge: time.Hour, MaxBytes: 1 << 20, Duplicates: time.Minute, Window: 5, Queued: true,
		Spill:   spillOptions{Dir: "/spill", Sync: journal.SyncNone, MaxBytes: 1 << 21},
		Timeout: time.Second, Lease: 3 * time.Second, Instance: "one", Backoff: 2 * time.Second, MaxBackoff: 4 * time.Second,
	}
	logger := logrus.NewEntry(logrus.New())
	got, err := o.config(logger)
	require.NoError(t, err)
	require.Equal(t, jetstream.Config{
		Stream: "events", Subject: "registry", Partitions: 2, Replicas: 3, Storage: stream.MemoryStorage,
		MaxAge: time.Hour, MaxBytes: 1 << 20, Duplicates: time.Minute, Window: 5, Queued: true,
		Spill:   jetstream.Spill{Dir: "/spill", Sync: journal.SyncNone, MaxBytes: 1 << 21},
		Timeout: time.Second, Lease: 3 * time.Second, Instance: "one",
		Hub: notifications.HubConfig{Backoff: 2 * time.Second, MaxBackoff: 4 * time.Second}, Logger: logger,
	}, got)
	for v, i := reflect.ValueOf(got), 0; i < v.NumField(); i++ {
		require.False(t, v.Field(i).IsZero(), v.Type().Field(i).Name)
	}
	o = options{Storage: "file"}
	got, err = o.config(logger)
	require.NoError(t, err)
	require.Equal(t, jetstream.Config{Logger: logger}, got)
}

// What is for hubs in memory is not for this one.
func TestOptionsOfOthers(t *testing.T) {
	const hub = "hub: jetstream\njetstream: {servers: ['nats://127.0.0.1:1']}\n"
	for _, bound := range []string{"maxpending: 5", "maxpendingbytes: 5", "overflow: block"} {
		err := start(t, hub+"endpoints: [{name: a, url: 'http://127.0.0.1:1/', "+bound+"}]")
		name, _, _ := strings.Cut(bound, ":")
		require.EqualError(t, err, root+"endpoints[0]."+name+`: is for what is in memory, and hub is "jetstream": allowed are the bounds of that one`)
	}
	require.EqualError(t, start(t, hub+"memory: {maxpending: 5}"), root+`memory: is for hub: memory, and hub is "jetstream": allowed are the options of that one`)
	require.EqualError(t, start(t, "jetstream: {servers: []}"), root+`jetstream: is for hub: jetstream, and hub is "memory": allowed are the options of that one`)
}

// The example in the documentation is one that starts, if its servers are there.
func TestDocumentedExample(t *testing.T) {
	b, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(strings.ReplaceAll(string(b), "\n//", "\n"), "      options:\n")
	require.True(t, ok)
	example, _, ok := strings.Cut(rest, "\n\n All servers")
	require.True(t, ok)
	example = strings.ReplaceAll(example, "\t        ", "")
	example = strings.ReplaceAll(example, "/run/secrets/nats", file(t, secret))
	for _, host := range []string{"nats-1.example.org:4222", "nats-2.example.org:4222"} {
		require.Contains(t, example, host)
		example = strings.ReplaceAll(example, host, "127.0.0.1:1")
	}
	require.EqualError(t, start(t, example), root+"jetstream.servers: connecting to tls://127.0.0.1:1, tls://127.0.0.1:1: nats: no servers available for connection")
}

// Each option is documented, under its name, and there is none else.
func TestEachOptionIsDocumented(t *testing.T) {
	b, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	names := func(of reflect.Type, prefix string) (all []string) {
		for i := range of.NumField() {
			if f := of.Field(i); f.Type.Kind() != reflect.Struct {
				all = append(all, prefix+f.Tag.Get("yaml"))
			}
		}
		return all
	}
	want := append(names(reflect.TypeFor[options](), "jetstream."), names(reflect.TypeFor[tlsOptions](), "jetstream.tls.")...)
	want = append(want, names(reflect.TypeFor[spillOptions](), "jetstream.spill.")...)
	var documented []string
	for line := range strings.Lines(string(b)) {
		if list, is := strings.CutPrefix(line, "//   - "); is {
			list, _, _ = strings.Cut(list, ":")
			documented = append(documented, strings.Split(list, ", ")...)
		}
	}
	require.ElementsMatch(t, want, documented)
}
