package middleware

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

const imageManifest = "application/vnd.oci.image.manifest.v1+json"

// pushImage pushes a manifest by tag, and its config.
func (s *server) pushImage(repository, tag string) (manifest string) {
	s.t.Helper()
	config := s.pushBlob(repository, "{}")
	manifest = fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`, imageManifest, config)
	resp := s.do("PUT", "/v2/"+repository+"/manifests/"+tag, imageManifest, manifest)
	require.Equal(s.t, http.StatusCreated, resp.StatusCode)
	return manifest
}

func TestApplication(t *testing.T) {
	rc := newReceiver(t)
	s := newServer(t, parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options:
				addr: ":5443"
				url: https://registry.example.org
				events: {includereferences: true}
				endpoints: [{name: webhook, url: "`+rc.URL+`"}]
`))

	manifest := s.pushImage("library/app", "v1")
	dgst := digest.FromString(manifest)
	s.get("/v2/library/app/manifests/v1")
	s.get("/v2/library/app/blobs/" + digest.FromString("{}").String())
	require.Equal(t, http.StatusAccepted, s.do("DELETE", "/v2/library/app/manifests/"+dgst.String(), "", "").StatusCode)
	require.NoError(t, s.shutdown())

	// Shutdown has drained: nothing to wait for.
	require.Equal(t, []string{
		"push blob", "push manifest", "pull manifest", "pull blob", "delete manifest", "delete tag",
	}, rc.kinds())

	push := rc.events[1]
	require.Equal(t, "v1", push.Target.Tag)
	require.Equal(t, dgst, push.Target.Digest)
	require.Equal(t, "https://registry.example.org/v2/library/app/manifests/"+dgst.String(), push.Target.URL)
	require.Len(t, push.Target.References, 1)
	require.Equal(t, "PUT", push.Request.Method)
	require.NotEmpty(t, push.Request.ID)
	require.Regexp(t, `:5443$`, push.Source.Addr)
	require.NotEmpty(t, push.Source.InstanceID)
}

// The server's own instance ID, where it has one, is the events' too.
func TestInstanceID(t *testing.T) {
	rc := newReceiver(t)
	//lint:ignore SA1029 the server's key is a plain string
	ctx := context.WithValue(context.Background(), "instance.id", "the-node")
	app := handlers.NewApp(ctx, parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options: {endpoints: [{name: webhook, url: "`+rc.URL+`"}]}
`))
	s := &server{app: app, t: t, url: serve(t, app)}
	s.pushBlob("library/app", "x")
	require.NoError(t, app.Shutdown())
	require.Equal(t, "the-node", rc.events[0].Source.InstanceID)
}

// A bad option keeps the server from starting, as its other errors do.
func TestApplicationDoesNotStart(t *testing.T) {
	config := parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options: {endpoints: [{name: webhook, url: "http://127.0.0.1:1/", timeout: 500}]}
`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	require.PanicsWithError(t,
		`unable to configure registry middleware (notifications): middleware.registry.notifications.endpoints[0].timeout: 500: allowed is text with a unit, as "500ms" or "1m30s"`,
		func() { handlers.NewApp(ctx, config) })
}

// Behind a pull-through cache, a pull is a pull, from the first one on, and for two
// applications in one process each has its own receiver.
func TestPullThrough(t *testing.T) {
	upstream := newServer(t, parseYAML(t, ""))
	upstream.pushImage("library/app", "v1")

	cache := func() (*server, *receiver) {
		rc := newReceiver(t)
		config := parseYAML(t, `
middleware:
	registry:
		- name: notifications
			options: {pullthrough: true, endpoints: [{name: webhook, url: "`+rc.URL+`"}]}
	repository:
		- name: notifications
`)
		config.Proxy.RemoteURL = upstream.url
		off := -time.Second // keeps for ever what it has, and so starts no scheduler
		config.Proxy.TTL = &off
		return newServer(t, config), rc
	}
	first, firstReceiver := cache()
	second, secondReceiver := cache()

	for range 2 {
		first.get("/v2/library/app/manifests/v1")
		first.get("/v2/library/app/blobs/" + digest.FromString("{}").String())
	}
	second.get("/v2/library/app/manifests/v1")

	firstReceiver.waitFor(t, "pull manifest", "pull blob", "pull manifest", "pull blob")
	secondReceiver.waitFor(t, "pull manifest")
	require.Equal(t, "v1", secondReceiver.events[0].Target.Tag)

	require.NotNil(t, caches.get(first.app))
	require.NoError(t, first.shutdown())
	require.NoError(t, second.shutdown())
	require.Eventually(t, func() bool {
		return caches.get(first.app) == nil && caches.get(second.app) == nil
	}, soon, time.Millisecond)
}

// A repository middleware that misses its other half fails requests, and says why.
func TestRepositoryMiddlewareWithoutRegistryMiddleware(t *testing.T) {
	s := newServer(t, parseYAML(t, "middleware: {repository: [{name: notifications}]}"))
	require.Equal(t, http.StatusInternalServerError, s.do("GET", "/v2/library/app/manifests/v1", "", "").StatusCode)
}
