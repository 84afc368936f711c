package middleware

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/require"

	"github.com/distribution/distribution/v3"

	"github.com/registry-notifications/notifications"
)

// testHub is a hub as a package of somebody else's would register it.
type testHub struct {
	*notifications.Broadcaster
	options testHubOptions
	setup   HubSetup
	added   []string
	closed  atomic.Int32
	onClose func() // may be nil
}

type testHubOptions struct {
	Fail     string
	Servers  []string
	MaxBytes int64
	Wait     time.Duration
	Cluster  struct{ Replicas int }
}

// testHubs gets each hub that is opened.
var testHubs = make(chan *testHub, 100)

func init() {
	RegisterHub("testhub", func(_ context.Context, o testHubOptions, setup HubSetup) (Hub, error) {
		switch o.Fail {
		case "field":
			return nil, fmt.Errorf("testhub: %w", &notifications.ConfigError{Field: "cluster.replicas", Err: errors.New("2: allowed are odd numbers")})
		case "whole":
			return nil, errors.New("testhub: no server answers")
		case "nil":
			return nil, nil
		}
		b, err := notifications.NewBroadcaster(notifications.HubConfig{Logger: setup.Logger})
		if err != nil {
			return nil, err
		}
		h := &testHub{Broadcaster: b, options: o, setup: setup}
		testHubs <- h
		return h, nil
	})
}

func (h *testHub) Add(name string, sink notifications.Sink) error {
	if name == "unwanted" {
		return errors.New("testhub: unwanted")
	}
	h.added = append(h.added, name)
	return h.Broadcaster.Add(name, sink)
}

func (h *testHub) Close(ctx context.Context) error {
	h.closed.Add(1)
	if h.onClose != nil {
		h.onClose()
	}
	return h.Broadcaster.Close(ctx)
}

// A registered hub is chosen by its name and gets the block of that name.
func TestRegisteredHub(t *testing.T) {
	t.Setenv("SERVER", "nats://two")
	rc := newReceiver(t)
	s := newServer(t, parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options:
				hub: testhub
				testhub: {servers: ["nats://one", "${env:SERVER}"], maxbytes: 1GiB, wait: 5s, cluster: {replicas: 3}}
				endpoints:
					- {name: a, url: "`+rc.URL+`"}
					- {name: quiet, disabled: true}
					- {name: b, url: "`+rc.URL+`"}
`))
	hub := <-testHubs
	want := testHubOptions{Servers: []string{"nats://one", "nats://two"}, MaxBytes: 1 << 30, Wait: 5 * time.Second}
	want.Cluster.Replicas = 3
	require.Equal(t, want, hub.options)
	require.Equal(t, []string{"a", "b"}, hub.setup.Endpoints)
	require.Equal(t, hub.setup.Endpoints, hub.added)
	require.NotNil(t, hub.setup.Logger)
	require.True(t, hub.setup.DeadLetters == nil)

	s.pushBlob("library/app", "x")
	require.NoError(t, s.shutdown())
	require.Equal(t, []string{"push blob", "push blob"}, rc.kinds())
	require.EqualValues(t, 1, hub.closed.Load())
}

func TestRegisteredHubErrors(t *testing.T) {
	t.Setenv("FAIL", "field")
	for yaml, want := range map[string]string{
		"testhub: {fail: field}":              "testhub.cluster.replicas: 2: allowed are odd numbers",
		"testhub: {fail: '${env:FAIL}'}":      "testhub.cluster.replicas: 2: allowed are odd numbers",
		"testhub: {fail: whole}":              "testhub: testhub: no server answers",
		"testhub: {fail: nil}":                "testhub: has opened no hub, and given no error",
		"testhub: {server: x}":                "testhub.server: there is no such option: allowed are cluster, fail, maxbytes, servers, wait",
		"testhub: {wait: 5}":                  `testhub.wait: 5: allowed is text with a unit, as "500ms" or "1m30s"`,
		"testhub: {cluster: {replicas: two}}": `testhub.cluster.replicas: "two": allowed is a whole number`,
		"memory: {maxpending: 5}":             `memory: is for hub: memory, and hub is "testhub": allowed are the options of that one`,
	} {
		n, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, "hub: testhub\n"+yaml))
		require.Nil(t, n)
		require.EqualError(t, err, root+"."+want)
	}
}

// What does not start leaves nothing that runs: goleak looks.
// A hub is opened when all else is right, and closed if it does not take an endpoint.
func TestHubAfterAnError(t *testing.T) {
	const a = "{name: a, url: 'http://127.0.0.1:1/'}"
	for yaml, want := range map[string]string{
		"endpoints: [" + a + ", {name: b}]": `endpoints[1].url: "": allowed is http:// or https://, a host and a path`,
		"dispatchtimeout: -1s":              `dispatchtimeout: -1s: allowed are zero, for the default, and above`,
		"deadletters: {file: /proc/self/x}": "deadletters.file: notifications: dead letters: open /proc/self/x: no such file or directory",
	} {
		_, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, "hub: testhub\n"+yaml))
		require.EqualError(t, err, root+"."+want)
		require.Empty(t, testHubs)
	}
	_, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, "hub: testhub\nendpoints: ["+a+", {name: unwanted, url: 'http://127.0.0.1:1/'}]"))
	require.EqualError(t, err, root+".endpoints[1]: testhub: unwanted")
	require.EqualValues(t, 1, (<-testHubs).closed.Load())
}

// What bounds events in memory is refused where none are, and a hub that keeps events for
// longer than the server knows when it is to keep dead letters, too.
func TestDurableHub(t *testing.T) {
	var setup HubSetup
	RegisterHub("kept", func(_ context.Context, _ struct{}, s HubSetup) (Hub, error) {
		setup = s
		return notifications.NewBroadcaster(notifications.HubConfig{})
	}, Durable)
	t.Cleanup(func() { delete(hubs.kinds, "kept") })

	for _, bound := range []string{"maxpending: 5", "maxpendingbytes: 5", "overflow: block"} {
		const endpoint = "\nendpoints: [{name: a, url: 'http://127.0.0.1:1/'}, {name: b, url: 'http://127.0.0.1:1/', "
		_, err := newRegistry(t.Context(), &fakeRegistry{}, nil, optionsOf(t, "hub: kept"+endpoint+bound+"}]"))
		option, _, _ := strings.Cut(bound, ":")
		require.EqualError(t, err, root+".endpoints[1]."+option+`: is for what is in memory, and hub is "kept": allowed are the bounds of that one`)
		closeNamespace(t, build(t, &fakeRegistry{}, "hub: testhub"+endpoint+bound+"}]"))
		<-testHubs
	}

	closeNamespace(t, build(t, &fakeRegistry{}, "hub: kept"))
	require.True(t, setup.DeadLetters == nil)
	closeNamespace(t, build(t, &fakeRegistry{}, "hub: kept\ndeadletters: {file: '"+filepath.Join(t.TempDir(), "dead.jsonl")+"'}"))
	require.IsType(t, new(notifications.DeadLetterFile), setup.DeadLetters)
}

func TestRegisterHubPanics(t *testing.T) {
	type none struct{}
	open := func(context.Context, none, HubSetup) (Hub, error) { return nil, nil }
	for name, want := range map[string]string{
		"":          `middleware: hub: name "": allowed are lower-case letters and digits, with a letter in front`,
		"Nats":      `middleware: hub: name "Nats": allowed are lower-case letters and digits, with a letter in front`,
		"my_hub":    `middleware: hub: name "my_hub": allowed are lower-case letters and digits, with a letter in front`,
		"memory":    `middleware: hub: name "memory": is in use: allowed is any other`,
		"journal":   `middleware: hub: name "journal": is in use: allowed is any other`,
		"testhub":   `middleware: hub: name "testhub": is in use: allowed is any other`,
		"hub":       `middleware: hub: name "hub": is that of another option: allowed is any other`,
		"endpoints": `middleware: hub: name "endpoints": is that of another option: allowed is any other`,
	} {
		require.PanicsWithValue(t, want, func() { RegisterHub(name, open) })
	}
	const want = `middleware: hub "good": allowed is a function that takes a struct, and not nil`
	require.PanicsWithValue(t, want, func() { RegisterHub[none]("good", nil) })
	require.PanicsWithValue(t, want, func() {
		RegisterHub("good", func(context.Context, map[string]any, HubSetup) (Hub, error) { return nil, nil })
	})
	require.NotContains(t, hubs.names(), "good")
}

// The bounds of the hub in memory are those of the YAML.
func TestMemoryHub(t *testing.T) {
	rc := newReceiver(t)
	rc.hold = make(chan struct{})
	n := build(t, removable(), "memory: {maxpending: 1, overflow: drop-oldest, backoff: 1ms, maxbackoff: 1s}\nendpoints: [{name: slow, url: '"+rc.URL+"'}]")
	name, err := reference.WithName("library/app")
	require.NoError(t, err)
	for range 5 {
		require.NoError(t, n.(distribution.RepositoryRemover).Remove(t.Context(), name))
	}
	close(rc.hold)
	closeNamespace(t, n)
	// One is being tried, perhaps, and one is pending.
	require.LessOrEqual(t, len(rc.kinds()), 2)
	require.NotEmpty(t, rc.kinds())
}
